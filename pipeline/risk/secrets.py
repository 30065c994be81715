"""Find what opens something: keys, tokens and passwords, with the detectors of detect-secrets.

Only what its detectors match on a line is used. Its verification, which asks the service whether a secret works, is a method that is
never called. Left out are its two detectors of high entropy and its keyword detector's unquoted forms, because prose, hashes and
base64 images set them off, and its detector of public addresses, which counts version numbers (see `pipeline.risk.personal`).

A line of more than 1,000 characters is cut into overlapping pieces, since some patterns take quadratic time on it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, partial
from importlib import import_module
from itertools import islice
from typing import NamedTuple

PIECE, OVERLAP = 1_000, 200
"""Characters of a line that are looked at together, and of two neighbouring pieces that are the same."""
MAX_VALUES = 1_000
"""Different values of a kind in a text from which no more are counted."""

_DETECTORS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "private_key": {"private_key.PrivateKeyDetector": ("private key", "putty-user-key")},
    "cloud_key": {
        "aws.AWSKeyDetector": ("a3t", "abia", "acca", "akia", "asia", "aws"),
        "azure_storage_key.AzureStorageKeyDetector": ("accountkey=",),
        "cloudant.CloudantDetector": ("cl",),
        "ibm_cloud_iam.IbmCloudIamDetector": ("key", "pwd", "pass", "token"),
        "ibm_cos_hmac.IbmCosHmacDetector": ("secret",),
        "softlayer.SoftlayerDetector": ("sl", "softlayer"),
    },
    "code_host_token": {
        "artifactory.ArtifactoryDetector": ("akc", "ap"),
        "github_token.GitHubTokenDetector": ("ghp_", "gho_", "ghu_", "ghs_", "ghr_"),
        "gitlab_token.GitLabTokenDetector": ("gl", "gr1348941"),
        "npm.NpmDetector": (":_authtoken",),
        "pypi_token.PypiTokenDetector": ("pypi-",),
    },
    "service_token": {
        "discord.DiscordBotTokenDetector": (".",),
        "mailchimp.MailchimpDetector": ("-us",),
        "openai.OpenAIDetector": ("t3blbkfj",),
        "sendgrid.SendGridDetector": ("sg.",),
        "slack.SlackDetector": ("xox", "hooks.slack.com"),
        "square_oauth.SquareOAuthDetector": ("sq0csp-",),
        "stripe.StripeDetector": ("k_live_",),
        "telegram_token.TelegramBotTokenDetector": (":",),
        "twilio.TwilioKeyDetector": ("ac", "sk"),
    },
    "json_web_token": {"jwt.JwtTokenDetector": ("eyj",)},
    "url_password": {"basic_auth.BasicAuthDetector": ("://",)},
    "assigned_password": {"keyword.KeywordDetector": ("key", "pass", "pwd", "secret", "contrase")},
}
"""Which of its detectors finds a kind, and what a line in small letters must hold for it to find anything: that is quick to see."""
LEFT_OUT = frozenset(
    {"high_entropy_strings.Base64HighEntropyString", "high_entropy_strings.HexHighEntropyString", "ip_public.IPPublicDetector"}
)
_OTHERS = (
    ("cloud_key", re.compile(r"(?<![\w-])AIza[\w-]{35}(?![\w-])"), ("aiza",)),  # Google
    ("code_host_token", re.compile(r"(?<!\w)github_pat_\w{82}(?!\w)"), ("github_pat_",)),
    ("service_token", re.compile(r"(?<!\w)hf_[A-Za-z]{34}(?!\w)"), ("hf_",)),  # Hugging Face
)
"""Tokens of a form of their own that detect-secrets does not know."""
_CHOSEN_BY_PEOPLE = frozenset({"url_password", "assigned_password"})
_PLACEHOLDERS = frozenset({"changeme", "foo", "bar", "none", "null", "pass", "passwd", "password", "pwd", "secret", "test", "token"})


class _Detector(NamedTuple):
    kind: str
    find: Callable[[str], Iterable[str]]
    literals: tuple[str, ...]


def find_secrets(text: str) -> dict[str, set[str]]:
    """Return by kind the different secrets in a text, at most 1,000 of each; never keep, log or show them.

    What calls itself an example counts as none, as do passwords that are placeholders (`changeme`, `<password>`, `$PASSWORD`, asterisks, a
    run of the alphabet). Of private keys only the heads are seen, so several with the same head count once.
    """
    found: dict[str, set[str]] = {}
    lowered = text.lower()
    present = [detector for detector in _detectors() if any(literal in lowered for literal in detector.literals)]
    for piece in pieces(text) if present else ():
        lowered = piece.lower()
        for detector in present:
            if any(literal in lowered for literal in detector.literals):
                values = found.setdefault(detector.kind, set())
                values.update(islice(detector.find(piece), MAX_VALUES - len(values)))
    return {kind: values for kind, values in found.items() if values}


def pieces(text: str) -> Iterator[str]:
    """Cut a text into its lines, and long lines into overlapping pieces."""
    for line in text.splitlines():
        yield line[:PIECE]
        for start in range(PIECE - OVERLAP, len(line) - OVERLAP, PIECE - OVERLAP):
            yield line[start : start + PIECE]


@cache
def _detectors() -> tuple[_Detector, ...]:
    """Load the detectors, once a process: 0.2 s and 19 MB, which only runs that look for secrets should pay."""
    loaded = [_Detector(kind, _finder(kind, path), literals) for kind, group in _DETECTORS.items() for path, literals in group.items()]
    return (*loaded, *(_Detector(kind, pattern.findall, literals) for kind, pattern, literals in _OTHERS))


def _finder(kind: str, path: str) -> Callable[[str], Iterable[str]]:
    module, _, name = path.partition(".")
    detector = getattr(import_module(f"detect_secrets.plugins.{module}"), name)()
    if kind in _CHOSEN_BY_PEOPLE:
        return lambda piece: (value for value in detector.analyze_string(piece) if not _is_placeholder(value))
    # of a pattern with groups the library returns the groups alone, such as a token's first letters: tokens could not be told apart
    find = detector.analyze_string if "analyze_string" in vars(type(detector)) else partial(_matches, tuple(detector.denylist))
    return lambda piece: (value for value in find(piece) if not _is_example(value))


def _matches(patterns: tuple[re.Pattern[str], ...], piece: str) -> Iterator[str]:
    return (match.group().strip() for pattern in patterns for match in pattern.finditer(piece))


def _is_example(value: str) -> bool:
    return "example" in value.lower()


def _is_placeholder(value: str) -> bool:
    from detect_secrets.filters import heuristic

    return (
        _is_example(value)
        or value.strip().lower() in _PLACEHOLDERS
        or heuristic.is_templated_secret(value)
        or heuristic.is_prefixed_with_dollar_sign(value)
        or heuristic.is_not_alphanumeric_string(value)
        or heuristic.is_sequential_string(value)
        or heuristic.is_potential_uuid(value)
    )
