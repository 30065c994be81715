"""Read character vectors out of an R package's lazy-load database.

R keeps a package's data sets in two files: `Rdata.rdx`, a gzip-compressed serialized index of (offset, length) per name, and
`Rdata.rdb`, the blocks themselves, each a big-endian length followed by a zlib stream of one serialized object. Only the node
types that an index and a plain character vector need are read; anything else raises, so that a changed file is noticed.

Source: R Internals, sections 1.8 (serialization formats) and 1.9 (lazy loading).
"""

import gzip
import struct
import zlib
from typing import TypeAlias

RObject: TypeAlias = "str | int | list[RObject] | dict[str, RObject] | None"

SYMBOL, PAIRLIST, CHARSXP, LOGICAL, INTEGER, STRINGS, VECTOR, REFERENCE, NULL = 1, 2, 9, 10, 13, 16, 19, 255, 254
HAS_ATTRIBUTES, HAS_TAG = 0x200, 0x400


class Reader:
    """Walk one serialized R object (XDR format) from its first byte to its last."""

    def __init__(self, data: bytes) -> None:
        if data[:2] != b"X\n":
            raise ValueError(f"not an XDR-serialized R object: starts with {data[:2]!r}, wanted b'X\\n'")
        self.data = data
        self.position = 2
        self.symbols: list[RObject] = []
        version = self.integer()
        self.position += 8
        if version == 3:
            self.take(self.integer())

    def take(self, size: int) -> bytes:
        """Return the next `size` bytes and step over them."""
        chunk = self.data[self.position : self.position + size]
        if len(chunk) != size:
            raise ValueError(f"R object ends at byte {len(self.data)}, {size} more were wanted at byte {self.position}")
        self.position += size
        return chunk

    def integer(self) -> int:
        """Return the next signed 32-bit big-endian number."""
        return int(struct.unpack(">i", self.take(4))[0])

    def item(self) -> RObject:
        """Return the next object, attributes folded in: a list with names becomes a dictionary."""
        flags = self.integer()
        kind = flags & 0xFF
        if kind == NULL:
            return None
        if kind == REFERENCE:
            return self.symbols[(flags >> 8) - 1]
        if kind == SYMBOL:
            self.symbols.append(self.item())
            return self.symbols[-1]
        if kind == CHARSXP:
            size = self.integer()
            return None if size == -1 else self.take(size).decode("utf-8")
        if kind == PAIRLIST:
            return self.pairlist(flags)
        return self.vector(kind, bool(flags & HAS_ATTRIBUTES))

    def pairlist(self, flags: int) -> RObject:
        """Return a tagged pairlist (how R stores attributes) as a dictionary, its tail included."""
        if not flags & HAS_TAG:
            raise ValueError(f"R pairlist without a tag at byte {self.position}")
        tag, value, tail = self.item(), self.item(), self.item()
        rest = tail if isinstance(tail, dict) else {}
        return {str(tag): value, **rest}

    def vector(self, kind: int, has_attributes: bool) -> RObject:
        """Return a list, with its names as keys where it has names."""
        if kind not in (LOGICAL, INTEGER, STRINGS, VECTOR):
            raise ValueError(f"R type {kind} at byte {self.position} is not one that this reader knows")
        size = self.integer()
        values = [self.integer() if kind in (LOGICAL, INTEGER) else self.item() for _ in range(size)]
        attributes = self.item() if has_attributes else None
        names = attributes.get("names") if isinstance(attributes, dict) else None
        return dict(zip(map(str, names), values, strict=True)) if isinstance(names, list) else values


def read_character_vectors(index: bytes, blocks: bytes) -> dict[str, list[str]]:
    """Return every data set of a lazy-load database by name, each a list of lines."""
    table = Reader(gzip.decompress(index)).item()
    places = table.get("variables") if isinstance(table, dict) else None
    if not isinstance(places, dict):
        raise ValueError("the lazy-load index holds no list called 'variables'")
    return {name: read_block(blocks, place) for name, place in places.items()}


def read_block(blocks: bytes, place: RObject) -> list[str]:
    """Return the lines of the one character vector at (offset, length)."""
    if not (isinstance(place, list) and len(place) == 2 and all(isinstance(value, int) for value in place)):
        raise ValueError(f"a place in the lazy-load index is (offset, length), not {place!r}")
    offset, length = (int(str(value)) for value in place)
    # the first four bytes are the unpacked length, which zlib does not need
    lines = Reader(zlib.decompress(blocks[offset + 4 : offset + length])).item()
    if not isinstance(lines, list):
        raise ValueError(f"the block at byte {offset} is no character vector")
    return [str(line) for line in lines]
