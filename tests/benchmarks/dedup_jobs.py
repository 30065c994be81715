"""What `test_dedup_speed` measures, each job run as a script in a process of its own, by an interpreter that may lack everything else."""

from __future__ import annotations

import ctypes
import importlib.util
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
NUM_BANDS, ROWS_PER_BAND, NGRAM, THRESHOLD = 16, 8, 5, 0.8
SEPARATOR = "\n"  # no normalised text holds one

Row = dict[str, Any]


def read(corpus: str, folder: str) -> Row:
    from pipeline.config import InputConfig
    from pipeline.corpus.documents import read_corpus

    # small parts, so that the scaling rows have something to choose from
    start = time.process_time()
    size = Path(corpus).stat().st_size if Path(corpus).is_file() else 0
    config = InputConfig(paths=(corpus,), text_column="text", bytes_per_part=min(128 * 2**20, max(2**20, size // 6)))
    facts = read_corpus(config, folder).facts
    return row("reading and hashing the corpus", start, megabytes=facts["bytes"] / 1e6)


def ours(folder: str, work: str, eighths: str = "8") -> Row:
    start = time.process_time()
    from pipeline import store
    from pipeline.config import DedupConfig
    from pipeline.dedup.candidates import find_candidates
    from pipeline.dedup.clusters import cluster_documents
    from pipeline.dedup.removals import find_removals
    from pipeline.dedup.signatures import compute_signatures
    from pipeline.dedup.verification import verify_candidates
    from pipeline.tables import check_documents

    stages: list[Row] = [{"name": "  importing", "seconds": time.process_time() - start}]

    def lap(name: str) -> None:
        known = sum(stage["seconds"] for stage in stages)
        stages.append({"name": f"  {name}", "seconds": time.process_time() - start - known})

    shutil.rmtree(work, ignore_errors=True)
    whole, config = store.describe(folder), DedupConfig()
    parts = whole.parts[: max(1, len(whole.parts) * int(eighths) // 8)]
    documents = replace(whole, parts=parts)
    num_bytes, pieces = 0, []
    for path, name in zip(documents.paths(), store.part_names(len(parts)), strict=True):
        signatures, facts = compute_signatures(check_documents(store.read_arrow(path)), config)
        num_bytes += int(signatures["num_bytes"].sum())
        pieces.append(store.publish_frame("signatures", f"{work}/signatures/{name}", signatures, facts))
    signed = store.gather("signatures", f"{work}/signatures", pieces)
    lap("signatures")
    candidates, facts = find_candidates(signed, config, f"{work}/scratch")
    store.publish_frame("candidate_pairs", f"{work}/candidates", candidates, facts)
    store.remove(f"{work}/scratch")
    lap("candidates")
    known = store.read_frame(signed, ["doc_id", "content_hash", "num_bytes", "num_shingles"])
    pairs, facts = verify_candidates(candidates, documents, known, config, f"{work}/scratch")
    store.publish_frame("duplicate_pairs", f"{work}/pairs", pairs, facts)
    store.remove(f"{work}/scratch")
    lap("verification")
    clusters, facts = cluster_documents(known, pairs)
    store.publish_frame("clusters", f"{work}/clusters", clusters, facts)
    lap("clusters")
    removals, facts = find_removals(documents, clusters, pairs, known, config, f"{work}/scratch")
    store.publish_frame("removals", f"{work}/removals", removals, facts)
    store.remove(f"{work}/scratch")
    lap("removals")
    remark = f"{documents.num_rows} documents, {removals.height} removed"
    return row("ours", start, megabytes=num_bytes / 1e6, stages=stages, remark=remark)


def bound(folder: str, work: str) -> Row:
    """Time the signature stage's work in C and by the pipeline's kernels, on texts that lie in memory, loading left out."""
    import numpy as np

    from pipeline import store
    from pipeline.config import DedupConfig
    from pipeline.dedup.shingles import shingle_hashes
    from pipeline.dedup.signatures import cut_blocks, minhash, permutations

    library = Path(work) / "signature_bound.so"
    source = Path(__file__).with_name("signature_bound.c")
    subprocess.run(["gcc", "-O3", "-march=native", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    sign = ctypes.CDLL(str(library)).sign
    config = DedupConfig()
    a, b = (np.ascontiguousarray(each) for each in permutations(config))
    table = np.array([32 if chr(byte).isspace() and byte < 128 else ord(chr(byte).lower()) for byte in range(128)] + [*range(128, 256)])
    byte_map = table.astype(np.uint8)
    in_c = by_kernels = num_bytes = 0.0
    for part in store.iter_arrow(store.describe(folder), ["text"]):
        for texts in cut_blocks(part["text"]):
            minhash(*shingle_hashes(texts.slice(0, 1), config)[:2], a, b)  # loads the kernels
            start = time.process_time()
            hashes, offsets, _ = shingle_hashes(texts, config)
            minhash(hashes, offsets, a, b)
            by_kernels += time.process_time() - start
            start = time.process_time()
            bounds = np.frombuffer(texts.buffers()[1], np.int64)[texts.offset : texts.offset + len(texts) + 1]
            longest = int(np.diff(bounds).max())
            space = (np.empty(longest + 16, np.uint8), np.empty(longest, np.uint64), np.empty(longest, np.uint32))
            out = np.empty((len(texts), config.num_perm), np.uint32)
            arrays: list[Any] = [bounds, byte_map, a, b, *space, out]
            at = [ctypes.c_void_p(array.ctypes.data) for array in arrays]
            size = ctypes.c_size_t
            text = ctypes.c_void_p(texts.buffers()[2].address)
            sign(text, at[0], size(len(texts)), at[1], size(config.ngram), at[2], at[3], size(config.num_perm), *at[4:])
            in_c += time.process_time() - start
            num_bytes += float(bounds[-1] - bounds[0])
    stages = [
        {"name": "signatures: C, gcc -O3 -march=native", "seconds": in_c},
        {"name": "signatures: our kernels", "seconds": by_kernels, "remark": f"{in_c / by_kernels:.2f} of the C bound"},
    ]
    return row("bound", time.process_time() - in_c, megabytes=num_bytes / 1e6, stages=stages)


def lines(folder: str, path: str) -> Row:
    from pipeline import store
    from pipeline.text import normalised_buffers

    start = time.process_time()
    with open(path, "wb") as out:
        for part in store.iter_arrow(store.describe(folder), ["text"]):
            data, offsets = normalised_buffers(part["text"])
            for i in range(len(offsets) - 1):
                out.write(data[offsets[i] : offsets[i + 1]].tobytes() + SEPARATOR.encode())
    return row("lines", start)


def peer(name: str, path: str) -> Row:
    """Run one peer from text to the number of documents that it calls duplicates of an earlier one."""
    package, run = {
        "rensa": ("rensa", rensa),
        "gaoya": ("gaoya", gaoya),
        "datasketch with xxhash": ("datasketch", lambda texts: datasketch(texts, "xxhash")),
        "datasketch with sha1": ("datasketch", lambda texts: datasketch(texts, "sha1")),
    }[name]
    needed = [package, "xxhash"] if name.endswith("xxhash") else [package]
    missing = [each for each in needed if importlib.util.find_spec(each) is None]
    if missing:
        return {"name": name, "seconds": 0.0, "remark": f"skipped: {missing[0]} is not installed (see PEERS_PYTHON)"}
    start = time.process_time()
    with open(path, encoding="utf-8", newline=SEPARATOR) as file:
        num_removed = run(line.rstrip(SEPARATOR) for line in file)
    return {**row(name, start), "remark": f"{num_removed} removed"}


def shingles(text: str) -> list[str]:
    words = text.split(" ")
    return [" ".join(words[i : i + NGRAM]) for i in range(max(1, len(words) - NGRAM + 1))]


def rensa(texts: Iterator[str]) -> int:
    import rensa as library  # type: ignore[import-not-found]

    index = library.RMinHashLSH(THRESHOLD, NUM_BANDS * ROWS_PER_BAND, NUM_BANDS)
    removed = 0
    for number, text in enumerate(texts):
        sketch = library.RMinHash(NUM_BANDS * ROWS_PER_BAND, 1)
        sketch.update(shingles(text))
        removed += bool(index.query(sketch))
        index.insert(number, sketch)
    return removed


def gaoya(texts: Iterator[str]) -> int:
    from gaoya.minhash import MinHashStringIndex  # type: ignore[import-not-found]

    held = list(texts)
    index = MinHashStringIndex(32, THRESHOLD, NUM_BANDS, ROWS_PER_BAND, None, "word", False, (NGRAM, NGRAM))
    index.par_bulk_insert_docs(list(range(len(held))), held)
    return sum(min(found) < number for number, found in enumerate(index.par_bulk_query(held)) if found)


def datasketch(texts: Iterator[str], hasher: str) -> int:
    import datasketch as library

    options: dict[str, Callable[[bytes], int]] = {}
    if hasher == "xxhash":
        import xxhash

        options = {"hashfunc": xxhash.xxh32_intdigest}
    index = library.MinHashLSH(num_perm=NUM_BANDS * ROWS_PER_BAND, params=(NUM_BANDS, ROWS_PER_BAND))
    removed = 0
    for number, text in enumerate(texts):
        sketch = library.MinHash(num_perm=NUM_BANDS * ROWS_PER_BAND, seed=1, **options)
        sketch.update_batch([shingle.encode() for shingle in shingles(text)])
        removed += bool(index.query(sketch))
        index.insert(number, sketch)
    return removed


def row(name: str, start: float, **more: object) -> Row:
    """Return what a job measured: CPU seconds of the whole process since `start`, peak memory in MB."""
    seconds = time.process_time() - start
    # getrusage would count the parent's peak
    status = Path("/proc/self/status").read_text()
    return {"name": name, "seconds": seconds, "peak": int(status.split("VmHWM:")[1].split()[0]) / 1024, **more}


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    job, *arguments = sys.argv[1:]
    jobs: dict[str, Callable[..., Row]] = {"read": read, "ours": ours, "bound": bound, "lines": lines, "peer": peer}
    print(json.dumps(jobs[job](*arguments)))
