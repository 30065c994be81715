"""Text files: each file is one document, with two columns, `id` (its name below the common root) and `text`.

Bytes are UTF-8, or UTF-16 and UTF-32 where a byte order mark says so (the mark is not part of the text), else Latin-1: every byte then
still stands in the text and none is replaced, at the price of wrong letters in other code pages. How many files took which way is
counted. Line ends and NUL stay as they are.
"""

from __future__ import annotations

import codecs
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa

from pipeline.corpus.files import InputFile, open_bytes
from pipeline.corpus.shards import Stretch
from pipeline.errors import InputError

SCHEMA = pa.schema([pa.field("id", pa.string(), nullable=False), pa.field("text", pa.string(), nullable=False)])
BATCH_FILES = 512
BATCH_BYTES = 8 << 20
MARKS = (  # the longer first: UTF-32's mark begins with UTF-16's
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def decode(data: bytes) -> tuple[str, str]:
    """Return a file's text and the encoding that gave it."""
    marked = [encoding for mark, encoding in MARKS if data.startswith(mark)]
    for encoding in (*marked, "utf-8"):
        try:
            return data.decode(encoding), encoding
        except UnicodeDecodeError:
            continue
    return data.decode("latin-1"), "latin-1"


def describe(files: Iterable[InputFile]) -> list[Stretch]:
    """Return files as stretches of many each, with their sources."""
    stretches, own, num_bytes = [], list[InputFile](), 0
    for file in files:
        if len(own) == BATCH_FILES or num_bytes >= BATCH_BYTES:
            stretches.append(_stretch(own, num_bytes))
            own, num_bytes = [], 0
        own.append(file)
        num_bytes += file.num_bytes
    return [*stretches, _stretch(own, num_bytes)]


def _stretch(files: Sequence[InputFile], num_bytes: int) -> Stretch:
    return Stretch(tuple(files), num_bytes, len(files), sources=tuple(file.source or "text" for file in files))


def read(files: Iterable[InputFile], encodings: Counter[str]) -> Iterator[pa.Table]:
    """Yield files as rows, many to a table, and count their encodings.

    Raises: InputError naming the file that cannot be read.
    """
    names: list[str] = []
    texts: list[str] = []
    num_bytes = 0
    for file in files:
        text, encoding = decode(_bytes(file))
        encodings[encoding] += 1
        names.append(file.name)
        texts.append(text)
        num_bytes += len(text)
        if len(names) == BATCH_FILES or num_bytes >= BATCH_BYTES:
            yield pa.table([names, texts], schema=SCHEMA)
            names, texts, num_bytes = [], [], 0
    if names:
        yield pa.table([names, texts], schema=SCHEMA)


def _bytes(file: InputFile) -> bytes:
    try:
        with open_bytes(file) as stream:
            return bytes(stream.read())
    except (OSError, EOFError) as error:
        raise InputError("the file cannot be read", where=file.path, got=str(error), do="check its permissions; copy it again") from error
