"""Outcome arms: which documents of the corpus a filter leaves in training, and with what weight. Pure planning, nothing is trained here.

An arm is data: the documents that stay, their weights, and tokens left out of the loss. Clusters that targets hold out are in no arm. Arms
that a filter is compared with take away as much as it does: `random` from clusters of like copies, `perplexity` what a proxy that never saw
the text finds hardest, `random_mask` as many tokens of the loss, in runs as long, somewhere else.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import polars as pl
from tokenizers import Tokenizer

from pipeline.proxy.draws import draw_ranks
from pipeline.proxy.targets import MASKED

DOCUMENTS = {
    "doc_id": pl.Int64,
    "cluster_id": pl.Binary,
    "content_hash": pl.Binary,
    "row_hash": pl.Binary,
    "num_tokens": pl.Int64,  # of its windows
    "copies": pl.Int64,  # documents of its cluster in the raw corpus
    "is_natural": pl.Boolean,
    "is_held_out": pl.Boolean,
    "is_removed": pl.Boolean,  # by deduplication
    "perplexity": pl.Float64,  # nullable: loss under a proxy that never saw it, nats per token
    "sink_score": pl.Float64,
    "spillover": pl.Float64,  # nullable
}
MASKS = {"doc_id": pl.Int64, "start": pl.Int64, "end": pl.Int64}
"""Tokens of a document that are left out of the loss, end exclusive."""
ORDER = ("content_hash", "row_hash", "doc_id")
TRIES = 100
"""Places drawn for a run of masked tokens before it is given up."""


def raw(documents: pl.DataFrame) -> pl.DataFrame:
    """Keep every document that is not held out."""
    return _kept(documents, pl.lit(True))


def exact(documents: pl.DataFrame) -> pl.DataFrame:
    """Keep one document of each normalised text."""
    return _kept(documents.sort(ORDER), pl.col("content_hash").is_first_distinct())


def minhash(documents: pl.DataFrame) -> pl.DataFrame:
    """Keep what deduplication keeps."""
    return _kept(documents, ~pl.col("is_removed"))


def copy_cap(documents: pl.DataFrame, max_copies: int) -> pl.DataFrame:
    """Keep the first so many documents of each cluster."""
    return _kept(documents.sort(ORDER), pl.int_range(pl.len()).over("cluster_id") < max_copies)


def decided(documents: pl.DataFrame, decisions: pl.DataFrame) -> pl.DataFrame:
    """Keep what decisions (doc_id, action, weight) release, at their weights."""
    weights = decisions.filter(pl.col("action") != "drop").select("doc_id", "weight")
    return _kept(documents, pl.lit(True)).drop("weight").join(weights, on="doc_id").sort("doc_id")


def removed_tokens(documents: pl.DataFrame, base: pl.DataFrame, arm: pl.DataFrame, masks: pl.DataFrame) -> pl.DataFrame:
    """Return copies_bin, a floor of log2, and tokens: what an arm takes from a base, weights and masks counted."""
    masked = masks.group_by("doc_id").agg(masked=(pl.col("end") - pl.col("start")).sum())
    weighed = base.join(arm, on="doc_id", how="left", suffix="_arm").join(masked, on="doc_id", how="left")
    counted = weighed.join(documents.select("doc_id", "num_tokens", "copies"), on="doc_id")
    left = (pl.col("num_tokens") - pl.col("masked").fill_null(0)).clip(0) * pl.col("weight_arm").fill_null(0.0)
    return counted.group_by(copies_bin=_copies_bin()).agg(tokens=(pl.col("num_tokens") * pl.col("weight") - left).sum()).sort("copies_bin")


def random(documents: pl.DataFrame, base: pl.DataFrame, removed: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Drop as many tokens of the base as `removed_tokens` says, bin by bin, in whole clusters drawn by seed."""
    clusters = _clusters(documents, base).with_columns(copies_bin=_copies_bin())
    drawn = clusters.with_columns(key=pl.Series(draw_ranks(clusters["cluster_id"], "random arm", seed)))
    gone = [
        take_tokens(drawn.filter(pl.col("copies_bin") == copies_bin).sort("key", "cluster_id"), tokens)
        for copies_bin, tokens in removed.iter_rows()
    ]
    return _without(documents, base, pl.concat(gone) if gone else clusters["cluster_id"].clear())


