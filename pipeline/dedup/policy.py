"""Keep policy: the total order in which a cluster's members are considered, the first the most worth keeping."""

from __future__ import annotations

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config import DedupConfig
from pipeline.dedup.earliest import sortable
from pipeline.errors import ConfigError
from pipeline.store import Artifact, iter_arrow
from pipeline.tables import DOCUMENT_FIELDS, USER_PREFIX, Clusters

COLUMNS = ("doc_id", "source", "content_hash", "row_hash", "text")


def read_members(documents: Artifact, clusters: Clusters, config: DedupConfig, sizes: pl.DataFrame | None = None) -> pl.DataFrame:
    """Return what the policy looks at for every document in a cluster of two or more, all parts.

    Where `sizes` has the num_bytes of every doc_id, no text is read.
    """
    shared = clusters.filter(pl.col("cluster_size") > 1).select("doc_id", "cluster_id")
    is_sized = sizes is not None and "num_bytes" in sizes.columns
    if sizes is not None and is_sized:
        shared = shared.join(sizes.select("doc_id", "num_bytes"), on="doc_id")
    wanted = [name for name in COLUMNS if not (is_sized and name == "text")]
    wanted += [USER_PREFIX + name for name in (config.quality_column, config.earliest_column) if name]
    try:
        frames = [_attributes(part, config).join(shared, on="doc_id") for part in iter_arrow(documents, wanted)]
    except pa.ArrowInvalid:
        _explain_missing_columns(next(iter_arrow(documents)), config)
        raise
    if not frames:
        return _attributes(DOCUMENT_FIELDS.empty_table().select(wanted), config).join(shared, on="doc_id")
    members = pl.concat(frames)
    if not config.earliest_column:
        return members
    return members.with_columns(earliest=sortable(members["earliest"].alias(config.earliest_column), "dedup.earliest_column"))


def order_members(members: pl.DataFrame, config: DedupConfig) -> pl.DataFrame:
    """Sort members by cluster and, in it, by the rules in their order, then content hash, row hash."""
    return members.sort("cluster_id", *_keys(config).values(), "doc_id", nulls_last=True).select("cluster_id", "content_hash", "doc_id")


def rank_members(members: pl.DataFrame, config: DedupConfig) -> pl.DataFrame:
    """Return each member's place in its cluster, `rank` from 1, and one column a rule with its place by that rule alone.

    Two members are parted by the first of these columns in which they differ; `content_hash` and `row_hash` part what no rule does.
    """
    keys = _keys(config)
    places = {rule: key.rank("dense").over("cluster_id").cast(pl.Int64) for rule, key in keys.items()}
    placed = members.select("doc_id", "cluster_id", **places).with_columns(pl.col(*keys).fill_null(members.height + 1))
    rank = pl.int_range(1, pl.len() + 1, dtype=pl.Int64).over("cluster_id")
    return placed.sort("cluster_id", *keys, "doc_id").select("doc_id", rank.alias("rank"), *keys)


def _keys(config: DedupConfig) -> dict[str, pl.Expr]:
    """Return what is sorted by, ascending, null last: the rules that have their setting, in order, then the hashes."""
    ranks = {source: rank for rank, source in enumerate(config.source_priority)}
    keys = {
        "source_priority": pl.col("source").replace_strict(ranks, default=len(ranks), return_dtype=pl.Int64) if ranks else None,
        "quality": -pl.col("quality") if config.quality_column else None,
        "longest": -pl.col("num_bytes"),
        "shortest": pl.col("num_bytes"),
        "earliest": pl.col("earliest") if config.earliest_column else None,
    }
    chosen: dict[str, pl.Expr] = {rule: key for rule in config.keep if (key := keys[rule]) is not None}
    return {**chosen, "content_hash": pl.col("content_hash"), "row_hash": pl.col("row_hash")}


def _attributes(part: pa.Table, config: DedupConfig) -> pl.DataFrame:
    columns = {name: part[name] for name in COLUMNS if name != "text"}
    columns["content_hash"] = columns["content_hash"].cast(pa.large_binary())
    columns["row_hash"] = columns["row_hash"].cast(pa.large_binary())
    if "text" in part.column_names:
        columns["num_bytes"] = pc.fill_null(pc.binary_length(part["text"]), 0).cast(pa.int64())
    if config.quality_column:
        columns["quality"] = part[USER_PREFIX + config.quality_column]
    if config.earliest_column:
        columns["earliest"] = part[USER_PREFIX + config.earliest_column]
    frame = pl.DataFrame(pl.from_arrow(pa.table(columns)))
    if not config.quality_column:
        return frame
    if not frame.schema["quality"].is_numeric() and frame.schema["quality"] != pl.Null:
        raise ConfigError(
            "the quality column does not hold numbers",
            where="dedup.quality_column",
            got=f"{config.quality_column}: {frame.schema['quality']}",
        )
    # not-a-number is no quality; null sorts last
    return frame.with_columns(pl.col("quality").cast(pl.Float64).fill_nan(None))


def _explain_missing_columns(part: pa.Table, config: DedupConfig) -> None:
    known = [column.removeprefix(USER_PREFIX) for column in part.column_names if column.startswith(USER_PREFIX)]
    for setting in ("quality_column", "earliest_column"):
        name = getattr(config, setting)
        if name is not None and name not in known:
            raise ConfigError("no such column in the corpus", where=f"dedup.{setting}", wanted=f"one of {known}", got=name)
