"""Kinds of sinks by their definition."""

from __future__ import annotations

import polars as pl
import pytest

from pipeline.config import RiskConfig
from pipeline.risk.classes import sink_class


@pytest.mark.parametrize(
    ("score", "size", "extracted_out", "suffix_loss", "wanted"),
    [
        (0.49, 64, 1.0, 0.0, None),
        (0.5, 6, 1.0, 0.0, "recitation"),
        (0.9, 5, 0.5, 9.0, "reconstruction"),
        (0.9, 5, 0.0, 0.0, "recollection"),  # proxies without it were asked and did not recite it
        (0.9, 1, None, 0.1, "reconstruction"),
        (0.9, 1, None, 5.0, "recollection"),
        (0.9, 1, None, None, "recollection"),
    ],
)
def test_class_of_a_cluster(score: float, size: int, extracted_out: float | None, suffix_loss: float | None, wanted: str | None) -> None:
    """Many copies are recited, what proxies reproduce unseen is reconstructed, the rest recollected; no sink, no class."""
    columns = {"sink_score": pl.Float64, "cluster_size": pl.Int64, "extracted_out": pl.Float64, "reference_suffix_loss": pl.Float64}
    row = pl.DataFrame([(score, size, extracted_out, suffix_loss)], schema=columns, orient="row")
    assert row.select(sink_class(16, RiskConfig())).item() == wanted
