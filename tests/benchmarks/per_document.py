"""Measure what a document costs in memory, whatever its length: `python tests/benchmarks/per_document.py [DOCUMENTS] [WORK]`.

Two million documents of twelve words, a fifth of them exact copies and a fifth near ones, go through the stages that hold something of
every document. Printed is each stage's peak above what stood in memory before it, by document.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parents[2]))

from flows.measure import Meter, resident_bytes_of_tree
from pipeline import store
from pipeline.config import DedupConfig, InputConfig
from pipeline.corpus.documents import read_corpus
from pipeline.dedup.candidates import find_candidates
from pipeline.dedup.clusters import cluster_documents
from pipeline.dedup.placed import place
from pipeline.dedup.plants import choose_sample
from pipeline.dedup.removals import find_removals
from pipeline.dedup.signatures import join_signatures, sign_texts
from pipeline.dedup.sweep import sweep_thresholds
from pipeline.dedup.verification import verify_candidates
from pipeline.heap import give_back, limit_arenas
from pipeline.parallel import in_threads
from pipeline.rows import profile_names
from pipeline.store import Artifact

NUM_WORDS, VOCABULARY, FILE_ROWS = 12, 50_000, 250_000
COPIES, NEAR_COPIES = 0.2, 0.2
SIZES = {"bytes_per_part": 2**22, "partition_bytes": 2**22, "block_bytes": 2**22}


def write_documents(folder: Path, count: int, seed: int = 0) -> None:
    """Write documents of a dozen words; a copy is of a row of the same file, a near copy lacks its last word."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    for first in range(0, count, FILE_ROWS):
        num_rows = min(FILE_ROWS, count - first)
        words = rng.integers(0, VOCABULARY, (num_rows, NUM_WORDS))
        kind = rng.random(num_rows)
        is_copy = kind < COPIES + NEAR_COPIES
        words[is_copy] = words[rng.integers(0, num_rows, int(is_copy.sum()))]
        lengths = np.where((kind >= COPIES) & is_copy, NUM_WORDS - 1, NUM_WORDS)
        texts = [" ".join(map(str, row[:length])) for row, length in zip(words.tolist(), lengths.tolist(), strict=True)]
        ids = [f"row-{number:012d}" for number in range(first, first + num_rows)]
        pq.write_table(pa.table({"id": ids, "text": texts}), folder / f"{first:09d}.parquet")


def measure(count: int, work: Path) -> dict[str, float]:
    """Return bytes a document of each stage."""
    limit_arenas(2)
    write_documents(work / "corpus", count)
    config = DedupConfig(**{name: value for name, value in SIZES.items() if name != "bytes_per_part"})
    profiles, signatures, documents = read(work, config)
    give_back()
    found: dict[str, float] = {}

    def stage(name: str, run: Callable[[], Any]) -> Any:
        before = resident_bytes_of_tree()
        with Meter() as meter, meter.stage(name) as timing:
            result = run()
        found[name] = (timing.peak_memory_bytes - before) / count
        give_back()
        print(f"{name:14} {found[name]:7.0f} bytes a document, {timing.seconds:6.1f} s", flush=True)
        return result

    keys, sets = str(work / "keys"), str(work / "sets")
    candidates, _ = stage("candidates", lambda: find_candidates(place(signatures), config, keys, in_threads(2)))

    def sizes(*columns: str) -> Any:
        return store.read_frame(signatures, ["doc_id", *columns])

    verified = stage(
        "verification", lambda: verify_candidates(candidates, place(documents), sizes("num_shingles"), config, sets, in_threads(2))[0]
    )
    clusters = stage("clusters", lambda: cluster_documents(sizes("content_hash"), verified)[0])
    removals = stage(
        "removals",
        lambda: find_removals(documents, clusters, verified, sizes("num_bytes", "num_shingles"), config, sets, mapper=in_threads(2))[0],
    )
    give_back()
    stage("plants", lambda: choose_sample(store.iter_frames(profiles), config, 0))
    stage("sweep", lambda: sweep_thresholds(documents, sizes("content_hash", "num_bytes"), candidates, verified, removals, [], config))
    return found


def read(work: Path, config: DedupConfig) -> tuple[Artifact, Artifact, Artifact]:
    """Read, profile and sign the documents."""
    pieces: dict[str, tuple[Artifact, Artifact]] = {}

    def keep(name: str, names: Any, signed: Any) -> None:
        signatures, facts = join_signatures(names, signed)
        profiled = store.publish_frame("profiles", f"{work}/profiles/{name}", profile_names(names))
        pieces[name] = profiled, store.publish_frame("signatures", f"{work}/signatures/{name}", signatures, facts)

    corpus = InputConfig(paths=(str(work / "corpus"),), text_column="text", bytes_per_part=SIZES["bytes_per_part"])
    documents = read_corpus(corpus, f"{work}/documents", partial(sign_texts, config=config), keep, workers=2)
    profiles, signatures = zip(*(pieces[name] for name in sorted(pieces)), strict=True)
    return store.gather("profiles", f"{work}/profiles", profiles), store.gather("signatures", f"{work}/signatures", signatures), documents


if __name__ == "__main__":
    number, *place_for_work = sys.argv[1:] or ["2000000"]
    root = Path(place_for_work[0]) if place_for_work else Path(tempfile.mkdtemp())
    try:
        measure(int(number), root / "per_document")
    finally:
        shutil.rmtree(root / "per_document", ignore_errors=True)
