"""Find what leads to a person, where its form can be checked: by a checksum, a numbering plan, or the rules of addresses.

Names, postal addresses, dates of birth and everything else that takes understanding are not looked for.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from itertools import islice
from types import MappingProxyType

from pipeline.risk.secrets import MAX_VALUES, pieces

_EMAIL = re.compile(r"(?<![\w.+%'-])[\w.+%'-]{1,64}@((?:[\w-]{1,63}\.){1,8}[A-Za-z]{2,24})(?![\w-])")
_RESERVED = re.compile(r"(?:^|\.)(?:example(?:\.(?:com|net|org))?|invalid|localhost|test)$", re.IGNORECASE)
"""Domains that belong to nobody. Source: RFC 2606, sections 2 and 3."""
_CARD = re.compile(
    r"(?<![\w.-])(?:"
    r"(?:4\d{3}|5[1-5]\d{2}|2[2-7]\d{2}|6011|64[4-9]\d|65\d{2}|35[2-8]\d|62\d{2})([ -]?)\d{4}\1\d{4}\1\d{4}"
    r"|3[47]\d{2}([ -]?)\d{6}\2\d{5}|3(?:0[0-5]|[68]\d)\d([ -]?)\d{6}\3\d{4})(?![\w-]|\.\d)"
)
"""Numbers of the large issuers as they are printed, groups apart in one way or not at all."""
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,30}")
_SHORTEST_IBAN = 15  # Norway's
_IPV4 = re.compile(r"(?<![\w.-])(?:\d{1,3}\.){3}\d{1,3}(?![\w-]|\.\d)")
_IPV6 = re.compile(r"(?<![\w:.])[23][0-9A-Fa-f]{3}(?::[0-9A-Fa-f]{0,4}){2,7}(?![\w:])")
_VERSION = re.compile(r"(?:\bv|version|release|revision|section|§)\W{0,3}$", re.IGNORECASE)
_NATIONAL_IDS = MappingProxyType(
    {
        "br.cpf": re.compile(r"(?<![\w.-])\d{3}\.\d{3}\.\d{3}-\d{2}(?![\w-])"),
        "cn.ric": re.compile(r"(?<![\w.-])\d{17}[\dX](?![\w-])"),
        "es.dni": re.compile(r"(?<![\w.-])\d{8}-?[A-Z](?![\w-])"),
        "es.nie": re.compile(r"(?<![\w.-])[XYZ]-?\d{7}-?[A-Z](?![\w-])"),
        "fr.nir": re.compile(r"(?<![\w.-])[12] ?\d{2} ?\d{2} ?(?:\d{2}|2[AB]) ?\d{3} ?\d{3} ?\d{2}(?![\w-])"),
        "it.codicefiscale": re.compile(r"(?<![\w.-])[A-Z]{6}\d{2}[A-EHLMPRST]\d{2}[A-Z]\d{3}[A-Z](?![\w-])"),
        "us.ssn": re.compile(r"(?<![\w.-])\d{3}-\d{2}-\d{4}(?![\w-])"),
    }
)
"""Numbers that one person has for life, by python-stdnum's module, as they are usually written."""


def find_personal_data(text: str, region: str | None = None) -> dict[str, set[str]]:
    """Return by kind the different personal data in a text, at most 1,000 of each; never keep, log or show them.

    region: ISO 3166 code of the country whose national telephone numbers count, too; without it only those in international form do.
    """
    found = {
        "email_address": _emails(text),
        "phone_number": _phones(text, region),
        "payment_card": (each.group() for each in _CARD.finditer(text) if _check("luhn")(re.sub("[ -]", "", each.group()))),
        "bank_account": _ibans(text),
        "national_id": (
            each.group() for module, form in _NATIONAL_IDS.items() for each in form.finditer(text) if _check(module)(each.group())
        ),
        "ip_address": _addresses(text),
    }
    # the first so many values bound the work on texts made of nothing else
    counted = {kind: set(islice(values, MAX_VALUES)) for kind, values in found.items()}
    return {kind: values for kind, values in counted.items() if values}


def _emails(text: str) -> Iterator[str]:
    if "@" in text:
        yield from (each.group().lower() for each in _EMAIL.finditer(text) if not _RESERVED.search(each.group(1)))


def _phones(text: str, region: str | None) -> Iterator[str]:
    """Yield telephone numbers grouped as their country groups them.

    Source: libphonenumber's leniency STRICT_GROUPING, as ported by phonenumbers.
    """
    if region is None and "+" not in text and "\uff0b" not in text:
        return
    from phonenumbers import Leniency, PhoneNumberFormat, PhoneNumberMatcher, format_number

    for piece in pieces(text):
        if sum(character.isdigit() for character in piece) >= 7 and (region or "+" in piece or "\uff0b" in piece):
            for match in PhoneNumberMatcher(piece, region, leniency=Leniency.STRICT_GROUPING, max_tries=MAX_TRIES):
                yield format_number(match.number, PhoneNumberFormat.E164)


MAX_TRIES = 100
"""Would-be telephone numbers that are looked at in one piece of 1,000 characters."""


def _ibans(text: str) -> Iterator[str]:
    for each in islice(_IBAN.finditer(text), MAX_VALUES):
        letters = each.group().replace(" ", "")
        # words in capitals may follow, so the number may be any beginning
        lengths = range(len(letters), _SHORTEST_IBAN - 1, -1)
        yield from islice((letters[:length] for length in lengths if _check("iban")(letters[:length])), 1)


def _addresses(text: str) -> Iterator[str]:
    """Yield the addresses that are routed on the internet; four numbers behind a word such as `version` are none."""
    for each in _IPV4.finditer(text):
        if not _VERSION.search(text, max(0, each.start() - 12), each.start()) and _is_global(each.group()):
            yield each.group()
    yield from (each.group().lower() for each in _IPV6.finditer(text) if _is_global(each.group()))


def _is_global(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_global
    except ValueError:
        return False


@cache
def _check(module: str) -> Callable[[str], bool]:
    check: Callable[[str], bool] = import_module(f"stdnum.{module}").is_valid
    return check
