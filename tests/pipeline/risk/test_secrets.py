"""What counts as a secret, and what does not."""

from __future__ import annotations

import base64
import inspect
import json
import pkgutil
import socket
from importlib import import_module

import detect_secrets.plugins
import pytest
import requests
from detect_secrets.plugins.base import BasePlugin
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.risk.secrets import _DETECTORS, LEFT_OUT, MAX_VALUES, OVERLAP, PIECE, find_secrets, pieces
from pipeline.tables import SECRET_KINDS

HEX, MIXED = "0123456789abcdef", "a1B2c3D4e5"


def _claims(value: dict[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


# put together here, so that no scanner takes this file for a leak
EXAMPLES = {
    "private_key.PrivateKeyDetector": "-----BEGIN RSA " + "PRIVATE KEY-----",
    "aws.AWSKeyDetector": "AKIA" + "Q4" * 8,
    "azure_storage_key.AzureStorageKeyDetector": "AccountKey=" + "aB3/" * 22,
    "cloudant.CloudantDetector": "cloudant_password = '" + HEX * 4 + "'",
    "ibm_cloud_iam.IbmCloudIamDetector": "ibm_cloud_iam_api_key = '" + "a1B2" * 11 + "'",
    "ibm_cos_hmac.IbmCosHmacDetector": "cos_secret_access_key = '" + HEX * 3 + "'",
    "softlayer.SoftlayerDetector": "sl_api_key = '" + HEX * 4 + "'",
    "artifactory.ArtifactoryDetector": "token: AKC" + MIXED * 2 + " ",
    "github_token.GitHubTokenDetector": "ghp_" + "a1B2" * 9,
    "gitlab_token.GitLabTokenDetector": "glpat-" + MIXED * 2,
    "npm.NpmDetector": "//registry." + "npmjs.org/:_authToken=npm_" + MIXED,
    "pypi_token.PypiTokenDetector": "pypi-AgEIcHlwaS5vcmc" + MIXED * 8,
    "discord.DiscordBotTokenDetector": "M" + "a1B2c3" * 4 + ".a1B2c3." + "a1B" * 9,
    "mailchimp.MailchimpDetector": HEX * 2 + "-us12",
    "openai.OpenAIDetector": "sk-" + MIXED * 2 + "T3Blbk" + "FJ" + MIXED * 2,
    "sendgrid.SendGridDetector": "SG." + "a1" * 11 + "." + "a1B" * 14 + "c",
    "slack.SlackDetector": "xoxb-" + "12345-" * 2 + "a1b2c3",
    "square_oauth.SquareOAuthDetector": "sq0csp-" + "a1B" * 14 + "c",
    "stripe.StripeDetector": "sk_live_" + "a1B2" * 6,
    "telegram_token.TelegramBotTokenDetector": "110201543:" + "a1B2c" * 7,
    "twilio.TwilioKeyDetector": "SK" + HEX * 2,
    "jwt.JwtTokenDetector": f"{_claims({'alg': 'HS256'})}.{_claims({'sub': 1})}.c2ln",
    "basic_auth.BasicAuthDetector": "postgres://root:hunter2@db.internal/x",
    "keyword.KeywordDetector": 'db_password = "hunter2hunter"',
}
OTHERS = {"cloud_key": "AIza" + "a1B2c" * 7, "code_host_token": "github_pat_" + "a1" * 41, "service_token": "hf_" + "aB" * 17}


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every connection fail loudly."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a detector went to the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(requests.Session, "request", refuse)


def test_every_detector_of_the_library_is_used_or_left_out_on_purpose() -> None:
    """A new detector of a later version fails here until somebody decides about it."""
    shipped = set()
    for module in pkgutil.iter_modules(detect_secrets.plugins.__path__):
        for name, one in vars(import_module(f"detect_secrets.plugins.{module.name}")).items():
            if (
                inspect.isclass(one)
                and issubclass(one, BasePlugin)
                and one.__module__.endswith(f".{module.name}")
                and hasattr(one, "secret_type")
            ):
                shipped.add(f"{module.name}.{name}")
    bases = {"base.BasePlugin", "base.RegexBasedDetector", "high_entropy_strings.HighEntropyStringsPlugin"}
    assert shipped - bases == {path for group in _DETECTORS.values() for path in group} | LEFT_OUT
    assert tuple(_DETECTORS) == SECRET_KINDS


@pytest.mark.parametrize(("path", "secret"), EXAMPLES.items(), ids=EXAMPLES)
def test_each_detector_finds_its_example(path: str, secret: str) -> None:
    """Every detector's own example counts as its kind, in a line of prose, in capitals of the hint or not, without a connection."""
    (kind,) = (kind for kind, group in _DETECTORS.items() if path in group)
    assert len(find_secrets(f"Nothing here.\nWrite it down: {secret} and go.\nNothing there.")[kind]) >= 1
    assert set(EXAMPLES) == {path for group in _DETECTORS.values() for path in group}


@pytest.mark.parametrize(("kind", "secret"), OTHERS.items())
def test_newer_forms_are_known(kind: str, secret: str) -> None:
    """Tokens that the library does not know are found by their own form, and not inside longer words."""
    assert find_secrets(f"token {secret}.") == {kind: {secret}}
    assert find_secrets(f"x{secret}x") == {}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "The secret of the old house was never told. Password? She asked for the key.",
        'password = ""',
        'password = "<your password>"',
        'password = "$PASSWORD"',
        "password = '********'",
        'secret = "changeme"',
        'api_key: "12345678-1234-1234-1234-1234567890ab"',
        "https://user:password@host/",
        "see http://host:8080/a@b and mailto:me@host",
        "AKIAIOSFODNN7" + "EXAMPLE",
        "sha256 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk",
        "eyJ.eyJ.eyJ and eyJhbGciOiJIUzI1NiJ9.notclaims",
        "<script>alert('{{7*7}}')</script> \x1b[31m \u202e \x00",
    ],
)
def test_prose_hashes_and_placeholders_are_no_secrets(text: str) -> None:
    """What people write about secrets, digests, base64 and placeholders counts as none."""
    assert find_secrets(text) == {}


