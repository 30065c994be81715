"""The guard against a split shared by features and labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

from pipeline.errors import IntegrityError
from pipeline.risk.evidence import check_independence
from pipeline.tables import PROXY_SPLITS


def test_independent_splits_pass(world: Any) -> None:
    """Halves drawn apart are accepted."""
    check_independence(world.evidence)


def test_a_shared_split_is_refused(make_world: Callable[..., Any]) -> None:
    """A label half that repeats a feature half stops the audit, naming both proxies."""
    with pytest.raises(IntegrityError, match=r"feature-0-0a and label-0-0a.*independent halves"):
        check_independence(make_world(60, shared_split=True).evidence)


def test_a_complementary_split_is_refused(world: Any) -> None:
    """The complement of a feature half leaks as much as the half itself."""
    splits, training = world.evidence.splits, pl.col("in_training")
    copied = splits.filter(pl.col("proxy") == "feature-0-0a").with_columns(proxy=pl.lit("label-0-0a"), in_training=~training)
    leaking = PROXY_SPLITS.check(pl.concat([splits.filter(pl.col("proxy") != "label-0-0a"), copied]))
    with pytest.raises(IntegrityError, match="share their split"):
        world.with_evidence(splits=leaking).score()


def test_too_few_clusters_are_not_accused(make_world: Callable[..., Any]) -> None:
    """Among a handful of clusters halves may agree by chance."""
    check_independence(make_world(8, shared_split=True).evidence)
