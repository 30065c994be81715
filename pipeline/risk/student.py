"""The student: scores for text that no proxy trained on, from the corpus and one forward pass, taught by the teacher.

It is fitted to the teacher's out-of-fold gains and probabilities at the target size, the latter as soft labels, which keeps its mean equal
to theirs. What it cannot see (how training went) is its residual, and that residual widens its intervals. The exposure law needs no
student: it takes the student's gains as it takes the teacher's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.special import expit

from pipeline.risk.crossfit import CrossFitted, Folds, clipped_logit, cross_fit_logistic, cross_fit_ridge
from pipeline.risk.features import COPY_FEATURES
from pipeline.risk.linear import Array, Standardizer
from pipeline.risk.support import Support

STUDENT_FEATURES = (
    "copies",
    "fuzzy_mass",
    "span_share",
    "span_copies",
    "commonness",
    "zlib_ratio",
    "length",
    "rare_token_rate",
    "document_loss",
    "document_loss_sd",
    "document_prompt_suffix_difference",
    "document_loss_per_zlib",
    "document_grad_norm",
)
RISING = frozenset({"copies", "fuzzy_mass"})


@dataclass(frozen=True)
class Student:
    """Hold the fitted models: `*_spread` is the standard deviation of teacher less student, in logits and in nats per token.

    `sink`: None where the exposure law scores.
    """

    sink: CrossFitted | None
    signal: CrossFitted
    gain: CrossFitted
    standardizers: tuple[Standardizer, Standardizer]  # with and without COPY_FEATURES
    support: Support
    sink_spread: float
    gain_spread: float


def student_features(texts: pl.DataFrame) -> Array:
    """Return STUDENT_FEATURES of cluster texts as (n, p), NaN where not measurable."""
    per_zlib = pl.when(pl.col("zlib_bytes") > 0).then(pl.col("reference_loss") * pl.col("num_tokens") / pl.col("zlib_bytes"))
    table = texts.with_columns(
        document_loss=pl.col("reference_loss"),
        document_loss_sd=pl.col("reference_loss_sd"),
        document_prompt_suffix_difference=pl.col("reference_prompt_loss") - pl.col("reference_suffix_loss"),
        document_loss_per_zlib=per_zlib,
        document_grad_norm=pl.col("reference_grad_norm"),
    )
    return table.select(pl.col(STUDENT_FEATURES).cast(pl.Float64).fill_null(np.nan)).to_numpy()


def fit_student(raw: Array, sink: Array | None, signal: Array, gain: Array, folds: Folds, support_quantile: float) -> Student:
    """Fit to the teacher's out-of-fold probabilities (n,), `sink` and `signal`, and gains; rows as in `raw` (n, p).

    `sink`: None where the exposure law scores.
    """
    plain = raw[:, _PLAIN]
    standardizers = (Standardizer.fit(raw), Standardizer.fit(plain))
    weights = np.ones(len(raw))
    sink_design = standardizers[0].design(raw)
    rising = np.array([name in RISING for name in standardizers[0].names(STUDENT_FEATURES)])
    sink_model = None if sink is None else cross_fit_logistic(sink_design, sink, weights, folds, rising)
    signal_design = standardizers[1].design(plain)
    signal_model = cross_fit_logistic(signal_design, signal, weights, folds, np.zeros(signal_design.shape[1], dtype=bool))
    gain_model = cross_fit_ridge(sink_design, gain, weights, folds)
    return Student(
        sink_model,
        signal_model,
        gain_model,
        standardizers,
        Support.fit(raw, support_quantile),
        0.0 if sink is None or sink_model is None else float(np.std(clipped_logit(sink) - sink_model.predict(sink_design, folds))),
        float(np.std(gain - gain_model.predict(sink_design, folds))),
    )


def student_gains(student: Student, raw: Array, folds: Folds) -> Array:
    """Return gains (n,) of rows (n, p), nats per token."""
    return student.gain.predict(student.standardizers[0].design(raw), folds)


def student_logits(student: Student, raw: Array, folds: Folds) -> Array:
    """Return sink logits (n,) of rows (n, p), where no law gives them."""
    assert student.sink is not None
    return student.sink.predict(student.standardizers[0].design(raw), folds)


def student_signals(student: Student, raw: Array, folds: Folds) -> Array:
    """Return signal probabilities (n,) of rows (n, p)."""
    return np.asarray(expit(student.signal.predict(student.standardizers[1].design(raw[:, _PLAIN]), folds)))


_PLAIN = [at for at, name in enumerate(STUDENT_FEATURES) if name not in COPY_FEATURES]
