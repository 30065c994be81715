"""Freeze predictions: write down what they are, digests of all they came from, and which targets existed at that moment.

The record only grows. Targets do not depend on predictions, so better predictions may be held against targets that exist already; whoever
reads the record then sees that they could have been chosen with the labels in view, and results say so.
"""

from __future__ import annotations

import flows.settings  # noqa: F401  before prefect is imported

# isort: split
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import polars as pl

from flows.deduplicate import Deduplicated
from flows.run import ALL_CODE, Run, settings_of
from flows.score import Scored
from flows.targets import Planned, TargetCorpus
from pipeline import store
from pipeline.config import AuditConfig, canonical_json
from pipeline.errors import IntegrityError
from pipeline.places import locate
from pipeline.proxy.target_worker import CHECKPOINT
from pipeline.store import Artifact, Part

FROZEN, PREDICTIONS, ABLATIONS = "frozen.json", "predictions", "ablations"


@dataclass(frozen=True)
class Frozen:
    """Hold the entry of frozen.json that is in force, and its place among all."""

    entry: Mapping[str, Any]
    number: int

    @property
    def came_first(self) -> bool:
        """Say whether no target had been trained, not even in part, when these predictions were frozen."""
        return not self.entry["targets"]["trained"] and not self.entry["targets"]["begun"]


def freeze(
    run: Run,
    config: AuditConfig,
    copies: Deduplicated,
    scored: Scored,
    corpus: TargetCorpus,
    predictions: pl.DataFrame,
    ablations: pl.DataFrame,
    planned: Sequence[Planned],
    folder: str,
) -> Frozen:
    """Write predictions and append to frozen.json, unless these very predictions were the last to be frozen."""
    parts = [store.write_part(folder, name, frame) for name, frame in ((PREDICTIONS, predictions), (ABLATIONS, ablations))]
    digests = _digests(config, copies, scored, corpus, parts)
    entries = _entries(f"{folder}/{FROZEN}")
    if not entries or entries[-1]["digests"] != digests:
        entry = {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "run": run.run_id,
            "digests": digests,
            "code_versions": {name: store.code_version(name) for name in ALL_CODE},
            "validation": json.loads(canonical_json(config.validation)),
            "targets": _states(planned),
        }
        entries.append(entry)
        store.write_bytes(f"{folder}/{FROZEN}", (json.dumps(entries, indent=1, sort_keys=True) + "\n").encode())
    return Frozen(entries[-1], len(entries))


def told(frozen: Frozen) -> str:
    """Return in a line what was frozen and what existed then."""
    targets = frozen.entry["targets"]
    when = (
        "before any target was trained"
        if frozen.came_first
        else f"when {len(targets['trained'])} target(s) were trained and {len(targets['begun'])} begun"
    )
    return f"predictions {frozen.entry['digests']['predictions']} frozen {frozen.entry['time']}, {when}"


def _digests(config: AuditConfig, copies: Deduplicated, scored: Scored, corpus: TargetCorpus, parts: Sequence[Part]) -> dict[str, str]:
    tables: dict[str, Artifact] = {
        "clusters": copies.clusters,
        "samples": scored.samples,
        "proxy_splits": scored.splits,
        "document_signals": scored.document_signals,
        "sink_scores": scored.scores,
        "target_samples": corpus.samples,
        "target_splits": corpus.splits,
        **scored.runs,
    }
    settings = {"settings": store.digest_of(settings_of(config))}
    return {
        **{name: table.digest for name, table in tables.items()},
        **dict(zip((PREDICTIONS, ABLATIONS), (p.digest for p in parts), strict=True)),
        **settings,
    }


def _entries(path: str) -> list[dict[str, Any]]:
    try:
        return list(json.loads(store.read_bytes(path)))
    except IntegrityError:
        return []


def _states(planned: Sequence[Planned]) -> dict[str, list[str]]:
    """Name the planned runs that are trained, begun and not yet begun."""
    states: dict[str, list[str]] = {"trained": [], "begun": [], "missing": []}
    for one in sorted(planned, key=lambda one: one.spec.name):
        filesystem, plain = locate(f"{one.folder}/{CHECKPOINT}")
        state = "trained" if store.find(one.folder) is not None else "begun" if filesystem.exists(plain) else "missing"
        states[state].append(one.spec.name)
    return states
