"""Write the dataset card that travels with the filtered data: what it is, what was taken out, how it was judged, how it is used.

The YAML front matter is what dataset tools read; the body holds the audit's verdict, the code to use the data, and a datasheet.
Names chosen by users (sources, columns, approvers) are data, so every character of theirs that Markdown or HTML could read as markup
is escaped. No corpus text.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl

from pipeline.config import ReleaseConfig
from pipeline.release.datasheet import distribution, maintenance, preprocessing, uses, write_datasheet
from pipeline.release.decisions import is_released
from pipeline.release.filtering import FilteredData
from pipeline.release.front_matter import front_matter
from pipeline.release.gate import Gate, verdict_of
from pipeline.release.usage import show_use
from pipeline.tables import Decisions, Languages

MAX_NAME, MAX_SAID = 80, 500
MAX_SOURCES, MAX_LANGUAGES = 200, 40
MIN_LANGUAGE_SHARE = 0.01
UNDETERMINED = "und"


def render_card(
    name: str,
    ids: pl.DataFrame,
    decisions: Decisions,
    filtered: FilteredData,
    gates: Sequence[Gate],
    parents: Mapping[str, Any],
    config: ReleaseConfig,
    text_column: str = "text",
    languages: Languages | None = None,
    not_examined: Sequence[str] = (),
) -> str:
    """Return README.md of a release: front matter, verdict, use, datasheet, what was not done, provenance.

    ids: one row a document with `doc_id, source`. parents: as in the manifest; only plain values are shown. text_column: the user's
    name of it, for the example that turns masked spans into a loss mask. languages: guessed, if somebody looked. not_examined: sentences
    of ours.
    """
    rows = ids.select("doc_id", "source").join(decisions, on="doc_id").with_columns(is_released=is_released(config))
    spoken = _languages(rows, languages)
    licence = escape(config.license, MAX_SAID) if config.license else None
    facts = {
        "Composition": [*_counts(rows, filtered), *_language_table(spoken), *_columns(filtered, config)],
        "Preprocessing, cleaning, labelling": preprocessing(config, filtered.spans),
        "Uses": uses(filtered.columns),
        "Distribution": distribution(licence),
        "Maintenance": maintenance(),
    }
    sections = [
        front_matter(name, filtered, _listed(spoken), config.license),
        f"# {escape(name)}",
        "A text corpus after an audit: near-duplicates were removed, and documents that small models predict to be memorized were "
        f"treated as told below. Verdict of the audit: **{verdict_of(gates)}**.",
        *_gates(gates),
        *show_use(filtered, text_column),
        *write_datasheet(facts),
        *_not_done(not_examined),
        *_provenance(parents),
    ]
    return "\n\n".join(sections) + "\n"


def escape(text: str, limit: int = MAX_NAME) -> str:
    """Return text that Markdown and HTML show literally, on one line, at most `limit` characters long."""
    visible = "".join("\N{REPLACEMENT CHARACTER}" if _is_unseen(letter) else letter for letter in text)
    if len(visible) > limit:
        visible = visible[: limit - 1] + "…"
    return "".join(letter if _is_plain(visible, at) else f"&#{ord(letter)};" for at, letter in enumerate(visible))


def _is_plain(text: str, at: int) -> bool:
    """Say whether a character is no markup where it stands: of ASCII, letters, digits, blanks, and punctuation as in prose."""
    letter, before, after = text[at], text[at - 1 : at], text[at + 1 : at + 2]
    if letter.isalnum() or letter == " " or ord(letter) > 127:
        return True
    if letter == "-":
        return before.isalnum() and after.isalnum()
    if letter == "." and before.isdigit() and after.isdigit():
        return True
    return letter in ".,;:" and before.isalpha() and after in ("", " ")  # after a number, a full stop may begin a list


def _is_unseen(letter: str) -> bool:
    return letter != " " and unicodedata.category(letter)[0] in "CZ"  # controls, direction marks, unassigned, separators


def _languages(rows: pl.DataFrame, languages: Languages | None) -> pl.DataFrame:
    """Count rows in and out by guessed language, the most frequent of the filtered data first."""
    if languages is None:
        return pl.DataFrame(schema={"language": pl.String, "rows_in": pl.UInt32, "rows_out": pl.UInt32})
    named = rows.join(languages.select("doc_id", "language"), on="doc_id", how="left").with_columns(
        pl.col("language").fill_null(UNDETERMINED)
    )
    counted = named.group_by("language").agg(rows_in=pl.len(), rows_out=pl.col("is_released").sum())
    return counted.sort(["rows_out", "rows_in", "language"], descending=[True, True, False])


def _listed(spoken: pl.DataFrame) -> list[str]:
    """Return the languages of at least one row in a hundred of the filtered data, in the order of the alphabet."""
    is_listed = (pl.col("rows_out") >= MIN_LANGUAGE_SHARE * pl.col("rows_out").sum()) & (pl.col("rows_out") > 0)
    return sorted(spoken.filter(is_listed & (pl.col("language") != UNDETERMINED))["language"])


def _language_table(spoken: pl.DataFrame) -> list[str]:
    if spoken.is_empty():
        return []
    rows = [[escape(code), f"{before:,}", f"{after:,}"] for code, before, after in spoken.head(MAX_LANGUAGES).iter_rows()]
    parts = ["Languages as a program guessed them from the beginnings of texts; `und` is undetermined.", _table(_SPOKEN, rows)]
    further = spoken.height - MAX_LANGUAGES
    return [*parts, f"{further:,} further languages are left out of this table."] if further > 0 else parts


_SPOKEN = ["language", "rows in", "rows out"]


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
        f"{rows.height:,} rows went in, {filtered.num_rows:,} are here, in {len(filtered.shards)} shard(s).",
        _table(["action", "reason", "rows", "in this dataset"], told),
        _table(["source", "rows in", "rows out", "removed"], sources),
    ]
    if by_source.height > MAX_SOURCES:
        parts.append(f"{by_source.height - MAX_SOURCES:,} further sources are left out of this table.")
    return parts


def _columns(filtered: FilteredData, config: ReleaseConfig) -> list[str]:
    listed = ", ".join(escape(column) for column in filtered.columns)
    parts = [f"Columns: {listed}. Columns of the input keep their order, types and metadata."]
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
    if "sink_cluster_id" in filtered.columns:
        parts.append(
            "`sink_cluster_id` names the cluster of near-copies that a row belongs to, in hexadecimal: the smallest content hash in it. "
            "Rows of one cluster are copies of one another, whatever is left of it here; training with memorization sinks keys masks by it."
        )
    return parts


def _gates(gates: Sequence[Gate]) -> list[str]:
    rows = [
        [gate.name, gate.status.replace("_", " "), _number(gate.value), _interval(gate), _number(gate.limit), gate.severity, gate.meaning]
        for gate in gates
    ]
    parts = ["## Gates", _table(["gate", "status", "value", "95% interval", "limit", "severity", "meaning"], rows)]
    if waivers := [_waiver(gate.name, gate.waiver) for gate in gates if gate.waiver]:
        parts.append("\n".join(waivers))
    return parts


def _waiver(name: str, waiver: Mapping[str, str]) -> str:
    said = f"by {escape(waiver['approver'], MAX_SAID)}: {escape(waiver['reason'], MAX_SAID)}"
    return f"- Waiver of {name} ({waiver['state'].replace('_', ' ')} when this was written), until {waiver['until']}, {said}"


def _not_done(not_examined: Sequence[str]) -> list[str]:
    if not not_examined:
        return []
    return ["## What the audit did not examine", "\n".join(f"- {escape(sentence, MAX_SAID)}" for sentence in not_examined)]


def _provenance(parents: Mapping[str, Any]) -> list[str]:
    rows = [[escape(str(key)), escape(str(value))] for key, value in sorted(parents.items()) if isinstance(value, str | int | float)]
    rows += [["reference", escape(str(digest))] for digest in parents.get("references", [])]
    rows += [["overrides", f"{escape(file['reviewer'])}: {escape(file['digest'])}"] for file in parents.get("overrides", [])]
    return ["## Provenance", _table(["parent", "value"], rows), "`manifest.json` names every file of this dataset with its digest."]


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _interval(gate: Gate) -> str:
    return "" if gate.low is None or gate.high is None else f"{gate.low:.4g} to {gate.high:.4g}"