def test_the_same_secret_counts_once() -> None:
    """Values are counted, not mentions; other values count."""
    first, second = EXAMPLES["github_token.GitHubTokenDetector"], "ghp_" + "z9Y8" * 9
    assert find_secrets(f"{first}\n{first} {second}\n{first}") == {"code_host_token": {first, second}}


def test_a_text_of_nothing_but_secrets_is_counted_up_to_the_limit() -> None:
    """Values beyond the limit are not even collected."""
    many = "\n".join(f"AKIA{number:016d}" for number in range(MAX_VALUES + 200))
    assert len(find_secrets(many)["cloud_key"]) == MAX_VALUES


@given(
    line=st.text(alphabet=st.characters(exclude_characters="\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"), min_size=1), times=st.integers(1, 400)
)
@settings(max_examples=60, deadline=None)
def test_pieces_are_short_overlap_and_lose_nothing(line: str, times: int) -> None:
    """Pieces of a line overlap by a fixed number of characters and, laid end to end without it, are the line."""
    text = line * times
    found = list(pieces(text))
    assert all(len(piece) <= PIECE for piece in found)
    assert found[0] + "".join(piece[OVERLAP:] for piece in found[1:]) == text


@pytest.mark.parametrize("at", [0, PIECE - OVERLAP // 2, PIECE, 5 * PIECE + 7])
def test_a_secret_in_a_long_line_is_found_once(at: int) -> None:
    """Wherever it lies, across pieces too."""
    secret = EXAMPLES["stripe.StripeDetector"]
    assert find_secrets("-" * at + " " + secret + " " + "-" * 3_000) == {"service_token": {secret}}
