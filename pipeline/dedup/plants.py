"""Plants: pairs of near-copies whose similarity is known, made from the corpus's own documents to measure how many are found.

1. Documents are sampled by a hash of their content and the seed, so that neither their order nor their files matter; strata of length
   and of script take turns, and each has its share of the bytes. Documents too short to hold a near-copy, too long (beyond
   `MAX_BYTES`, about 20,000 words) or with hardly any vocabulary are left out; few documents are taken several times.
2. The base of a pair is its document under a cipher: every distinct word is replaced by another word of the same document, everywhere
   alike, with four letters drawn for the pair at its end; in scripts without blanks, characters change places with one another and
   have no mark. Lengths, repetitions and script stay as they were, yet base and document share no shingle, in spaceless scripts none
   but by chance. So a plant resembles no natural document, and no two plants from one document resemble one another.
3. The copy is the base after random substitutions, insertions and deletions of units, as many as the aimed Jaccard takes; where one
   edit more or less is a large step, the copy's end is cut off instead.
4. The true Jaccard of the two texts is counted on plain sets of the shingles themselves: no hash, no code of the measured path beyond
   the definitions of normalised text and of spaceless scripts.

Both members of a pair are made up, and they are measured apart from the corpus (see `quality`): no plant is ever in an output.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from pipeline.config import DedupConfig
from pipeline.tables import PROFILES, Documents, check_documents
from pipeline.text import are_spaceless, content_hashes, normalise, normalised_buffers

MAX_BYTES = 2**17
PLANT_BYTES = 2**20
"""Base text of all plants together: about a second's work."""

POOL_BYTES = 2**22
SAMPLE_COLUMNS = ("doc_id", "content_hash", "row_hash", "num_bytes", "is_empty")
"""Of `profiles`: what the sample is drawn by."""

LENGTH_EDGES = (1024, 4096, 16_384, 65_536)
"""Bytes of text at which the next class of length begins."""

BIN_WIDTH = 0.05
BINS_BELOW = 4
MIN_DISTINCT = 10
MARK_LETTERS = "abcdefghijklmnopqrstuvwxyz"
SPREAD = np.uint64(0x9E3779B97F4A7C15)

Codes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Plants:
    """Hold planted documents and pairs: pair p is of documents 2p and 2p + 1.

    `pairs` has pair, jaccard (true), num_units of the base (words, or characters), num_bytes of the base, is_spaceless.
    """

    documents: Documents
    pairs: pl.DataFrame


@dataclass(frozen=True)
class Base:
    """Hold a document as codes into its own vocabulary."""

    content_hash: bytes
    codes: Codes
    vocabulary: npt.NDArray[np.object_]
    is_spaceless: bool
    num_bytes: int


def bin_edges(threshold: float) -> list[float]:
    """Return the edges of the Jaccard bins, rising to 1, one of them the threshold: no bin lies on both sides of it."""
    steps = range(-BINS_BELOW, round(1 / BIN_WIDTH))
    edges = [round(threshold + BIN_WIDTH * step, 6) if step else threshold for step in steps]
    return [edge for edge in edges if edge == threshold < 1.0 or BIN_WIDTH / 2 < edge < 1 - BIN_WIDTH / 4] + [1.0]


def choose_sample(profiles: Iterable[pl.DataFrame], config: DedupConfig, seed: int) -> pl.DataFrame:
    """Return doc_id and content_hash of the documents whose texts `plant_copies` may want, at most `num_plants` of each length.

    `profiles` are the parts of that table, with the `SAMPLE_COLUMNS`; in which order, or how cut, does not matter. Memory holds one part.
    """
    empty = pl.DataFrame(schema={name: PROFILES.columns[name] for name in SAMPLE_COLUMNS})
    drawn = _draw(empty, config, seed)
    for part in profiles:
        drawn = _draw(pl.concat([drawn.select(SAMPLE_COLUMNS), part.select(SAMPLE_COLUMNS)]), config, seed)
    bytes_before = (pl.col("num_bytes").cum_sum() - pl.col("num_bytes")).over("length")
    # one content may be of two lengths: white space is part of its texts
    chosen = drawn.filter(bytes_before < POOL_BYTES).unique("content_hash", keep="first", maintain_order=True)
    return chosen.select("doc_id", "content_hash")


