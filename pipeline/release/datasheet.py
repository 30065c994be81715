"""Write the datasheet of a release: what the audit's data answer, and the questions that only a person can.

Nothing is invented: a question without an answer in the data stands there, visibly open.

Source: Gebru et al. 2021, "Datasheets for Datasets", for headings and questions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.config import ReleaseConfig
from pipeline.release.treatment import SpanCounts

OPEN = "_To be completed by a person._"

QUESTIONS: Mapping[str, Sequence[str]] = {
    "Motivation": (
        "For what purpose was the corpus put together?",
        "Who did so, on whose behalf, and who paid for it?",
    ),
    "Composition": (
        "What does a row stand for, and is the corpus a sample of something larger?",
        "Does it hold data about people, data that is confidential, or content that may offend?",
    ),
    "Collection process": (
        "How, when and by whom was the text collected?",
        "Were the people concerned told, did they agree, and can they withdraw?",
        "Was there an ethical review?",
    ),
    "Preprocessing, cleaning, labelling": ("What was done to the text before this audit, and is the raw text kept?",),
    "Uses": (
        "What has the dataset been used for, and where are such uses recorded?",
        "What should it not be used for?",
    ),
    "Distribution": ("To whom, how and when will it be given, and under which terms?",),
    "Maintenance": (
        "Who maintains it, and how can they be reached?",
        "How are errors corrected, and how is text removed on request?",
    ),
}
"""Every heading of a datasheet, in order, with what no table of ours can answer."""

BOUNDS = {"low": "reached by the lower end of its interval", "score": "reached by the score itself"}


def write_datasheet(facts: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the datasheet's paragraphs: under each heading what is known, then what is open."""
    assert facts.keys() <= QUESTIONS.keys()
    return [
        part
        for heading, questions in QUESTIONS.items()
        for part in (f"## {heading}", *facts.get(heading, ()), "\n".join(f"- {question} {OPEN}" for question in questions))
    ]


def preprocessing(config: ReleaseConfig, spans: SpanCounts) -> list[str]:
    """Say what deduplication and the sink policy did."""
    told = [
        f"Exact and near-duplicates were found by MinHash, verified by exact Jaccard similarity and removed only beside a kept, directly "
        f"compared copy. Sink policy: {config.policy}, from a sink score of {config.sink_threshold:g} "
        f"({BOUNDS[config.sink_bound]}). A sink score is the predicted "
        "probability that a model of the stated size memorizes the document, and a small proxy is not the target."
    ]
    if spans.rows_trimmed:
        told.append(
            f"Repeated spans were cut out of {spans.rows_trimmed:,} rows, {spans.bytes_trimmed:,} bytes in all; their texts are not those "
            f"of the input, nor are content hashes. {spans.rows_emptied:,} of these rows have no visible character left."
        )
    return told


def uses(columns: Sequence[str]) -> list[str]:
    """Say what the release was made for."""
    asked = [name for name in ("sink_weight", "sink_mask_spans") if name in columns]
    told = "It was made to train language models on."
    if asked:
        told += f" A trainer that ignores {' and '.join(f'`{name}`' for name in asked)} undoes those decisions of the audit."
    return [told, "Removed rows are not in it: it does not show what the corpus held before."]


def distribution(licence: str | None) -> list[str]:
    """Name the licence that the user gave; `licence` is escaped already."""
    return [f"Licence, as the user of the audit named it: {licence}." if licence else f"Licence: {OPEN}"]


def maintenance() -> list[str]:
    """Say how a release changes: not at all."""
    return [
        "A release is never rewritten: another audit, or other decisions on the same one, make another folder under another name, and "
        "`manifest.json` names what each came from."
    ]
