"""The signals: their registry, their independence from labels, and values known by construction."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import polars as pl
import pytest

from pipeline.risk import corpus_features, forward_features, training_features
from pipeline.risk.corpus_features import cluster_texts, document_features, index_subsample
from pipeline.risk.features import COPY_FEATURES, CORPUS_FEATURES, FEATURES, RISING_FEATURES, cluster_features, view_of
from pipeline.risk.forward_features import View
from pipeline.tables import EXTRACTIONS, PROXY_SIGNALS


@pytest.fixture(scope="module")
def texts(world: Any) -> pl.DataFrame:
    index = index_subsample(lambda: [world.documents], world.evidence.samples["doc_id"])
    return cluster_texts(document_features(world.documents, index), world.clusters, world.document_signals)


def test_every_signal_is_a_function_of_its_own_name(world: Any, texts: pl.DataFrame) -> None:
    """Columns and documented functions are the same set."""
    functions = {
        name
        for module in (forward_features, training_features)
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__ and not name.startswith("_") and list(inspect.signature(function).parameters) == ["view"]
    }
    for name in CORPUS_FEATURES:
        functions.add(getattr(corpus_features, name).__name__)
    assert functions == set(FEATURES)
    assert cluster_features(world.evidence, texts, 0).columns == ["cluster_id", *FEATURES]
    assert set(FEATURES) >= COPY_FEATURES | RISING_FEATURES


def test_every_signal_states_unit_and_direction() -> None:
    """A signal's docstring says what it is measured in and which way it points."""
    for name in FEATURES:
        home = next(
            module
            for module in (corpus_features, forward_features, training_features)
            if hasattr(module, name) and inspect.isfunction(getattr(module, name))
        )
        words = inspect.getdoc(getattr(home, name)) or ""
        assert "Unit:" in words, name
        assert "Direction:" in words, name


def test_features_never_look_at_label_proxies(world: Any, texts: pl.DataFrame) -> None:
    """Changing everything that label halves said leaves every feature as it was."""
    evidence = world.evidence
    is_label = pl.col("proxy").str.starts_with("label")
    signals = evidence.signals.with_columns(loss=pl.when(is_label).then(9.0).otherwise("loss").cast(pl.Float32))
    extractions = evidence.extractions.filter(~is_label)
    bent = world.with_evidence(signals=PROXY_SIGNALS.check(signals), extractions=EXTRACTIONS.check(extractions)).evidence
    for size in range(3):
        assert cluster_features(evidence, texts, size).equals(cluster_features(bent, texts, size))


def test_only_clusters_in_training_have_training_signals(world: Any, texts: pl.DataFrame) -> None:
    """Held-out clusters and clusters outside the subsample are not rows of the teacher's features."""
    table = cluster_features(world.evidence, texts, 1)
    assert table.join(world.evidence.held_out(), on="cluster_id", how="semi").is_empty()
    assert not set(table["cluster_id"]) & world.outside
    assert table.null_count().select(pl.exclude("cluster_id", "fuzzy_mass")).sum_horizontal().item() == 0


def test_corpus_signals_of_known_text(world: Any, texts: pl.DataFrame) -> None:
    """Copies are log2 of the cluster's size and compression is a share of bytes."""
    assert dict(texts.select("cluster_id", "copies").iter_rows()) == {key: np.log2(count) for key, count in world.copies.items()}
    assert texts["zlib_ratio"].is_between(0.2, 0.9).all()
    assert corpus_features.zlib_ratio(0, 0) is None
    assert corpus_features.length(0) is None
    assert corpus_features.length(1024) == 10.0


def test_unseen_text_has_no_gap_and_no_drop_of_its_own(world: Any, texts: pl.DataFrame) -> None:
    """Reference gap and trajectory drop are measured from held-out clusters, whose mean is therefore zero."""
    view = view_of(world.evidence, texts, 2)
    for name in ("reference_gap", "trajectory_drop"):
        unseen = getattr(training_features, name)(view).join(view.held_out, on="cluster_id", how="semi")
        assert float(unseen[name].mean() or 0.0) == pytest.approx(0.0, abs=1e-6)


def test_counterfactual_gap_finds_what_was_stored(world: Any, texts: pl.DataFrame) -> None:
    """The gap rises with copies and taste, which decide how much is stored."""
    gap = training_features.counterfactual_gap(view_of(world.evidence, texts, 0))
    stored = [np.log2(world.copies[key]) * 0.9 + world.taste[key] for key in gap["cluster_id"]]
    assert np.corrcoef(np.argsort(np.argsort(stored)), np.argsort(np.argsort(gap["counterfactual_gap"])))[0, 1] > 0.6


def test_a_trajectory_counts_neither_copies_nor_part_epochs(world: Any, texts: pl.DataFrame) -> None:
    """Doubling every exposure changes no trajectory signal."""
    view = view_of(world.evidence, texts, 0)
    doubled = View(**{**view.__dict__, "exposures": pl.concat([view.exposures, view.exposures])})
    once, twice = training_features.trajectory_sum(view), training_features.trajectory_sum(doubled)
    np.testing.assert_allclose(once.sort("cluster_id")["trajectory_sum"], twice.sort("cluster_id")["trajectory_sum"], atol=1e-6)


def test_one_probe_leaves_the_drop_unmeasured(world: Any, texts: pl.DataFrame) -> None:
    """With a single checkpoint the drop is null, not zero."""
    view = view_of(world.evidence, texts, 0)
    single = View(**{**view.__dict__, "checkpoints": view.probes})
    assert training_features.trajectory_drop(single)["trajectory_drop"].null_count() == view.probes["cluster_id"].n_unique()
