"""A proxy that shares the target's split is refused, an independent one is not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from pipeline.errors import IntegrityError
from pipeline.proof.independence import check_unseen
from pipeline.risk.evidence import Evidence

Target = Callable[..., Evidence]
TRUTH = np.linspace(0, 2, 100)


@pytest.mark.parametrize("prefix", ["label", "target"])
def test_a_shared_split_is_refused(make_target: Target, prefix: str) -> None:
    """The same halves under another seed of training, or another name, are still the same halves."""
    proxy = make_target(TRUTH, seed=1, prefix=prefix)
    with pytest.raises(IntegrityError, match=rf"share their split.*proxy {prefix}-0a and target target-0a.*another seed"):
        check_unseen(proxy, make_target(TRUTH, seed=2))


def test_independent_splits_pass(make_target: Target) -> None:
    """Halves drawn on their own, or of too few common clusters, say nothing against the proof."""
    check_unseen(make_target(TRUTH, split_seed=5, prefix="label"), make_target(TRUTH))
    check_unseen(make_target(TRUTH[:10]), make_target(TRUTH[:10]))