def _draw(rows: pl.DataFrame, config: DedupConfig, seed: int) -> pl.DataFrame:
    """Return of each class of length the `num_plants` contents that were drawn first, each by one row."""
    fit = rows.filter(~pl.col("is_empty") & (pl.col("num_bytes") <= MAX_BYTES))
    keyed = fit.with_columns(length=_length_classes(fit["num_bytes"].to_numpy()), key=_draw_keys(fit["content_hash"], seed))
    ordered = keyed.sort("length", "key", "content_hash", "row_hash", "doc_id")
    distinct = ordered.unique(["length", "content_hash"], keep="first", maintain_order=True)
    return distinct.filter(pl.int_range(pl.len()).over("length") < config.num_plants)


def plant_copies(sample: pl.DataFrame, config: DedupConfig, seed: int) -> Plants:
    """Make `num_plants` pairs from a sample of documents (content_hash, text); fewer if the bytes are spent, none if none are fit.

    Two thirds of the pairs are aimed evenly at [threshold, 1), one third evenly at the bins below it.
    """
    strata = _stratify(sample, config, seed)
    texts: list[str] = []
    chosen: list[Base] = []
    for base, copy, aim in _take_turns(strata, config):
        rng = np.random.default_rng([seed, int.from_bytes(base.content_hash, "little"), copy])
        one, other = _make_pair(base, _draw_aim(aim, config, rng), config, rng)
        if normalise(one) != normalise(other):
            texts += [one, other]
            chosen.append(base)
    documents = _as_documents(texts)
    pairs = pl.DataFrame(
        {
            "pair": np.arange(len(chosen)),
            "jaccard": np.array(true_jaccards(texts, config.ngram), np.float64),
            "num_units": np.array([len(base.codes) for base in chosen], np.int64),
            "num_bytes": np.array([base.num_bytes for base in chosen], np.int64),
            "is_spaceless": np.array([base.is_spaceless for base in chosen], np.bool_),
        }
    )
    return Plants(documents, pairs)


def true_jaccards(texts: Sequence[str], ngram: int) -> list[float]:
    """Return |A n B| / |A u B| of texts 0 and 1, 2 and 3, ..., on shingles held as plain tuples of words, or of characters.

    Source: Broder 1997, On the resemblance and containment of documents, section 2.
    """
    flags = are_spaceless(*normalised_buffers(pa.array(texts, pa.large_string()))).tolist()
    sets = (_shingles(text, flag, ngram) for text, flag in zip(texts, flags, strict=True))
    return [len(a & b) / len(a | b) for a, b in zip(sets, sets, strict=True)]


def _draw_keys(hashes: pl.Series, seed: int) -> npt.NDArray[np.uint64]:
    """Return a number for each content hash that orders them at random, the same for the same content and seed."""
    head = np.frombuffer(b"".join(hashes.to_list()), np.uint64).reshape(len(hashes), 2)[:, 0]
    mixed = (head ^ np.random.default_rng(seed).integers(2**63, dtype=np.uint64)) * SPREAD
    return (mixed ^ (mixed >> np.uint64(32))) * SPREAD


