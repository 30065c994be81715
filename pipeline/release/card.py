"""Write the dataset card that travels with the filtered data: what it is, what was taken out, how it was judged.

The YAML front matter is what dataset tools read; the body follows the headings of a datasheet. What only a person can know is left
visibly open. Names chosen by users (sources, columns) are data, so every character of theirs that Markdown or HTML could read as
markup is escaped. No corpus text.

Source: Gebru et al. 2021, "Datasheets for Datasets", for the headings.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl
import yaml

from pipeline.config import ReleaseConfig
from pipeline.release.decisions import is_released
from pipeline.release.filtering import FilteredData
from pipeline.release.gate import Gate, verdict_of
from pipeline.release.shards import SPLIT
from pipeline.release.treatment import SpanCounts
from pipeline.tables import Decisions

OPEN = "_To be completed by a person._"
MAX_NAME = 80
MAX_SOURCES = 200
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"), (10_000_000, "1M<n<10M"))

LOSS_MASK = """\
def loss_mask(text, spans, offsets):
    \"\"\"Say of each token whether its loss counts; offsets: each token's first and last character (exclusive) in the text.\"\"\"
    at = [0]  # byte at which each character begins
    for character in text:
        at.append(at[-1] + len(character.encode()))
    return [not any(at[start] < span["end"] and span["start"] < at[end] for span in spans) for start, end in offsets]


