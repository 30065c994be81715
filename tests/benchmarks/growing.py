"""Grow real text to any size: `python tests/benchmarks/growing.py FOLDER_OF_PARQUET_OR_TEXT OUT MEGABYTES [SEED]`.

Every document is drawn from the base. Three in four get 30% of their words replaced by others of the base, so that two copies of one
page share about 1% of their word 5-grams: they are unlike. One in four is a near-copy of a document some way before it: a tenth of these
word for word, the rest with as many words replaced as make a Jaccard similarity between 0.5 and 1, evenly spread.

Words keep the white space behind them, so the text stays raw. A text is an array of word numbers until Arrow looks them up in the
dictionary, which writes the bytes: no Python object a word, 5 GB in a few minutes. Memory holds the base and one row group.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

Words = npt.NDArray[np.int32]

NUM_FILES = 8
GROUP_BYTES = 8 * 2**20
NEAR_COPIES, EXACT_AMONG_THEM = 0.25, 0.1
UNLIKE_EDITS = 0.3
NGRAM = 5
NUM_RECENT = 4096
MAX_BASE_BYTES = 400 * 10**6
TOKEN = re.compile(r"\S+\s*")
SCHEMA = pa.schema([("id", pa.string()), ("source", pa.string()), ("text", pa.large_string())])


class Base:
    """Hold real documents as word numbers, one after another, and the words themselves."""

    def __init__(self, texts: Iterator[str]) -> None:
        numbers: dict[str, int] = {}
        documents: list[Words] = []
        for text in texts:
            tokens = TOKEN.findall(text if text[-1].isspace() else text + "\n")
            documents.append(np.fromiter((numbers.setdefault(token, len(numbers)) for token in tokens), np.int32, len(tokens)))
        self.words = pa.array(numbers, pa.large_binary())
        self.stream = np.concatenate(documents)
        self.ends = np.cumsum([len(document) for document in documents])
        self.sizes = np.fromiter((len(word.encode()) for word in numbers), np.int64, len(numbers))

    def document(self, number: int) -> Words:
        """Return a document's words."""
        return self.stream[self.ends[number - 1] if number else 0 : self.ends[number]]


def read_base(folder: Path) -> Iterator[str]:
    """Yield the texts of all Parquet and text files below a folder, in order of path, up to `MAX_BASE_BYTES`."""
    size = 0
    for path in sorted(folder.rglob("*")):
        for text in _texts(path):
            size += len(text)
            if size > MAX_BASE_BYTES:
                return
            if text.strip():
                yield text


def _texts(path: Path) -> Iterator[str]:
    if path.suffix == ".parquet":
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1000, columns=["text"]):
                yield from filter(None, batch.column(0).to_pylist())
    elif path.suffix in {".txt", ".md", ".rst"}:
        yield path.read_text(encoding="utf-8", errors="replace")


def grow(folder: Path, out: Path, megabytes: float, seed: int = 0) -> Path:
    """Write `megabytes` of text, grown from what `folder` holds, to `NUM_FILES` Parquet files of about equal size under `out`."""
    base, rng = Base(read_base(folder)), np.random.default_rng(seed)
    recent: list[Words] = []
    out.mkdir(parents=True, exist_ok=True)
    num_rows = 0
    # copies are made of earlier row groups, so even the first file of a small corpus needs several
    group_bytes = min(GROUP_BYTES, megabytes * 1e6 / NUM_FILES / 8)
    for number in range(NUM_FILES):
        with pq.ParquetWriter(out / f"grown-{number}.parquet", SCHEMA, compression="snappy", use_dictionary=["source"]) as file:
            wanted = megabytes * 1e6 / NUM_FILES
            while wanted > 0:
                group, size = _grow_group(base, recent, min(wanted, group_bytes), num_rows, rng)
                file.write_table(group)
                wanted -= size
                num_rows += group.num_rows
    return out


def _grow_group(base: Base, recent: list[Words], num_bytes: float, first: int, rng: np.random.Generator) -> tuple[pa.Table, int]:
    documents: list[Words] = []
    shares: list[float] = []
    size = 0.0
    per_word = float(base.sizes[base.stream[:: max(1, len(base.stream) // 100_000)]].mean())
    while size < num_bytes:
        is_copy = bool(recent) and rng.random() < NEAR_COPIES
        document = recent[rng.integers(len(recent))] if is_copy else base.document(int(rng.integers(len(base.ends))))
        shares.append(_copy_share(rng) if is_copy else UNLIKE_EDITS)
        documents.append(document)
        size += len(document) * per_word
    edited = _edit(documents, np.array(shares), base.stream, rng)
    for document in edited:
        if len(recent) < NUM_RECENT:
            recent.append(document.copy())
        else:
            recent[rng.integers(NUM_RECENT)] = document.copy()
    return _table(base, edited, first)


def _copy_share(rng: np.random.Generator) -> float:
    """Draw the share of words to replace: of a copy's 5-grams (1 - share)^5 survive, and that s makes a Jaccard of s / (2 - s)."""
    if rng.random() < EXACT_AMONG_THEM:
        return 0.0
    jaccard = rng.uniform(0.5, 1.0)
    return 1.0 - float((2 * jaccard / (1 + jaccard)) ** (1 / NGRAM))


def _edit(documents: list[Words], shares: npt.NDArray[np.float64], stream: Words, rng: np.random.Generator) -> list[Words]:
    lengths = np.array([len(document) for document in documents])
    words = np.concatenate(documents)
    places = np.flatnonzero(rng.random(len(words), np.float32) < np.repeat(shares.astype(np.float32), lengths))
    words[places] = stream[rng.integers(0, len(stream), len(places))]
    return np.split(words, np.cumsum(lengths)[:-1])


def _table(base: Base, documents: list[Words], first: int) -> tuple[pa.Table, int]:
    words = base.words.take(pa.array(np.concatenate(documents)))
    ends = np.cumsum([0, *map(len, documents)])
    offsets = np.frombuffer(words.buffers()[1], np.int64)[ends]
    texts = pa.LargeStringArray.from_buffers(len(documents), pa.py_buffer(offsets), words.buffers()[2])
    columns: list[Any] = [pa.array([f"{first + i:08d}" for i in range(len(documents))]), pa.array(["grown"] * len(documents)), texts]
    return pa.table(columns, schema=SCHEMA), int(offsets[-1])


if __name__ == "__main__":
    source, target, size, *rest = sys.argv[1:]
    print(grow(Path(source), Path(target), float(size), *map(int, rest)))
