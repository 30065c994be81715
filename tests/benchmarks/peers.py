"""What others need from Parquet to the number of documents that go, each by the fastest way that its own documentation shows.

Every peer reads column `text` with pyarrow in batches, takes what `text.split()` separates as words, joins five of them to a shingle,
and uses 16 bands of 8 rows of 128 permutations at a threshold of 0.8, on one core. None of them lowers case or normalises Unicode, none
compares exactly. A peer's interpreter needs nothing but the peer and pyarrow: this file imports nothing of this repository.

A document is removed if an earlier one is said to be its duplicate, or, where the peer clusters (datatrove, text-dedup), if it is not
its cluster's one. Two peers answer in one go and only flag all members of a group, the first included; their row says "flagged".
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq

NUM_BANDS, ROWS_PER_BAND, NGRAM, THRESHOLD = 16, 8, 5, 0.8
NUM_PERM = NUM_BANDS * ROWS_PER_BAND
BATCH_ROWS = 1000
SEED = 42

Batches = Iterator[list[str]]


class Peer(NamedTuple):
    """Name what has to be installed, and the function that counts removals in files, with a folder for its own use."""

    packages: tuple[str, ...]
    run: Callable[[list[Path], Path], int]
    unit: str = "removed"


def missing(name: str) -> list[str]:
    """Return the packages that this interpreter lacks."""
    return [package for package in PEERS[name].packages if importlib.util.find_spec(package) is None]


def read(files: Iterable[Path]) -> Batches:
    """Yield texts in batches."""
    for path in files:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=["text"]):
                yield batch.column(0).to_pylist()


def shingle(text: str) -> list[str]:
    """Return the word 5-grams; of a shorter text the whole, of an empty one the empty."""
    words = text.split()
    return list(map(" ".join, zip(*(words[i:] for i in range(NGRAM)), strict=False))) or [" ".join(words)]


def rensa(files: list[Path], _: Path) -> int:
    """Let rensa's deduplicator take batches of token lists; it checks candidates by estimate."""
    import rensa as library  # type: ignore[import-not-found]

    index = library.RMinHashDeduplicator(THRESHOLD, NUM_PERM, True, NUM_BANDS, SEED)
    seen = removed = 0
    for texts in read(files):
        kept = index.add_pairs([(str(number), shingle(text)) for number, text in enumerate(texts, seen)])
        seen += len(texts)
        removed += kept.count(False)
    return removed


def rensa_lsh(files: list[Path], _: Path) -> int:
    """Fill rensa's matrix of full-set sketches and its LSH index batch by batch."""
    import rensa as library

    index = library.RMinHashLSH(THRESHOLD, NUM_PERM, NUM_BANDS)
    seen = flagged = 0
    for texts in read(files):
        matrix = library.RMinHash.digest_matrix_from_token_sets([shingle(text) for text in texts], NUM_PERM, SEED)
        flagged += sum(index.insert_matrix_and_query_duplicate_flags(matrix, seen))
        seen += len(texts)
    return flagged


def gaoya(files: list[Path], _: Path) -> int:
    """Let gaoya's own analyzer cut words and n-grams, in Rust; insert a batch, then query it."""
    from gaoya.minhash import MinHashStringIndex  # type: ignore[import-not-found]

    index = MinHashStringIndex(32, THRESHOLD, NUM_BANDS, ROWS_PER_BAND, None, "word", False, (NGRAM, NGRAM), "vec")
    seen = removed = 0
    for texts in read(files):
        numbers = list(range(seen, seen + len(texts)))
        index.par_bulk_insert_docs(numbers, texts)
        removed += sum(min(found, default=number) < number for number, found in zip(numbers, index.par_bulk_query(texts), strict=True))
        seen += len(texts)
    return removed


def fastsketch(files: list[Path], _: Path) -> int:
    """Sketch a batch, insert it and ask for its duplicates in one call."""
    import FastSketchLSH as library  # type: ignore[import-not-found]  # noqa: N813

    sketcher = library.FastSimilaritySketch(size=NUM_PERM, seed=SEED)
    index = library.LSH(num_perm=NUM_PERM, num_bands=NUM_BANDS, num_threads=1)
    flagged = 0
    for texts in read(files):
        sketches = sketcher.batch([shingle(text) for text in texts], num_threads=1)
        flagged += int(index.insert_and_query_duplicates(sketches).sum())
    return flagged


def datasketch_sha1(files: list[Path], _: Path) -> int:
    """Run datasketch as it comes."""
    return _datasketch(files, {})


def datasketch_xxhash(files: list[Path], _: Path) -> int:
    """Run datasketch with the hash function that its manual advises for speed."""
    import xxhash

    return _datasketch(files, {"hashfunc": xxhash.xxh32_intdigest})