row = rows[0]
tokens = tokenizer(row[TEXT], return_offsets_mapping=True)
counts = loss_mask(row[TEXT], row["sink_mask_spans"], tokens["offset_mapping"])
labels = [token if is_counted else -100 for token, is_counted in zip(tokens["input_ids"], counts)]
"""
"""Shown to trainers, and run by a test as it stands but for the name of the text column, TEXT."""

BOUNDS = {"low": "reached by the lower end of its interval", "score": "reached by the score itself"}


def render_card(
    name: str,
    ids: pl.DataFrame,
    decisions: Decisions,
    filtered: FilteredData,
    gates: Sequence[Gate],
    parents: Mapping[str, Any],
    config: ReleaseConfig,
    text_column: str = "text",
) -> str:
    """Return README.md of a release: front matter, counts, gates, datasheet.

    ids: one row a document with `doc_id, source`. parents: as in the manifest; only plain values are shown. text_column: the user's
    name of it, for the example that turns masked spans into a loss mask.
    """
    rows = ids.select("doc_id", "source").join(decisions, on="doc_id").with_columns(is_released=is_released(config))
    sections = [
        _front_matter(name, filtered),
        f"# {escape(name)}",
        "A text corpus after an audit: near-duplicates were removed and documents that a large model is likely to memorize were "
        f"found and treated. Verdict of the audit: **{verdict_of(gates)}**.",
        *_counts(rows, filtered),
        *_columns(filtered, config),
        *_gates(gates),
        *_reading(filtered, text_column),
        *_datasheet(config, filtered.spans),
        *_provenance(parents),
    ]
    return "\n\n".join(sections) + "\n"


def escape(text: str) -> str:
    """Return text that Markdown and HTML show literally, on one line, at most 80 characters long."""
    visible = "".join("\N{REPLACEMENT CHARACTER}" if _is_unseen(letter) else letter for letter in text)
    if len(visible) > MAX_NAME:
        visible = visible[: MAX_NAME - 1] + "…"
    return "".join(letter if letter.isalnum() or letter == " " or ord(letter) > 127 else f"&#{ord(letter)};" for letter in visible)


def _is_unseen(letter: str) -> bool:
    return letter != " " and unicodedata.category(letter)[0] in "CZ"  # controls, direction marks, unassigned, separators


def _front_matter(name: str, filtered: FilteredData) -> str:
    described: dict[str, Any] = {"pretty_name": name, "tags": ["deduplicated", "memorization-audit"]}
    described["size_categories"] = [next((label for bound, label in SIZES if filtered.num_rows < bound), "n>10M")]
    if filtered.shards:
        described["configs"] = [{"config_name": "default", "data_files": [{"split": SPLIT, "path": f"data/{SPLIT}-*.parquet"}]}]
    return f"---\n{yaml.safe_dump(described, sort_keys=True, allow_unicode=False)}---"


def _counts(rows: pl.DataFrame, filtered: FilteredData) -> list[str]:
    by_reason = rows.group_by("action", "reason", "is_released").agg(count=pl.len()).sort("action", "reason")
    by_source = rows.group_by("source").agg(rows_in=pl.len(), rows_out=pl.col("is_released").sum()).sort("source")
    told = [
        [row["action"], row["reason"], f"{row['count']:,}", "yes" if row["is_released"] else "no"]
        for row in by_reason.iter_rows(named=True)
    ]
    sources = [
        [escape(row["source"]), f"{row['rows_in']:,}", f"{row['rows_out']:,}", f"{1 - row['rows_out'] / row['rows_in']:.1%}"]
        for row in by_source.head(MAX_SOURCES).iter_rows(named=True)
    ]
    parts = [
        "## Composition",
        f"{rows.height:,} rows went in, {filtered.num_rows:,} are here, in {len(filtered.shards)} shard(s).",
        _table(["action", "reason", "rows", "in this dataset"], told),
        _table(["source", "rows in", "rows out", "removed"], sources),
    ]
    if by_source.height > MAX_SOURCES:
        parts.append(f"{by_source.height - MAX_SOURCES:,} further sources are left out of this table.")
    return parts


def _columns(filtered: FilteredData, config: ReleaseConfig) -> list[str]:
    listed = ", ".join(escape(column) for column in filtered.columns)
    parts = ["## Columns", f"{listed}. Columns of the input keep their order, types and metadata."]
    if "sink_weight" in filtered.columns:
        parts.append(
            "`sink_weight` is the training weight that the audit proposes (multiply a document's loss by it, or sample in proportion): "
            f"1 for ordinary rows, falling linearly from 1 at a sink score of {config.sink_threshold:g} to {config.min_weight:g} at 1."
        )
    if "sink_mask_spans" in filtered.columns:
        spans = filtered.spans
        parts.append(
            "`sink_mask_spans` lists the parts of a row's text to leave out of the loss, because other rows repeat them word for word: "
            "bytes of the UTF-8 text, start inclusive, end exclusive, sorted, disjoint; an empty list masks nothing. The first occurrence "
            f"of each repeated span is not masked. Here {spans.rows_masked:,} rows mask {spans.bytes_masked:,} bytes."
        )
    return parts


def _gates(gates: Sequence[Gate]) -> list[str]:
    rows = [
        [gate.name, gate.status.replace("_", " "), _number(gate.value), _interval(gate), _number(gate.limit), gate.severity, gate.meaning]
        for gate in gates
    ]
    return ["## Gates", _table(["gate", "status", "value", "95% interval", "limit", "severity", "meaning"], rows)]


def _reading(filtered: FilteredData, text_column: str) -> list[str]:
    parts = [
        "## Use",
        "```\nsinkaudit verify THIS_FOLDER --require pass\n```",
        '```python\nfrom datasets import load_dataset\n\nrows = load_dataset("THIS_FOLDER", split="train")\n```',
    ]
    if "sink_mask_spans" in filtered.columns:
        parts += [
            "Masked spans are bytes, tokenizers count characters. A token that touches a masked span is left out of the loss:",
            f"```python\n{LOSS_MASK.replace('TEXT', _literal(text_column))}```",
        ]
    return parts


def _literal(name: str) -> str:
    """Return a Python string that stays inside its code block: every character but letters and digits is spelled out."""
    return '"' + "".join(letter if letter.isascii() and letter.isalnum() else _spelled(letter) for letter in name) + '"'


def _spelled(letter: str) -> str:
    return letter if letter in "_-. " else f"\\U{ord(letter):08x}"


def _datasheet(config: ReleaseConfig, spans: SpanCounts) -> list[str]:
    treated = (
        f"Exact and near-duplicates were found by MinHash, verified by exact Jaccard similarity and removed only beside a kept, directly "
        f"compared copy. Sink policy: {config.policy}, from a sink score of {config.sink_threshold:g} "
        f"({BOUNDS[config.sink_bound]}). A sink score is the predicted "
        "probability that a model of the stated size memorizes the document, and a small proxy is not the target."
    )
    if spans.rows_trimmed:
        treated += (
            f" Repeated spans were cut out of {spans.rows_trimmed:,} rows, {spans.bytes_trimmed:,} bytes in all; their texts are not those "
            f"of the input, nor are content hashes. {spans.rows_emptied:,} of these rows have no visible character left."
        )
    open_headings = ["Motivation", "Collection process", "Personal and sensitive data", "Licence", "Distribution", "Maintenance"]
    return ["## Preprocessing", treated, *(part for heading in open_headings for part in (f"## {heading}", OPEN))]


def _provenance(parents: Mapping[str, Any]) -> list[str]:
    rows = [[escape(str(key)), escape(str(value))] for key, value in sorted(parents.items()) if isinstance(value, str | int | float)]
    rows += [["reference", escape(str(digest))] for digest in parents.get("references", [])]
    return ["## Provenance", _table(["parent", "value"], rows), "`manifest.json` names every file of this dataset with its digest."]


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _interval(gate: Gate) -> str:
    return "" if gate.low is None or gate.high is None else f"{gate.low:.4g} to {gate.high:.4g}"
