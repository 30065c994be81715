"""What counts as personal data, and what only looks like it."""

from __future__ import annotations

import pytest

from pipeline.risk.personal import find_personal_data
from pipeline.risk.secrets import MAX_VALUES
from pipeline.tables import PERSONAL_KINDS


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("email_address", "Write to Jane.Doe+list@mail.co-op.net.", "jane.doe+list@mail.co-op.net"),
        ("email_address", "<mailto:root@Debian.ORG>", "root@debian.org"),
        ("email_address", "grüße@müller.de", "grüße@müller.de"),
        ("phone_number", "call +44 20 7946 0958 now", "+442079460958"),
        ("phone_number", "tel. ＋1 650-253-0000", "+16502530000"),
        ("payment_card", "card 4111 1111 1111 1111 05/27", "4111 1111 1111 1111"),
        ("payment_card", "5555-5555-5555-4444", "5555-5555-5555-4444"),
        ("payment_card", "amex 378282246310005,", "378282246310005"),
        ("bank_account", "IBAN GB82 WEST 1234 5698 7654 32 IS MY ACCOUNT", "GB82WEST12345698765432"),
        ("bank_account", "DE89370400440532013000", "DE89370400440532013000"),
        ("bank_account", "NO93 8601 1117 947.", "NO9386011117947"),
        ("national_id", "SSN 536-90-4399", "536-90-4399"),
        ("national_id", "CPF 390.533.447-05", "390.533.447-05"),
        ("national_id", "DNI 54362315K", "54362315K"),
        ("national_id", "codice RCCMNL83S18D969H", "RCCMNL83S18D969H"),
        ("ip_address", "from 8.8.8.8:53", "8.8.8.8"),
        ("ip_address", "host 2001:4860:4860::8888.", "2001:4860:4860::8888"),
    ],
)
def test_each_form_is_found_in_prose(kind: str, text: str, value: str) -> None:
    """A value is found whatever stands around it, as exactly one kind."""
    assert find_personal_data(text) == {kind: {value}}
    assert kind in PERSONAL_KINDS


@pytest.mark.parametrize(
    "text",
    [
        "",
        "me@example.com, you@sub.example.org, it@host.test, a@localhost, @handle, a@b",
        "4111 1111 1111 1112 and 1234 5678 9012 3456 and 41111111111111110",
        "sha 4111111111111111a, id-4111111111111111-x, 4111.1111.1111.1111",
        "GB82 WEST 1234 5698 7654 33 and XX82WEST12345698765432",
        "000-12-3456, 666-12-3456, 078-05-1120, 390.533.447-06, 54362315A",
        "version 2.4.10.1, v1.2.3.4, release: 8.8.8.8, section 8.8.8.8, 2.1.8.7-current, 1.2.3.4.5, 300.1.1.1",
        "127.0.0.1 10.0.0.1 192.168.1.1 192.0.2.7 2001:db8::1 ::1 fe80::1 12:30:45 std::map a::b",
        "+12 34 and 252.227-7013 and 1-2-3",
        "978-3-16-148410-0, 2024-05-01, 1234567890",
    ],
)
def test_lookalikes_count_as_nothing(text: str) -> None:
    """Reserved domains, wrong checksums, version numbers, private addresses, times and identifiers are no personal data."""
    assert find_personal_data(text) == {}


def test_national_telephone_numbers_need_a_region() -> None:
    """A number without country code counts only where somebody says which country it is of."""
    text = "Call (412) 268-4387 today."
    assert find_personal_data(text) == {}
    assert find_personal_data(text, "US") == {"phone_number": {"+14122684387"}}


def test_one_value_written_in_several_ways_counts_once() -> None:
    """Addresses in other letters and numbers in other groups are one value."""
    found = find_personal_data("A@b.net a@B.net +44 20 7946 0958, +442079460958")
    assert found == {"email_address": {"a@b.net"}, "phone_number": {"+442079460958"}}


def test_a_text_of_nothing_but_addresses_is_counted_up_to_the_limit() -> None:
    """Values beyond the limit are not even collected."""
    assert len(find_personal_data(" ".join(f"u{number}@b.net" for number in range(3_000)))["email_address"]) <= MAX_VALUES
