"""Map topics of frameworks on sections of the report: where it holds evidence, where only some, where none.

A reading aid for people who know the frameworks. Topics are named in our words and by their place in the text, sections by their anchor;
no dates, and no claim that anything complies with anything. What a row says is there must be there: a test follows every link.

Source: Regulation (EU) 2024/1689 (AI Act), Article 10 paragraphs 2 to 5 and Annex XI section 1; NIST AI 600-1, the twelve risks of its
section 2; Gebru et al. 2021, "Datasheets for Datasets", section 3.
"""

from __future__ import annotations

from dataclasses import dataclass

EVIDENCE, PART, NONE = "evidence", "in part", "not covered"

SECTIONS = {
    "scope": "scope and provenance",
    "rows": "flow of rows",
    "copies": "duplication",
    "sinks": "memorization sinks",
    "decisions": "decisions and side effects",
    "sensitive": "sensitive patterns",
    "limits": "limits",
    "reproduce": "reproduce",
    "changes": "changes",
    "sign-off": "sign-off",
}
"""Sections that hold evidence, by anchor."""


@dataclass(frozen=True)
class Topic:
    """Map one topic: how far it is covered, the sections' anchors, and what is missing or meant, in a few words."""

    topic: str
    covered: str
    sections: tuple[str, ...] = ()
    note: str = ""


FRAMEWORKS: dict[str, tuple[Topic, ...]] = {
    "EU AI Act, Article 10": (
        Topic("2(a) design choices", EVIDENCE, ("reproduce", "sinks"), "of this audit; of the model, none"),
        Topic("2(b) collection and origin of data, original purpose", PART, ("scope",), "files and sources; nothing on purpose or consent"),
        Topic("2(c) preparation: cleaning, filtering, aggregation", EVIDENCE, ("rows", "copies", "decisions"), "annotation: none is made"),
        Topic("2(d) assumptions: what data is taken to measure", PART, ("sinks", "limits"), "what a sink is; not what rows stand for"),
        Topic("2(e) availability, quantity, suitability", PART, ("scope", "rows"), "quantity; suitability for a purpose is not judged"),
        Topic("2(f) examination for bias", PART, ("decisions",), "whom removal hits, by source, language, length; no protected attributes"),
        Topic("2(g) measures against bias", NONE, (), "limits on one source's loss are the only guard"),
        Topic("2(h) gaps and shortcomings", PART, ("scope", "limits"), "those of the audit; those of the corpus need a person"),
        Topic("3 relevant, representative, free of errors, complete", PART, ("copies",), "copies; nothing else"),
        Topic("4 geographical, behavioural, functional setting", NONE),
        Topic("5 special categories of personal data", NONE, (), "patterns are counted, special categories are not looked for"),
    ),
    "EU AI Act, Annex XI": (
        Topic("1(2)(c) type and provenance of training data", PART, ("scope",), "as far as files tell"),
        Topic("1(2)(c) curation: cleaning, filtering", EVIDENCE, ("copies", "decisions", "rows")),
        Topic("1(2)(c) number of data points, scope, main characteristics", PART, ("rows", "scope"), "counts, sources, guessed languages"),
        Topic("1(2)(c) how data was obtained and selected", PART, ("decisions",), "selection by this audit; not how it was obtained"),
        Topic("1(2)(c) detection of unsuitable sources and of biases", PART, ("copies", "sensitive", "decisions"), "not all was examined"),
        Topic("1(1) and 1(2)(a), (b) the model, its design and training", NONE),
        Topic("1(2)(d) compute used to train the model", NONE, (), "the cost of proxies alone is told"),
        Topic("1(2)(e) energy used by the model", NONE),
    ),
    "NIST AI 600-1": (
        Topic("2.1 CBRN information or capabilities", NONE),
        Topic("2.2 confabulation", NONE),
        Topic("2.3 dangerous, violent or hateful content", NONE),
        Topic("2.4 data privacy", PART, ("sinks", "sensitive"), "memorization risk and counts of patterns; a reduction, no guarantee"),
        Topic("2.5 environmental impacts", NONE, (), "the cost of proxies alone is told"),
        Topic("2.6 harmful bias and homogenization", PART, ("decisions",), "shift by source, language and length"),
        Topic("2.7 human-AI configuration", PART, ("decisions", "sign-off"), "who overruled, waived and signed"),
        Topic("2.8 information integrity", NONE),
        Topic("2.9 information security", PART, ("sensitive",), "secret-like patterns in rows of high risk; poisoning is not looked for"),
        Topic("2.10 intellectual property", PART, ("sinks", "copies"), "what may be reproduced verbatim; licences are not examined"),
        Topic("2.11 obscene, degrading or abusive content", NONE),
        Topic("2.12 value chain and component integration", PART, ("scope", "reproduce"), "digests of what went in and came out"),
    ),
    "Datasheets for Datasets": (
        Topic("3.1 motivation", NONE, (), "open in the dataset card, for a person"),
        Topic("3.2 composition", PART, ("scope", "rows", "sensitive"), "counts; what rows stand for needs a person"),
        Topic("3.3 collection process", NONE, (), "open in the dataset card"),
        Topic("3.4 preprocessing, cleaning, labelling", EVIDENCE, ("copies", "decisions"), "by this audit, not before it"),
        Topic("3.5 uses", PART, ("limits",), "in the dataset card: how weights and masks are used"),
        Topic("3.6 distribution", NONE, (), "a licence only if the user named it"),
        Topic("3.7 maintenance", PART, ("changes", "reproduce"), "releases are never rewritten; who maintains needs a person"),
    ),
}
