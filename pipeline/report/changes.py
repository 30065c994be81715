"""Say what changed since the last run of the same name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_WATCHED = (
    ("Verdict", "text", ("gates", "verdict")),
    ("Rows in", "count", ("scope", "num_documents")),
    ("Bytes in", "size", ("scope", "num_bytes")),
    ("Share removed as copies", "percent", ("duplication", "share_removed")),
    ("Clusters of copies", "count", ("duplication", "num_clusters")),
    ("Largest cluster", "count", ("duplication", "largest_size")),
    ("Text in repeated spans", "percent", ("duplication", "repeated_spans", "share_of_text")),
    ("Expected memorized rows", "decimal", ("sinks", "expected_memorized")),
    ("Share outside the predictor's support", "percent", ("sinks", "share_unsupported")),
    ("Effective rows (rows times weight)", "decimal", ("decisions", "effective_rows")),
)


def changes(summary: Mapping[str, Any], previous: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return watched figures then and now, and the settings that differ; None where there is no last run."""
    if previous is None:
        return None
    return {
        "previous_run": str(previous.get("run", "")),
        "figures": [
            {"label": label, "kind": kind, "before": _at(previous, path), "now": _at(summary, path)} for label, kind, path in _WATCHED
        ],
        "settings": differing_settings(_at(previous, ("reproduce", "config")) or {}, summary["reproduce"]["config"]),
    }


def _at(tree: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = tree
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def differing_settings(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return each setting that differs, by its dotted name, with both values in words."""
    old, new = _flat(before), _flat(now)
    return [
        {"setting": key, "before": old.get(key, "absent"), "now": new.get(key, "absent")}
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = str(value)
    return flat
