"""Tell whether a row is like the rows a model was fitted to; elsewhere the model abstains."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.risk.linear import Array, Standardizer

RIDGE = 1e-2
"""Variance added to each standardized feature, so that a flag no fitted row had, or a collinear pair, is far away but not infinitely."""


@dataclass(frozen=True)
class Support:
    """Hold the shape of the fitted rows and the Mahalanobis distance beyond which a row is outside. Source: Mahalanobis 1936."""

    standardizer: Standardizer
    precision: Array
    limit: float

    @classmethod
    def fit(cls, raw: Array, quantile: float) -> Support:
        """Measure raw rows (n, p), NaN where not measurable, and put the limit at a quantile of their own distances."""
        standardizer = Standardizer.fit(raw)
        design = _unclipped(standardizer, raw)
        covariance = design.T @ design / max(len(design), 1) + RIDGE * np.eye(design.shape[1])
        precision: Array = np.linalg.inv(covariance).astype(np.float64)
        inside = cls(standardizer, precision, np.inf)
        return cls(standardizer, precision, float(np.quantile(inside.distance(raw), quantile)) if len(raw) else 0.0)

    def distance(self, raw: Array) -> Array:
        """Return the distance of raw rows from the middle of the fitted ones."""
        design = _unclipped(self.standardizer, raw)
        return np.asarray(np.sqrt(np.einsum("np,pq,nq->n", design, self.precision, design)))

    def holds(self, raw: Array) -> NDArray[np.bool_]:
        """Return which raw rows are inside."""
        return np.asarray(self.distance(raw) <= self.limit + 1e-9)


def _unclipped(standardizer: Standardizer, raw: Array) -> Array:
    """Return z-scores and a flag a feature for missing values; a fitted constant counts any deviation in its own unit."""
    present = np.isfinite(raw)
    scale = np.where(np.isfinite(standardizer.scale), standardizer.scale, 1.0)
    z = (np.where(present, raw, standardizer.mean) - standardizer.mean) / scale
    return np.hstack([z, (~present).astype(np.float64)])
