"""Count sensitive patterns in chosen documents: how many different values of which kind, never the values.

It is a count of patterns, not an audit for personal data: what has no checkable form is not found, and what has the form may be made up.
False alarms measured on the natural text of the demo corpus (2.2 MB of licences and novels): none of the secrets; see reports/log.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any

import polars as pl

from pipeline.risk.personal import find_personal_data
from pipeline.risk.secrets import find_secrets
from pipeline.tables import SENSITIVE_PATTERNS, SensitivePatterns

MAX_CHARACTERS = 100_000
"""Of a document that are examined: patterns may take seconds on that much hostile text, and minutes on much more."""
LIBRARIES = ("detect-secrets", "phonenumbers", "python-stdnum")


def find_patterns(text: str, region: str | None = None) -> Mapping[str, int]:
    """Return how many different values of each kind a text holds, kinds as in `tables.SECRET_KINDS` and `tables.PERSONAL_KINDS`.

    The text beyond 100,000 characters is not looked at. region: whose national telephone numbers count, as an ISO 3166 code.
    """
    head = text[:MAX_CHARACTERS]
    return {kind: len(values) for kind, values in (*find_secrets(head).items(), *find_personal_data(head, region).items())}


def count_patterns(
    texts: Iterable[tuple[int, str]], chosen: pl.DataFrame, region: str | None = None
) -> tuple[SensitivePatterns, dict[str, Any]]:
    """Count the patterns in chosen documents and say what was examined.

    texts: doc_id and text of each document of `chosen`, which has the columns `doc_id, is_high_risk`. One text is held at a time.
    Facts: documents, characters and how many of them had more than were examined; versions of the detectors.
    """
    is_high_risk = dict(chosen.select("doc_id", "is_high_risk").iter_rows())
    rows: list[tuple[int, bool, str, int]] = []
    examined = Counter(num_documents=0, num_characters=0, num_cut=0)
    for doc_id, text in texts:
        examined.update(num_documents=1, num_characters=min(len(text), MAX_CHARACTERS), num_cut=len(text) > MAX_CHARACTERS)
        counts = find_patterns(text, region) or {"nothing": 0}
        rows += [(doc_id, is_high_risk[doc_id], kind, count) for kind, count in counts.items()]
    frame = pl.DataFrame(rows, schema=dict(SENSITIVE_PATTERNS.columns), orient="row").sort("doc_id", "kind")
    facts = {
        **examined,
        "max_characters": MAX_CHARACTERS,
        "phone_region": region or "",
        "detectors": {name: version(name) for name in LIBRARIES},
    }
    return SENSITIVE_PATTERNS.check(frame), facts
