"""Guard against deduplication that takes too much: the same four judgements right after it, where they may end the run, and in the report.

Right after deduplication a source has lost its removed copies and its empty rows; in the report it has lost whatever is not in the
filtered data. The other three values are the same at both times.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from pipeline.config import ReleaseConfig
from pipeline.errors import GuardError
from pipeline.release.gate import Gate, not_measured, share_gate, with_severity
from pipeline.release.links import TOTAL_ORDER, with_links
from pipeline.tables import Clusters, DuplicatePairs, Removals

SETTINGS: Mapping[str, str] = {
    "source_loss": "release.max_source_loss",
    "largest_cluster": "release.max_cluster_share",
    "transitive_only": "release.max_transitive_share",
    "bucket_cap": "release.max_skipped_share",
}
"""Each guard and the setting that holds its limit; release.guards holds its severity under the guard's name."""


def judge_guards(
    ids: pl.DataFrame,
    clusters: Clusters,
    removals: Removals,
    duplicate_pairs: DuplicatePairs,
    num_candidates: int,
    num_skipped: int,
    config: ReleaseConfig,
) -> tuple[Gate, ...]:
    """Judge what deduplication alone removes, as the gates of the same names will.

    ids: one row a document with `doc_id, source, content_hash, row_hash, is_empty`. num_candidates, num_skipped: comparisons proposed,
    and left out by the caps.
    """
    removed = removals.select("doc_id", "kept_doc_id", is_removed=pl.lit(True))
    rows = ids.select("doc_id", "source", "content_hash", "row_hash", "is_empty").join(removed, on="doc_id", how="left")
    rows = rows.with_columns(is_kept=pl.col("is_removed").is_null() & pl.col("is_empty").not_())
    sources = rows.group_by("source").agg(rows_in=pl.len().cast(pl.Int64), rows_written=pl.col("is_kept").sum().cast(pl.Int64))
    return (
        source_loss(sources, config),
        largest_cluster(clusters, rows, config),
        transitive_only(_count_transitive_only(rows, clusters, duplicate_pairs), ids.height, config),
        bucket_cap(num_candidates, num_skipped, config),
    )


def stop_if_exceeded(guards: Sequence[Gate], config: ReleaseConfig) -> None:
    """Return if no guard whose severity is `abort` is exceeded.

    Raises: GuardError naming each such guard, what it judged, its value, its limit and the settings that would let it pass.
    """
    exceeded = [gate for gate in guards if gate.status == "fail" and getattr(config.guards, gate.name) == "abort"]
    if not exceeded:
        return
    settings = ", ".join(_limit_setting(gate, config) for gate in exceeded)
    severities = ", ".join(f"release.guards.{gate.name}" for gate in exceeded)
    raise GuardError(
        f"{len(exceeded)} guard(s) stop the run after deduplication: " + "; ".join(gate.meaning for gate in exceeded),
        where=", ".join(f"{gate.name} of {gate.where}" if gate.where else gate.name for gate in exceeded),
        wanted=", ".join(f"at most {gate.limit:.2%}" for gate in exceeded),
        got=", ".join(f"{gate.value:.2%}" for gate in exceeded),
        do=f"look at what is removed; if it is right, raise {settings} or set {severities} to warn, and run again: it goes on from here",
    )


