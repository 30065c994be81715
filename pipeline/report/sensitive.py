"""Tell what sensitive patterns the examined rows hold: kinds and counts, never what was found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from pipeline.report.ledger import name
from pipeline.report.rows import MAX_SOURCES
from pipeline.tables import PERSONAL_KINDS, SECRET_KINDS, SensitivePatterns

STATEMENT = (
    "This is a count of patterns, not an audit for personal data: names, addresses, dates of birth and whatever else takes understanding "
    "are not looked for, a pattern that is found may be made up or public, and none found does not mean that there is none."
)
MEANINGS = {
    "private_key": ("Private keys", "heads of PEM, OpenSSH, PGP and PuTTY files"),
    "cloud_key": ("Cloud keys", "AWS, Azure, Google, IBM, SoftLayer, Cloudant"),
    "code_host_token": ("Code host tokens", "GitHub, GitLab, npm, PyPI, Artifactory"),
    "service_token": ("Service tokens", "Slack, Discord, Telegram, Twilio, SendGrid, Mailchimp, Stripe, Square, OpenAI, Hugging Face"),
    "json_web_token": ("JSON web tokens", "header and claims decode"),
    "url_password": ("Passwords in URLs", "user:password@host, placeholders left out"),
    "assigned_password": ("Passwords in code", "a quoted value behind a name such as password or api_key, placeholders left out"),
    "email_address": ("E-mail addresses", "domains that RFC 2606 reserves left out"),
    "phone_number": ("Telephone numbers", "valid and grouped as in their country"),
    "payment_card": ("Payment cards", "an issuer's prefix and length, Luhn's checksum"),
    "bank_account": ("Bank accounts", "IBAN, country's length and checksum"),
    "national_id": ("National identity numbers", "Brazil, China, France, Italy, Spain, United States; checksum where there is one"),
    "ip_address": ("Internet addresses", "IPv4 and IPv6 that are routed publicly"),
}


def sensitive(patterns: SensitivePatterns | None, ledger: pl.DataFrame, facts: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what was examined and what was found, by kind and by source; None where nobody looked.

    facts: what choosing and counting recorded. `values` are different values within each document, summed over documents.
    """
    if patterns is None:
        return None
    documents = patterns.group_by("doc_id").agg(pl.col("is_high_risk").first())
    return {
        "statement": STATEMENT,
        "examined": {
            "documents": documents.height,
            "high_risk": int(documents["is_high_risk"].sum()),
            **{key: facts[key] for key in ("num_high_risk", "num_released", "num_characters", "num_cut", "max_characters")},
            "phone_region": facts["phone_region"] or None,
            "detectors": dict(facts["detectors"]),
        },
        "kinds": [_kind(patterns.filter(pl.col("kind") == kind), kind) for kind in MEANINGS],
        "by_source": _by_source(patterns, ledger),
    }


def _kind(found: pl.DataFrame, kind: str) -> dict[str, Any]:
    label, means = MEANINGS[kind]
    risky = found.filter("is_high_risk")
    return {
        "kind": kind,
        "group": "secret" if kind in SECRET_KINDS else "personal",
        "label": label,
        "means": means,
        "values": int(found["count"].sum()),
        "documents": found.height,
        "high_risk_values": int(risky["count"].sum()),
        "high_risk_documents": risky.height,
    }


def _by_source(patterns: SensitivePatterns, ledger: pl.DataFrame) -> list[dict[str, Any]]:
    """Return documents examined, and documents and values with either group, by source: most examined first, beyond 40 on one line."""
    counted = (
        patterns.join(ledger.select("doc_id", "source"), on="doc_id")
        .group_by("source")
        .agg(documents=pl.col("doc_id").n_unique(), **_sums("secret", SECRET_KINDS), **_sums("personal", PERSONAL_KINDS))
    )
    ordered = counted.sort(["documents", "source"], descending=[True, False])
    shown, rest = ordered.head(MAX_SOURCES), ordered.slice(MAX_SOURCES)
    if rest.height:
        others = rest.select(pl.lit(f"({rest.height} smaller ones)").alias("source"), pl.exclude("source").sum())
        shown = pl.concat([shown, others.head(1)])
    return [{"name": name(row.pop("source")), **row} for row in shown.iter_rows(named=True)]


def _sums(group: str, kinds: tuple[str, ...]) -> dict[str, pl.Expr]:
    is_one = pl.col("kind").is_in(kinds)
    return {
        f"{group}_values": pl.col("count").filter(is_one).sum(),
        f"{group}_documents": pl.col("doc_id").filter(is_one).n_unique(),
    }
