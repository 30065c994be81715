"""The signals: their registry, their independence from labels, and values known by construction."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any

import numpy as np
import polars as pl
import pytest

from pipeline.risk import corpus_features, forward_features, gradient_features, training_features, trajectory_features
from pipeline.risk.corpus_features import cluster_texts, corpus_texts
from pipeline.risk.features import COPY_FEATURES, CORPUS_FEATURES, FEATURES, FITTED_FEATURES, RISING_FEATURES, cluster_features, view_of
from pipeline.risk.forward_features import View
from pipeline.tables import EXTRACTIONS, PROXY_SIGNALS, REPEATED_SPANS

SIGNAL_MODULES = (forward_features, trajectory_features, training_features, gradient_features)


@pytest.fixture(scope="module")
def texts(world: Any) -> pl.DataFrame:
    trained = world.evidence.samples["doc_id"].unique().to_list()
    return corpus_texts(lambda: [world.documents], trained, world.clusters, world.document_signals)[1]


def test_every_signal_is_a_function_of_its_own_name(world: Any, texts: pl.DataFrame) -> None:
    """Columns and documented functions are the same set."""
    functions = {
        name
        for module in SIGNAL_MODULES
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__ and not name.startswith("_") and list(inspect.signature(function).parameters) == ["view"]
    }
    for name in CORPUS_FEATURES:
        functions.add(getattr(corpus_features, name).__name__)
    assert functions == set(FEATURES)
    assert cluster_features(world.evidence, texts, 0).columns == ["cluster_id", *FEATURES]
    assert set(FEATURES) >= {*COPY_FEATURES, *RISING_FEATURES, *FITTED_FEATURES}


def test_every_signal_states_unit_and_direction() -> None:
    """A signal's docstring says what it is measured in and which way it points."""
    for name in FEATURES:
        home = next(
            module for module in (corpus_features, *SIGNAL_MODULES) if hasattr(module, name) and inspect.isfunction(getattr(module, name))
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
    not_looked_for = ("span_share", "span_copies", "sink_gap", "placebo_gap")
    assert table.null_count().select(pl.exclude("cluster_id", "fuzzy_mass", *not_looked_for)).sum_horizontal().item() == 0


def test_corpus_signals_of_known_text(world: Any, texts: pl.DataFrame) -> None:
    """Copies are log2 of the cluster's size and compression is a share of bytes."""
    assert dict(texts.select("cluster_id", "copies").iter_rows()) == {key: np.log2(count) for key, count in world.copies.items()}
    assert texts["zlib_ratio"].is_between(0.2, 0.9).all()
    assert corpus_features.zlib_ratio(0, 0) is None
    assert corpus_features.length(0) is None
    assert corpus_features.length(1024) == 10.0


def test_unseen_text_has_no_gap_and_no_slope_of_its_own(world: Any, texts: pl.DataFrame) -> None:
    """Reference gap and scale slope are measured from held-out clusters, whose mean is therefore zero."""
    view = view_of(world.evidence, texts, 2)
    for name in ("reference_gap", "scale_slope"):
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
    for signal in (trajectory_features.trajectory_sum, trajectory_features.exposure_drop):
        once, twice = (signal(each).sort("cluster_id")[signal.__name__] for each in (view, doubled))
        np.testing.assert_allclose(once, twice, atol=1e-6)


def test_the_slope_over_sizes_is_that_of_least_squares(world: Any, texts: pl.DataFrame) -> None:
    """It agrees with a polynomial fit of the gaps on log10 parameters, and is null at the smallest size."""
    evidence = world.evidence
    gaps = [training_features.reference_gap(view_of(evidence, texts, size)).sort("cluster_id") for size in range(3)]
    decades = np.log10([evidence.num_parameters(size) for size in range(3)])
    for top in (1, 2):
        found = training_features.scale_slope(view_of(evidence, texts, top)).sort("cluster_id")
        assert found["cluster_id"].to_list() == gaps[0]["cluster_id"].to_list()
        table = np.array([gap["reference_gap"] for gap in gaps[: top + 1]])
        np.testing.assert_allclose(found["scale_slope"], np.polyfit(decades[: top + 1], table, 1)[0], atol=1e-6)
    assert training_features.scale_slope(view_of(evidence, texts, 0))["scale_slope"].null_count() == gaps[0].height


def test_spans_count_bytes_once_and_copies_take_their_clusters_value(world: Any) -> None:
    """Overlapping spans are one stretch, a removed copy changes nothing, and text without spans is not text that was not searched."""
    sizes = world.clusters.sort("cluster_size", descending=True)
    twin, alone = sizes["doc_id"][0], sizes["doc_id"][-1]
    documents, unsearched = corpus_texts(lambda: [world.documents], [], world.clusters, world.document_signals)
    num_bytes = documents.filter(pl.col("doc_id") == twin)["num_bytes"].item()
    rows = [(twin, 0, 20, 4, b"a", 1, 9, 3), (twin, 10, 30, 4, b"b", 1, 4, 3), (twin, 40, 50, 2, b"c", 1, 2, 2)]
    spans = REPEATED_SPANS.check(pl.DataFrame(rows, schema=dict(REPEATED_SPANS.columns), orient="row"))
    found = cluster_texts(documents, world.clusters, world.document_signals, spans)
    cluster_of = dict(world.clusters.select("doc_id", "cluster_id").iter_rows())
    by_cluster = {row["cluster_id"]: (row["span_share"], row["span_copies"]) for row in found.iter_rows(named=True)}
    assert by_cluster[cluster_of[twin]] == (40 / num_bytes, np.log2(9))
    assert by_cluster[cluster_of[alone]] == (0.0, 0.0)
    assert unsearched["span_share"].null_count() == unsearched["span_copies"].null_count() == unsearched.height


def test_signals_do_not_hang_on_how_rows_are_numbered(make_world: Any) -> None:
    """The same texts in another order have the same signals, cluster by cluster."""
    tables = []
    for world in (make_world(num_clusters=80, doc_order=order) for order in (1, 2)):
        trained = world.evidence.samples["doc_id"].unique().to_list()
        _, texts = corpus_texts(partial(list, [world.documents]), trained, world.clusters, world.document_signals)
        tables.append(cluster_features(world.evidence, texts, 2))
    assert tables[0].equals(tables[1])