def _length_classes(num_bytes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.digitize(num_bytes, LENGTH_EDGES).astype(np.int64)


def _stratify(sample: pl.DataFrame, config: DedupConfig, seed: int) -> list[list[Base]]:
    """Return the bases that are fit for copies, by class of length and script, in drawn order."""
    rows = sample.with_columns(key=_draw_keys(sample["content_hash"], seed)).sort("key", "content_hash") if sample.height else sample
    flags = are_spaceless(*normalised_buffers(pa.array(rows["text"].to_list(), pa.large_string())))
    strata: dict[tuple[int, bool], list[Base]] = {}
    spent: dict[tuple[int, bool], int] = {}
    for content_hash, text, is_spaceless in zip(rows["content_hash"], rows["text"], flags.tolist(), strict=True):
        num_bytes = len(text.encode())
        stratum = (int(np.digitize(num_bytes, LENGTH_EDGES)), is_spaceless)
        # more than this no stratum can use
        if num_bytes > MAX_BYTES or spent.get(stratum, 0) > PLANT_BYTES:
            continue
        if base := _make_base(content_hash, text, is_spaceless, config):
            spent[stratum] = spent.get(stratum, 0) + num_bytes
            strata.setdefault(stratum, []).append(base)
    return [strata[stratum] for stratum in sorted(strata)]


def _make_base(content_hash: bytes, text: str, is_spaceless: bool, config: DedupConfig) -> Base | None:
    """Return a document in codes, or None if it is too short or too poor in words."""
    units = [*"".join(text.split())] if is_spaceless else text.split()
    places = {unit: place for place, unit in enumerate(dict.fromkeys(units))}
    if len(units) < 4 * config.ngram or len(places) < MIN_DISTINCT:
        return None
    codes = np.fromiter(map(places.__getitem__, units), np.int64, len(units))
    return Base(content_hash, codes, np.array(list(places), dtype=object), is_spaceless, len(text.encode()))


def _take_turns(strata: list[list[Base]], config: DedupConfig) -> Iterator[tuple[Base, int, int]]:
    """Yield base, number of the copy made from it, and the bin aimed at: one from each stratum in turn until it has its share of bytes."""
    num_above = sum(edge >= config.threshold for edge in bin_edges(config.threshold)[:-1])
    num_below = len(bin_edges(config.threshold)) - 1 - num_above
    aims = [*range(num_below), *range(num_below, num_below + num_above), *range(num_below, num_below + num_above)]
    # by the golden section, so that any few in a row are spread over all bins
    aims = [aims[place] for place in sorted(range(len(aims)), key=lambda place: place * 0.618034 % 1)]
    left = dict.fromkeys(range(len(strata)), PLANT_BYTES // max(1, len(strata)))
    turn, count = 0, 0
    while left:
        for stratum in list(left):
            base = strata[stratum][turn % len(strata[stratum])]
            left[stratum] -= base.num_bytes
            if left[stratum] < 0:
                del left[stratum]
            elif count < config.num_plants:
                count += 1
                yield base, turn // len(strata[stratum]), aims[(turn + stratum) % len(aims)]
        turn += 1
        if count >= config.num_plants:
            return


def _draw_aim(bin_: int, config: DedupConfig, rng: np.random.Generator) -> float:
    edges = bin_edges(config.threshold)
    return float(rng.uniform(edges[bin_], edges[bin_ + 1]))


def _make_pair(base: Base, aim: float, config: DedupConfig, rng: np.random.Generator) -> tuple[str, str]:
    vocabulary = rng.permutation(base.vocabulary)
    if not base.is_spaceless:
        vocabulary = vocabulary + "".join(MARK_LETTERS[place] for place in rng.integers(len(MARK_LETTERS), size=4))
    base, codes = replace(base, vocabulary=vocabulary), base.codes
    # of n shingles a share 1 - (1 - p)^ngram is lost when a share p of the units is edited, and about as many are new
    kept = 2 * aim / (1 + aim)
    num_edits = len(codes) * (1 - kept ** (1 / config.ngram))
    is_coarse = 2 * config.ngram / len(codes) > BIN_WIDTH / 4
    edited = _edit(codes, int(num_edits) if is_coarse else round(num_edits), len(base.vocabulary), rng)
    one = _text(base, codes)
    if is_coarse:
        a, b = (_shingles(_text(base, side), base.is_spaceless, config.ngram) for side in (codes, edited))
        edited = edited[: max(1, len(edited) - max(0, round(len(a & b) - aim * len(a | b))))]
    return one, _text(base, edited)


def _edit(codes: Codes, num_edits: int, num_words: int, rng: np.random.Generator) -> Codes:
    """Substitute, insert or delete at distinct places, each kind as likely."""
    places = rng.permutation(len(codes))[:num_edits]
    kinds, words = rng.integers(3, size=len(places)), rng.integers(num_words, size=len(places))
    edited = codes.copy()
    edited[places[kinds == 0]] = words[kinds == 0]
    edited[places[kinds == 1]] = -1
    edited = np.insert(edited, places[kinds == 2], words[kinds == 2])
    return edited[edited >= 0]


def _text(base: Base, codes: Codes) -> str:
    return ("" if base.is_spaceless else " ").join(base.vocabulary[codes].tolist())


def _shingles(text: str, are_characters: bool, ngram: int) -> set[tuple[str, ...]]:
    units = [*normalise(text).replace(" ", "")] if are_characters else normalise(text).split()
    return set(zip(*(units[start:] for start in range(ngram)), strict=False)) if len(units) > ngram else {tuple(units)}


def _as_documents(texts: list[str]) -> Documents:
    column = pa.array(texts, pa.large_string())
    hashes = content_hashes(column)
    columns = {
        "doc_id": pa.array(range(len(texts)), pa.int64()),
        "source": pa.array(["planted"] * len(texts), pa.large_string()),
        "source_id": pa.array([str(row) for row in range(len(texts))], pa.large_string()),
        "content_hash": hashes,
        "row_hash": hashes,
        "text": column,
    }
    return check_documents(pa.table(columns))
