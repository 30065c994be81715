"""A made-up corpus and its proxies with known truth: how much of a cluster a model stores follows from copies, taste and size."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from pipeline.config import RiskConfig
from pipeline.risk.evidence import Evidence
from pipeline.risk.scoring import score_documents
from pipeline.tables import (
    CLUSTERS,
    DOCUMENT_FIELDS,
    DOCUMENT_SIGNALS,
    EXTRACTIONS,
    PROXIES,
    PROXY_SIGNALS,
    PROXY_SPLITS,
    SAMPLES,
    Clusters,
    Documents,
    DocumentSignals,
    SinkScores,
    check_documents,
)

SUFFIX = 16
CHECKPOINTS = (10, 100, 400)
LOOKS = (0, 50, 200)
FORGETFUL = ("feature-0-0a", "feature-0-0b")
PARAMETERS = (50_000, 150_000, 450_000)
ROLES = (
    [("full", size, f"full-{size}") for size in range(3)]
    + [("feature_half", 0, f"feature-0-{pair}{side}") for pair in range(2) for side in "ab"]
    + [("label_half", size, f"label-{size}-{pair}{side}") for size in range(2) for pair in range(2) for side in "ab"]
)


@dataclass(frozen=True)
class World:
    documents: Documents
    clusters: Clusters
    evidence: Evidence
    document_signals: DocumentSignals
    copies: dict[bytes, int]
    taste: dict[bytes, float]  # what makes a cluster stick, beyond copies
    outside: frozenset[bytes]  # clusters that no proxy drew

    def score(self, config: RiskConfig | None = None, seed: int = 0, num_parts: int = 3) -> tuple[SinkScores, dict[str, Any]]:
        """Score the world with its documents in a few parts."""
        rows = max(1, -(-self.documents.num_rows // num_parts))
        parts = [check_documents(self.documents.slice(start, rows)) for start in range(0, self.documents.num_rows, rows)]
        e = self.evidence
        scores, facts = score_documents(
            lambda: iter(parts), self.clusters, e.samples, e.splits, e.proxies, e.signals, e.extractions, self.document_signals,
            config or RiskConfig(num_bootstrap=10, num_folds=4), SUFFIX, seed,
        )  # fmt: skip
        return scores, dict(facts)

    def with_evidence(self, **tables: Any) -> World:
        """Return the world with some of its proxies' tables replaced."""
        return replace(self, evidence=replace(self.evidence, **tables))


def _hash(*values: object) -> bytes:
    return hashlib.blake2b(repr(values).encode(), digest_size=16).digest()


def _text(rng: np.random.Generator, num_words: int) -> str:
    return " ".join(f"w{number}" for number in rng.integers(0, 5_000, num_words))


def build_world(
    num_clusters: int = 320,
    seed: int = 7,
    max_power: int = 6,
    min_power: int = 0,
    strength: float = 1.0,
    has_suffix: bool = True,
    shared_split: bool = False,
    doc_order: int | None = None,
    is_lawful: bool = False,
) -> World:
    rng = np.random.default_rng(seed)
    ids = sorted(_hash("cluster", number) for number in range(num_clusters))
    powers = np.minimum(min_power + rng.geometric(0.5, num_clusters) - 1, max_power)
    copies = {key: 2 ** int(power) for key, power in zip(ids, powers, strict=True)}
    taste = {key: float(value) for key, value in zip(ids, rng.normal(0, 1.5, num_clusters), strict=True)}
    hardness = {key: float(value) for key, value in zip(ids, rng.normal(3.5, 0.5, num_clusters), strict=True)}
    outside = frozenset(ids[5::10])
    drawn = [key for key in ids if key not in outside]
    held_out = set(drawn[3::12]) if len(drawn) > 12 else set()

    rows: list[tuple[bytes, bytes, str]] = []
    for key in ids:
        text = _text(rng, int(rng.integers(30, 120)))
        rows += [(key, _hash(key, copy), text) for copy in range(copies[key])]
    if doc_order is not None:
        rows = [rows[at] for at in np.random.default_rng(doc_order).permutation(len(rows))]
    documents = check_documents(
        pa.table(
            [
                pa.array(range(len(rows)), pa.int64()),
                pa.array(["made up"] * len(rows), pa.large_string()),
                pa.array([str(at) for at in range(len(rows))], pa.large_string()),
                pa.array([_hash(text) for _, _, text in rows], pa.binary(16)),
                pa.array([row for _, row, _ in rows], pa.binary(16)),
                pa.array([text for _, _, text in rows], pa.large_string()),
            ],
            schema=DOCUMENT_FIELDS,
        )
    )
    clusters = CLUSTERS.check(
        pl.DataFrame(
            {"doc_id": range(len(rows)), "cluster_id": [key for key, _, _ in rows], "cluster_size": [copies[key] for key, _, _ in rows]},
            schema=dict(CLUSTERS.columns),
        )
    )
    content = {key: _hash(text) for key, _, text in rows}
    document_signals = DOCUMENT_SIGNALS.check(
        pl.DataFrame(
            [
                (content[key], 60, 60, hardness[key], hardness[key] + 0.2, hardness[key] - 0.1, 1.0, float(rng.random() / 5), 2.0)
                for key in ids
            ],
            schema=dict(DOCUMENT_SIGNALS.columns),
            orient="row",
        )
    )
    evidence = _proxies(rng, rows, drawn, held_out, copies, taste, hardness, strength, has_suffix, shared_split, is_lawful)
    return World(documents, clusters, evidence, document_signals, copies, taste, outside)