def prune(documents: pl.DataFrame, base: pl.DataFrame, criterion: str, tokens: float) -> pl.DataFrame:
    """Drop so many tokens of the base in whole clusters, those with the highest mean of a column first; clusters without one stay."""
    ranked = _clusters(documents, base).drop_nulls(criterion).sort(criterion, "cluster_id", descending=[True, False])
    return _without(documents, base, take_tokens(ranked, tokens))


def drop_share(
    documents: pl.DataFrame, base: pl.DataFrame, criterion: str, share: float, seed: int, *, natural_only: bool
) -> pl.DataFrame | None:
    """Drop a share of the base's tokens, or of its natural ones and only those, by a criterion; None where it cannot be had.

    risk: sink_score; low_spillover: what taught other text least; risk_low_spillover: the mean of both ranks; perplexity; copies in the raw
    corpus; length, the longest first; random. Ties go by a draw, so that a criterion which cannot tell drops at random.
    """
    clusters = _clusters(documents, base)
    if natural_only:
        clusters = clusters.filter("is_natural")
    drawn = clusters.with_columns(key=pl.Series(draw_ranks(clusters["cluster_id"], "drop curve", seed)))
    rank = {
        "random": pl.lit(0.0),
        "risk": pl.col("sink_score"),
        "copies": pl.col("copies").cast(pl.Float64),
        "length": pl.col("num_tokens").cast(pl.Float64),
        "low_spillover": -pl.col("spillover"),
        "perplexity": pl.col("perplexity"),
        "risk_low_spillover": pl.col("sink_score").rank() - pl.col("spillover").rank(),
    }[criterion]
    ranked = drawn.with_columns(rank=rank).drop_nulls("rank").sort("rank", "key", descending=[True, False])
    if ranked.is_empty():
        return None
    return _without(documents, base, take_tokens(ranked, share * float(clusters["num_tokens"].sum())))


def take_tokens(clusters: pl.DataFrame, tokens: float) -> pl.Series:
    """Return the leading cluster_ids whose tokens come nearest to a number; none if the first alone is off by more than the number."""
    reached = np.r_[0.0, np.cumsum(clusters["num_tokens"].to_numpy())]
    return clusters["cluster_id"].head(int(np.argmin(np.abs(reached - tokens))))


def members_of(samples: pl.DataFrame, weights: pl.DataFrame, masks: pl.DataFrame | None = None) -> pl.DataFrame:
    """Return what a run trains on (columns as in `targets.MEMBERS`): the samples of the documents that stay, masks cut by window."""
    kept = samples.join(weights.filter(pl.col("weight") > 0), on="doc_id").sort("sample_id")
    none = pl.lit([], dtype=MASKED)
    if masks is None or masks.is_empty():
        return kept.select("sample_id", "weight", masked=none)
    joined = kept.join(masks.rename({"start": "mask_start", "end": "mask_end"}), on="doc_id")
    inside = joined.filter((pl.col("mask_start") < pl.col("end")) & (pl.col("mask_end") > pl.col("start")))
    first, last = pl.max_horizontal("start", "mask_start"), pl.min_horizontal("end", "mask_end")
    places = inside.select("sample_id", masked=pl.int_ranges(first - pl.col("start"), last - pl.col("start")).cast(MASKED))
    by_window = places.explode("masked").unique().sort("sample_id", "masked").group_by("sample_id", maintain_order=True).agg("masked")
    return (
        kept.join(by_window, on="sample_id", how="left").select("sample_id", "weight", pl.col("masked").fill_null(none)).sort("sample_id")
    )


