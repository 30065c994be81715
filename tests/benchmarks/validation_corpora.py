"""The corpora of the validations of record, cut to a size that a target of millions of parameters can train on.

`python -m tests.benchmarks.validation_corpora NAME FOLDER` writes `FOLDER/NAME.parquet` (id, source, text), NAME one of:

- rules: ScanCode's licence rules; of a seeded quarter of the licences all rules, so that natural copy rates stay.
- rules-unseen, rules-last: those of two other quarters, on which what was learnt from earlier records is measured again.
- manuals: Debian's copyright files (those on this machine) and man pages.
- copyrights: copyright files of a seeded share of Debian's small packages, those on this machine left out (manuals has them).
- copyrights-unseen: those of another share, on which what the first said is measured again.
- mail: subjects and visible text of public unwanted mail of 2002, whole, for it is sent in many copies.

Documents are whole, of 160 (room for a prompt and a suffix) to 8,000 characters, so that no few long ones fill the corpus.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from hashlib import blake2b
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.benchmarks.corpora import SCHEMA, Corpus, fetch, fetch_corpus

RULE_SHARES, UNSEEN_SHARES, LAST_SHARES = (0.25, 0.5), (0.5, 0.75), (0.75, 1.0)
MIN_CHARACTERS, MAX_CHARACTERS = 160, 8_000
MANUAL_SHARE = 0.6
PACKAGE_SHARES, UNSEEN_PACKAGE_SHARES, PACKAGE_BYTES = (0.0, 0.05), (0.05, 0.1), 64_000

Row = tuple[str, str, str]


def rules(folder: Path, shares: tuple[float, float] = RULE_SHARES) -> Iterable[Row]:
    """Yield the rules of the drawn licences."""
    for row in pq.read_table(fetch("scancode-rules", folder)).to_pylist():
        if shares[0] <= _draw(_licence(row["id"])) < shares[1]:
            yield row["id"], "scancode-rules", row["text"]


def manuals(folder: Path) -> Iterable[Row]:
    """Yield copyright files and a seeded share of man pages."""
    for path in sorted(Path("/usr/share/doc").glob("*/copyright")):
        text = path.read_text(encoding="utf-8", errors="replace").strip()
        yield f"copyright/{path.parent.name}", "copyright", text
    for row in pq.read_table(fetch("manpages", folder)).to_pylist():
        if _draw(row["id"]) < MANUAL_SHARE:
            yield row["id"], "manpages", row["text"]


def copyrights(folder: Path, shares: tuple[float, float] = PACKAGE_SHARES) -> Iterable[Row]:
    """Yield the copyright files of all small packages of the drawn source packages; sections of the archive are the sources."""
    sections = _small_packages(shares)
    corpus = Corpus(tuple(f"apt {name}" for name in sorted(sections)), r"^usr/share/doc/[^/]+/copyright$")
    for row in pq.read_table(fetch_corpus(corpus, folder / f"copyright-files-{shares[0]:.2f}.parquet")).to_pylist():
        yield row["id"], sections[row["source"].split("_")[0]], row["text"]


def _small_packages(shares: tuple[float, float]) -> dict[str, str]:
    """Return the section of each drawn package that is not installed here."""
    listed = subprocess.run(["apt-cache", "dumpavail"], check=True, capture_output=True, text=True).stdout
    sections = {}
    for stanza in listed.split("\n\n"):
        fields: dict[str, str] = dict(re.findall(r"^(Package|Source|Size|Section): (\S+)", stanza, re.MULTILINE))
        name = fields.get("Package", "")
        is_drawn = shares[0] <= _draw(fields.get("Source", name)) < shares[1] and int(fields.get("Size", PACKAGE_BYTES)) < PACKAGE_BYTES
        if is_drawn and not (Path("/usr/share/doc") / name / "copyright").exists():
            sections[name] = fields["Section"].split("/")[-1]
    return sections


def mail(folder: Path) -> Iterable[Row]:
    """Yield the mails of the groups spam-1 and spam-2, which are the sources."""
    for row in pq.read_table(fetch("mail", folder)).to_pylist():
        group = row["id"].split("/")[-2]
        if group.startswith("spam"):
            yield row["id"], group, row["text"]


def _licence(name: str) -> str:
    """Return the licence that a rule's file name begins with: everything before its running number."""
    return name.rsplit("/", 1)[-1].removesuffix(".RULE").rsplit("_", 1)[0]


def _draw(key: str) -> float:
    return int.from_bytes(blake2b(key.encode(), digest_size=8).digest(), "big") / 2**64


CORPORA: Mapping[str, Callable[[Path], Iterable[Row]]] = {
    "rules": rules,
    "rules-unseen": partial(rules, shares=UNSEEN_SHARES),
    "rules-last": partial(rules, shares=LAST_SHARES),
    "manuals": manuals,
    "copyrights": copyrights,
    "copyrights-unseen": partial(copyrights, shares=UNSEEN_PACKAGE_SHARES),
    "mail": mail,
}


if __name__ == "__main__":
    name, folder = sys.argv[1], Path(sys.argv[2])
    rows = [row for row in CORPORA[name](folder) if MIN_CHARACTERS <= len(row[2]) <= MAX_CHARACTERS]
    path = folder / f"{name}.parquet"
    pq.write_table(pa.table([[row[column] for row in rows] for column in range(3)], schema=SCHEMA), path, compression="zstd")
    print(path, len(rows), "documents", sum(len(row[2]) for row in rows), "characters")