def source_loss(sources: pl.DataFrame, config: ReleaseConfig) -> Gate:
    """Judge the source that is furthest over its limit, or nearest to it; `sources` has `source, rows_in, rows_written`."""
    meaning = "largest share of one source's rows that is not in the filtered data"
    limits = config.max_loss_of_source
    if limits:
        meaning = "share of one source's rows that is not in the filtered data, of the source furthest above or nearest to its limit"
    absent = len(set(limits) - set(sources["source"]))
    meaning += f"; release.max_loss_of_source names {absent} source(s) that the corpus has not" if absent else ""
    judged = sources.filter(pl.col("rows_in") >= config.min_gate_rows)
    if judged.is_empty():
        meaning += "; no source has enough rows"
        return _guarded(not_measured("source_loss", config.max_source_loss, "share", meaning, config.min_gate_rows), config)
    limit_of = pl.Series([limits.get(source, config.max_source_loss) for source in judged["source"]], dtype=pl.Float64)
    judged = judged.with_columns(lost=pl.col("rows_in") - pl.col("rows_written"), limit=limit_of)
    worst = judged.sort([pl.col("limit") - pl.col("lost") / pl.col("rows_in"), "source"]).row(0, named=True)
    num_over = judged.filter(pl.col("lost") / pl.col("rows_in") > pl.col("limit")).height
    meaning += f"; {num_over} sources are above theirs" if num_over > 1 else ""
    gate = share_gate(
        "source_loss", worst["lost"], worst["rows_in"], worst["limit"], meaning, config.min_gate_rows, f"source {worst['source']!r}"
    )
    return _guarded(gate, config)


def largest_cluster(clusters: Clusters, rows: pl.DataFrame, config: ReleaseConfig) -> Gate:
    """Judge the largest cluster of documents with text; `rows` has `doc_id, is_empty`."""
    with_text = clusters.join(rows.filter(pl.col("is_empty").not_()), on="doc_id", how="semi")  # empty texts resemble nothing
    meaning = "share of all rows in the largest cluster of documents with text"
    largest = int(with_text["cluster_size"].max() or 0)  # type: ignore[arg-type]
    named = with_text.filter(pl.col("cluster_size") == largest)["cluster_id"].min() if largest > 1 else None
    where = f"cluster {named.hex()}" if isinstance(named, bytes) else ""
    gate = share_gate("largest_cluster", largest, clusters.height, config.max_cluster_share, meaning, config.min_gate_rows, where)
    return _guarded(gate, config)


def transitive_only(count: int, num_rows: int, config: ReleaseConfig) -> Gate:
    """Judge how many of the rows stay although a chain of duplicates ties them to their cluster."""
    meaning = "share of all rows that a cluster holds by a chain alone, kept for want of a direct copy"
    return _guarded(share_gate("transitive_only", count, num_rows, config.max_transitive_share, meaning, config.min_gate_rows), config)


def bucket_cap(num_candidates: int | None, num_skipped: int | None, config: ReleaseConfig) -> Gate:
    """Judge what share of the proposed comparisons the caps left out, in crowded buckets and in large clusters; None: nobody counted."""
    meaning = "share of proposed comparisons that the caps on buckets and on clusters left out"
    limit = config.max_skipped_share
    if num_candidates is None or num_skipped is None:
        return _guarded(not_measured("bucket_cap", limit, "share", meaning), config)
    if num_candidates + num_skipped == 0:
        gate = Gate("bucket_cap", 0.0, None, None, limit, "warn", "pass", f"{meaning}; none were proposed", unit="share")
        return _guarded(gate, config)
    return _guarded(share_gate("bucket_cap", num_skipped, num_candidates + num_skipped, limit, meaning, 0), config)


def _guarded(gate: Gate, config: ReleaseConfig) -> Gate:
    return with_severity(gate, getattr(config.guards, gate.name), f"release.guards.{gate.name}")


def _count_transitive_only(rows: pl.DataFrame, clusters: Clusters, duplicate_pairs: DuplicatePairs) -> int:
    shared = clusters.filter(pl.col("cluster_size") > 1)
    tied = rows.join(shared, on="doc_id").sort(TOTAL_ORDER)
    return with_links(tied, duplicate_pairs).filter(pl.col("link") == "transitive_only").height


def _limit_setting(gate: Gate, config: ReleaseConfig) -> str:
    is_own = gate.name == "source_loss" and any(gate.where == f"source {source!r}" for source in config.max_loss_of_source)
    return "release.max_loss_of_source" if is_own else SETTINGS[gate.name]