def random_masks(samples: pl.DataFrame, weights: pl.DataFrame, masks: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Return as many masked tokens as masks leave out of the windows of the documents that stay, in runs as long at places drawn anew.

    Runs do not overlap; those that find no room, tried a hundred times, are left out. `samples`: sample_id, doc_id, start, end.
    """
    masked = members_of(samples, weights, masks).select("sample_id", "masked")
    windows = samples.join(masked, on="sample_id").sort("sample_id")
    lengths = [len(run) for places in windows["masked"].to_list() for run in _runs(np.array(places, np.int64))]
    sizes = (windows["end"] - windows["start"]).to_numpy()
    is_free = [np.ones(size, np.bool_) for size in sizes.tolist()]
    rng = np.random.default_rng(seed)
    rows = []
    for length in sorted(lengths, reverse=True):
        room = np.maximum(sizes - length + 1, 0)
        ends = np.cumsum(room)
        for place in rng.integers(ends[-1], size=TRIES).tolist():
            window = int(np.searchsorted(ends, place, side="right"))
            first = place - int(ends[window] - room[window])
            if is_free[window][first : first + length].all():
                is_free[window][first : first + length] = False
                start = int(windows["start"][window]) + first
                rows.append((int(windows["doc_id"][window]), start, start + length))
                break
    return pl.DataFrame(sorted(rows), schema=MASKS, orient="row")


def _runs(places: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
    """Return rising numbers cut where they skip one."""
    return np.split(places, np.flatnonzero(np.diff(places) > 1) + 1) if len(places) else []


def token_masks(texts: Iterable[tuple[int, str]], spans: pl.DataFrame, tokenizer: Tokenizer) -> pl.DataFrame:
    """Turn byte spans (doc_id, start, end) into spans of the tokens that lie in them whole, columns as in MASKS.

    `texts`: (doc_id, text) of the documents that hold them.
    """
    bounds = {key[0]: rows.select("start", "end").rows() for key, rows in spans.group_by("doc_id")}
    rows = []
    for doc_id, text in texts:
        starts, ends = _token_bytes(text, tokenizer)
        for start, end in sorted(bounds.get(doc_id, ())):
            inside = np.flatnonzero((starts >= start) & (ends <= end))
            if len(inside):
                rows.append((doc_id, int(inside[0]), int(inside[-1]) + 1))
    return pl.DataFrame(rows, schema=MASKS, orient="row")


def _token_bytes(text: str, tokenizer: Tokenizer) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the byte at which each token starts and ends, widened to whole characters."""
    points = np.frombuffer(text.encode("utf-32-le"), dtype="<u4")
    widths = 1 + (points >= 0x80).astype(np.int64) + (points >= 0x800) + (points >= 0x10000)
    before = np.r_[0, np.cumsum(widths)]
    offsets = np.asarray(tokenizer.encode(text, add_special_tokens=False).offsets, dtype=np.int64).reshape(-1, 2)
    return before[offsets[:, 0]], before[offsets[:, 1]]


def _kept(documents: pl.DataFrame, is_kept: pl.Expr) -> pl.DataFrame:
    chosen = documents.with_columns(is_kept=is_kept).filter("is_kept", ~pl.col("is_held_out"))
    return chosen.select("doc_id", weight=pl.lit(1.0)).sort("doc_id")


def _clusters(documents: pl.DataFrame, base: pl.DataFrame) -> pl.DataFrame:
    """Return the base's clusters with their tokens in it, in order of cluster_id."""
    return (
        documents.join(base, on="doc_id", how="semi")
        .sort("cluster_id", *ORDER)
        .group_by("cluster_id", maintain_order=True)
        .agg(pl.col("num_tokens").sum(), pl.col("copies", "is_natural").first(), pl.col("perplexity", "sink_score", "spillover").mean())
    )


def _without(documents: pl.DataFrame, base: pl.DataFrame, gone: pl.Series) -> pl.DataFrame:
    dropped = documents.filter(pl.col("cluster_id").is_in(gone.implode()))
    return base.join(dropped, on="doc_id", how="anti").sort("doc_id")


def _copies_bin() -> pl.Expr:
    return pl.col("copies").log(2).floor().cast(pl.Int32)