def _proxies(
    rng: np.random.Generator,
    rows: list[tuple[bytes, bytes, str]],
    drawn: list[bytes],
    held_out: set[bytes],
    copies: dict[bytes, int],
    taste: dict[bytes, float],
    hardness: dict[bytes, float],
    strength: float,
    has_suffix: bool,
    shared_split: bool,
    is_lawful: bool,
) -> Evidence:
    first: dict[bytes, int] = {}
    samples: list[tuple[object, ...]] = []
    wanted = set(drawn)
    for doc_id, (key, _, _) in sorted(enumerate(rows), key=lambda item: (item[1][0], item[1][1])):
        if key in wanted:
            sample_id = len(samples)
            samples.append((sample_id, doc_id, key, first.setdefault(key, sample_id), 0, 40, 40, [1] * 40))
    sides: dict[tuple[str, int, str], dict[bytes, bool]] = {}
    splits: list[tuple[object, ...]] = []
    signals: list[tuple[object, ...]] = []
    extractions: list[tuple[object, ...]] = []
    for role, size, proxy in ROLES:
        pair = ("feature_half" if shared_split and role == "label_half" else role, 0 if shared_split else size, proxy.split("-")[-1][:1])
        if role != "full" and pair not in sides:
            sides[pair] = {key: bool(rng.random() < 0.5) for key in drawn}
        for key in drawn:
            inside = key not in held_out and (role == "full" or sides[pair][key] == proxy.endswith("a"))
            splits.append((key, proxy, inside))
            pull = strength * (0.9 * np.log2(copies[key]) + taste[key] + 0.8 * size) - 4.0 + rng.normal(0, 0.5)
            stored = float(1 / (1 + np.exp(-pull))) if inside else 0.0
            loss = float(max(0.01, hardness[key] * (1 - stored) + rng.normal(0, 0.1)))
            suffix = float(max(0.001, hardness[key] * (1 - stored) ** 2 + rng.normal(0, 0.05)))
            if is_lawful and inside:  # as the exposure law has it, copies and size alone
                suffix = float(np.exp(1.1 - 0.5 * np.log2(copies[key]) - 0.2 * size + rng.normal(0, 0.4)))
            window = first[key]
            steps = CHECKPOINTS if role == "full" else CHECKPOINTS[-1:]
            for at, step in enumerate(steps):
                share = (at + 1) / len(steps)
                now = 8.0 * (1 - share) + loss * share
                gradient = 0.05 * now + 0.01 * stored
                measured = (None, None, None) if role == "label_half" else (gradient, gradient / 100, gradient / 500 - 1e-4)
                signals.append((window, proxy, step, "probe", now, loss + 0.3, suffix, -loss / 3, *measured))
            if role == "full" and inside:
                signals += [(window, proxy, step, "exposure", 6.0 - (6.0 - loss) * step / 400, *[None] * 6) for step in (50, 150, 250, 350)]
            if role == "full" and key in held_out:
                signals += [(window, proxy, step, "unseen", 6.0 - step / 100, *[None] * 6) for step in LOOKS]
            if proxy in FORGETFUL:
                signals.append((window, proxy, 480, "forgetting", loss + (stored if inside else -0.2), *[None] * 6))
            if has_suffix:
                match = int(np.clip(round(SUFFIX * np.exp(-suffix)), 0, SUFFIX))
                extractions.append((window, proxy, match / SUFFIX, match, -SUFFIX * suffix))
    proxies = [(name, role, size, PARAMETERS[size], 400, 10_000, 1e9, 1e8, 2.0, 3.0) for role, size, name in ROLES]
    return Evidence(
        SAMPLES.check(pl.DataFrame(samples, schema=dict(SAMPLES.columns), orient="row")),
        PROXY_SPLITS.check(pl.DataFrame(splits, schema=dict(PROXY_SPLITS.columns), orient="row")),
        PROXIES.check(pl.DataFrame(proxies, schema=dict(PROXIES.columns), orient="row")),
        PROXY_SIGNALS.check(pl.DataFrame(signals, schema=dict(PROXY_SIGNALS.columns), orient="row")),
        EXTRACTIONS.check(pl.DataFrame(extractions, schema=dict(EXTRACTIONS.columns), orient="row")),
        SUFFIX,
    )


@pytest.fixture(scope="session")
def make_world() -> Callable[..., World]:
    return build_world


@pytest.fixture(scope="session")
def world() -> World:
    return build_world()


@pytest.fixture(scope="session")
def scored(world: World) -> tuple[SinkScores, dict[str, Any]]:
    return world.score()