def _datasketch(files: list[Path], options: dict[str, Any]) -> int:
    import datasketch

    index = datasketch.MinHashLSH(num_perm=NUM_PERM, params=(NUM_BANDS, ROWS_PER_BAND))
    seen = removed = 0
    for texts in read(files):
        shingles = (list(map(str.encode, shingle(text))) for text in texts)
        for sketch in datasketch.MinHash.generator(shingles, num_perm=NUM_PERM, seed=1, **options):
            removed += bool(index.query(sketch))
            index.insert(seen, sketch, check_duplication=False)
            seen += 1
    return removed


def datatrove(files: list[Path], work: Path) -> int:
    """Run datatrove's MinHash stages one after another in this process, up to the lists of what is to be removed."""
    from datatrove.executor import LocalPipelineExecutor  # type: ignore[import-not-found]
    from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupSignature  # type: ignore[import-not-found]
    from datatrove.pipeline.dedup.minhash import MinhashConfig  # type: ignore[import-not-found]
    from datatrove.pipeline.readers import ParquetReader  # type: ignore[import-not-found]
    from datatrove.utils.text import TextNormConfig  # type: ignore[import-not-found]
    from datatrove.utils.word_tokenizers import WordTokenizer  # type: ignore[import-not-found]

    class Blanks(WordTokenizer):
        def word_tokenize(self, text: str) -> list[str]:
            return text.split()

        def sent_tokenize(self, text: str) -> list[str]:
            raise NotImplementedError

        def span_tokenize(self, text: str) -> list[tuple[int, int]]:
            raise NotImplementedError

    plain = TextNormConfig(
        lowercase=False, norm_whitespace=False, remove_punctuation=False, norm_unicode_diacritics=False, norm_numbers=False
    )
    config = MinhashConfig(n_grams=NGRAM, num_buckets=NUM_BANDS, hashes_per_bucket=ROWS_PER_BAND, norm_config=plain)
    shutil.rmtree(work, ignore_errors=True)
    listed = work / "files.txt"
    listed.parent.mkdir(parents=True)
    listed.write_text("".join(f"{path.name}\n" for path in files))
    folders = [str(work / name) for name in ("signatures", "buckets", "removed")]
    reader = ParquetReader(str(files[0].parent), paths_file=str(listed), read_metadata=False, batch_size=BATCH_ROWS)
    # a buffer of five lines, the default, is for thousands of files
    steps = [
        ([reader, MinhashDedupSignature(folders[0], config, language=Blanks())], 1),
        ([MinhashDedupBuckets(folders[0], folders[1], config=config, lines_to_buffer=10_000)], NUM_BANDS),
        ([MinhashDedupCluster(folders[1], folders[2], config=config, lines_to_buffer=10_000)], 1),
    ]
    for number, (pipeline, num_tasks) in enumerate(steps):
        LocalPipelineExecutor(pipeline, tasks=num_tasks, workers=1, logging_dir=str(work / f"logs-{number}")).run()
    return sum(path.stat().st_size for path in Path(folders[2]).glob("*.remove")) // 4


def text_dedup(files: list[Path], work: Path) -> int:
    """Run text-dedup's command in this process; its result is a dataset on disk, so writing that is included."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    os.environ |= {"HF_HOME": str(work / "cache"), "HF_HUB_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    import datasets  # type: ignore[import-not-found,unused-ignore]
    from text_dedup import minhash  # type: ignore[import-not-found]

    # its words are what anything but letters and digits separates; ours here are what blanks do
    minhash.NON_ALPHA = re.compile(r"\s+")
    shape = ["--ngram", NGRAM, "--num_perm", NUM_PERM, "--threshold", THRESHOLD, "--b", NUM_BANDS, "--r", ROWS_PER_BAND]
    faster = ["--hash_func", "xxh3", "--hash_bits", "32", "--min_length", "0", "--num_proc", "1", "--no-clean_cache"]
    places = ["--data_files", work / "in" / "*.parquet", "--cache_dir", work / "cache", "--output", work / "out"]
    (work / "in").mkdir()
    for path in files:
        (work / "in" / path.name).symlink_to(path.resolve())
    arguments = ["--path", "parquet", "--split", "train", "--column", "text", *shape, *faster, *places]
    minhash.main(args=[str(each) for each in arguments], standalone_mode=False)
    num_rows = sum(pq.read_metadata(path).num_rows for path in files)
    return num_rows - len(datasets.load_from_disk(str(work / "out")))


PEERS = {
    "gaoya": Peer(("gaoya",), gaoya),
    "rensa": Peer(("rensa",), rensa),
    "rensa, matrix and LSH": Peer(("rensa",), rensa_lsh, "flagged"),
    "fastsketchlsh": Peer(("FastSketchLSH",), fastsketch, "flagged"),
    "datasketch with xxhash": Peer(("datasketch", "xxhash"), datasketch_xxhash),
    "datasketch with sha1": Peer(("datasketch",), datasketch_sha1),
    "datatrove, split on blanks": Peer(("datatrove", "xxhash"), datatrove),
    "text-dedup": Peer(("text_dedup", "datasets", "xxhash"), text_dedup),
}
