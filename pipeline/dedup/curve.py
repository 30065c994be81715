"""The S-curve: how likely a pair of a given similarity is to be proposed at all."""

from __future__ import annotations


def proposal_probability(jaccard: float, num_bands: int, rows_per_band: int) -> float:
    """Return 1 - (1 - s^r)^b, the probability that b bands of r rows agree on one band at least.

    Source: Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, section 3.4.2.
    """
    return float(1.0 - (1.0 - jaccard**rows_per_band) ** num_bands)


def band_curve(num_bands: int, rows_per_band: int, num_points: int = 101) -> list[tuple[float, float]]:
    """Return (Jaccard, probability of being proposed) at evenly spaced similarities from 0 to 1, both ends included."""
    similarities = [point / (num_points - 1) for point in range(num_points)]
    return [(similarity, proposal_probability(similarity, num_bands, rows_per_band)) for similarity in similarities]
