"""How fast the work could be done: reading by pyarrow, signing by a C kernel without normalisation, moving the bytes at all.

All of it goes over the same text in one process, row group by row group, with our own kernels beside it.
"""

from __future__ import annotations

import ctypes
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.config import DedupConfig
from tests.benchmarks.ours import permutations, sign_in_memory

Row = dict[str, Any]
Signatures = npt.NDArray[np.uint32]

FLAGS = ("-O3", "-march=native", "-funroll-loops")
BLOCK_ROWS = 500
COPIED_BYTES, NUM_COPIES = 256 * 2**20, 8


def bound(corpus: str, work: str) -> Row:
    """Return CPU seconds of each limit, and on how many of the documents that have to agree C and our kernels do."""
    config = DedupConfig()
    in_c = compile_kernel(Path(work), *permutations(config), config.ngram)
    seconds: dict[str, float] = defaultdict(float)
    num_bytes = num_documents = 0
    for texts in _blocks(Path(corpus), seconds):
        if not num_documents:
            # which also loads the kernels
            agreeing = _count_agreeing(texts, in_c, config)
        start = time.process_time()
        in_c(texts)
        seconds["c"] += time.process_time() - start
        normalising, signing, _ = sign_in_memory(texts, config)
        seconds["normalising"] += normalising
        seconds["signing"] += signing
        num_bytes += pc.sum(pc.binary_length(texts)).as_py() or 0
        num_documents += len(texts)
    moved = 2 * num_bytes + 4 * config.num_perm * num_documents
    return {**seconds, "memory": moved / _copy_rate(), "moved": moved, "megabytes": num_bytes / 1e6, "agreeing": agreeing}


def compile_kernel(folder: Path, a: Signatures, b: Signatures, ngram: int) -> Callable[[Any], Signatures]:
    """Return a function from an Arrow array of large strings to signatures."""
    folder.mkdir(parents=True, exist_ok=True)
    library, source = folder / "signature_bound.so", Path(__file__).with_name("signature_bound.c")
    subprocess.run(["gcc", *FLAGS, "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    sign = ctypes.CDLL(str(library)).sign

    def run(texts: Any) -> Signatures:
        bounds = np.frombuffer(texts.buffers()[1], np.int64)[texts.offset : texts.offset + len(texts) + 1]
        longest = int(np.diff(bounds).max()) + 16
        out = np.empty((len(texts), len(a)), np.uint32)
        arrays = (bounds, a, b, np.empty(longest, np.uint32), np.empty(longest, np.uint32), out)
        offsets, *rest = (ctypes.c_void_p(array.ctypes.data) for array in arrays)
        size, text = ctypes.c_size_t, ctypes.c_void_p(texts.buffers()[2].address)
        sign(text, offsets, size(len(texts)), size(ngram), rest[0], rest[1], size(len(a)), *rest[2:])
        return out

    return run


def _blocks(corpus: Path, seconds: dict[str, float]) -> Iterator[Any]:
    for path in sorted(corpus.rglob("*.parquet")):
        start = time.process_time()
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=BLOCK_ROWS, columns=["text"], use_threads=False):
                texts = batch.column(0).cast(pa.large_string())
                seconds["reading"] += time.process_time() - start
                yield texts
                start = time.process_time()


def _count_agreeing(texts: Any, in_c: Callable[[Any], Signatures], config: DedupConfig) -> str:
    """Count equal signatures of the ASCII texts in small letters, on which normalisation changes white space alone: both owe the same."""
    plain = pa.array([text.lower() for text in texts.to_pylist() if text.isascii()], pa.large_string())
    equal = (in_c(plain) == sign_in_memory(plain, config)[2]).all(axis=1)
    return f"{equal.sum()}/{len(equal)}"


def _copy_rate() -> float:
    """Measure bytes read and written per CPU second by copying more than any cache holds."""
    source, target = np.ones(COPIED_BYTES, np.uint8), np.zeros(COPIED_BYTES, np.uint8)
    start = time.process_time()
    for _ in range(NUM_COPIES):
        np.copyto(target, source)
    return 2 * NUM_COPIES * COPIED_BYTES / (time.process_time() - start)
