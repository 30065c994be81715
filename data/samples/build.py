"""Build the demo corpus: licence texts, chapters of novels, and planted documents whose truth is known.

Run `python -m data.samples.build` from the repository's root. It needs the ordinary clients of two package registries (`npm` and
`apt-get`) and `dpkg-deb`, keeps what they fetched in `.cache/`, and writes the same rows every time.
"""

import io
import json
import random
import re
import subprocess
import tarfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from data.samples import plants, rdata

HERE = Path(__file__).parent
CACHE = HERE / ".cache"
LICENCE_PACKAGE = "spdx-license-list@6.12.0"
NOVEL_PACKAGE = "r-cran-janeaustenr"
# long licences would be two thirds of the text; those repeated word for word stay, since they are the natural exact duplicates
MAX_LICENCE, MAX_REPEATED_LICENCE = 7_000, 21_000
NUM_CHAPTERS = 54
NOVELS = {
    "emma": "Emma",
    "mansfieldpark": "Mansfield Park",
    "northangerabbey": "Northanger Abbey",
    "persuasion": "Persuasion",
    "prideprejudice": "Pride and Prejudice",
    "sensesensibility": "Sense and Sensibility",
}
HEADING = re.compile(r"(chapter|volume)\s+([ivxlc]+|\d+)", re.IGNORECASE)
COUNTS = re.compile(r"(?<=<!-- counts -->\n).*(?=<!-- /counts -->)", re.DOTALL)


class Document(NamedTuple):
    """Hold one row of the corpus."""

    id: str
    text: str
    source: str
    title: str | None
    license: str


def main() -> None:
    """Fetch, cut, plant and write."""
    CACHE.mkdir(exist_ok=True)
    licences = select_licences(read_licences(fetch("spdx-license-list-*.tgz", ["npm", "pack", "--silent", LICENCE_PACKAGE])))
    chapters = cut_chapters(read_novels(fetch(f"{NOVEL_PACKAGE}_*.deb", ["apt-get", "download", NOVEL_PACKAGE])))
    shown = set(random.Random(f"{plants.SEED}/chapters").sample(sorted(chapter.id for chapter in chapters), NUM_CHAPTERS))
    held_out = {chapter.id: chapter.text for chapter in chapters if chapter.id not in shown}
    planted = plants.make_plants(held_out, plants.SEED)
    # numbered after shuffling: neither id, source nor order tells a plant's kind
    ids = [f"planted-{number:05d}" for number in range(len(planted))]
    documents = {
        "licences": licences,
        "novels": [chapter for chapter in chapters if chapter.id in shown],
        "planted": [Document(id, plant.text, "planted", None, "public domain") for id, plant in zip(ids, planted, strict=True)],
    }
    for name, rows in documents.items():
        write_parquet(HERE / "corpus" / f"{name}.parquet", [row._asdict() for row in rows])
    write_parquet(HERE / "truth.parquet", plants.list_truth(ids, planted))
    write_parquet(HERE / "truth_pairs.parquet", plants.list_pairs(ids, planted))
    write_counts(documents, planted)


def fetch(pattern: str, command: Sequence[str]) -> Path:
    """Return the newest package in the cache that matches, fetched by its registry's client if there is none."""
    if not list(CACHE.glob(pattern)):
        subprocess.run(command, cwd=CACHE, check=True)  # noqa: S603  (commands are constants of this file)
    return max(CACHE.glob(pattern))


def read_licences(package: Path) -> list[Document]:
    """Return every licence of the package, in the order of its identifiers."""
    licences = []
    with tarfile.open(package) as archive:
        for name in sorted(name for name in archive.getnames() if re.fullmatch(r"package/licenses/.+\.json", name)):
            file = archive.extractfile(name)
            assert file is not None
            record, id = json.load(file), f"spdx/{Path(name).stem}"
            licences.append(Document(id, record["licenseText"], "spdx-license-list", record["name"], "CC0-1.0"))
    return licences


def select_licences(licences: Iterable[Document]) -> list[Document]:
    """Keep the short licences, and longer ones whose text another licence repeats."""
    copies = Counter(plants.normalise(licence.text) for licence in licences)
    limits = {text: MAX_LICENCE if number == 1 else MAX_REPEATED_LICENCE for text, number in copies.items()}
    return [licence for licence in licences if len(licence.text) <= limits[plants.normalise(licence.text)]]


def read_novels(package: Path) -> dict[str, list[str]]:
    """Return the lines of each novel in the package, without unpacking it to disk."""
    files: dict[str, bytes] = {}
    command = ["dpkg-deb", "--fsys-tarfile", str(package)]
    unpacked = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout  # noqa: S603  (our own cache's file)
    with tarfile.open(fileobj=io.BytesIO(unpacked)) as archive:
        for member in archive:
            if re.search(r"/data/Rdata\.rd[bx]$", member.name):
                file = archive.extractfile(member)
                assert file is not None
                files[Path(member.name).suffix] = file.read()
    return rdata.read_character_vectors(files[".rdx"], files[".rdb"])


def cut_chapters(novels: Mapping[str, Sequence[str]]) -> list[Document]:
    """Cut each novel at its chapter headings; title pages and volume headings go."""
    chapters = []
    for novel, title in NOVELS.items():
        headings = [number for number, line in enumerate(novels[novel]) if HEADING.fullmatch(line.strip())]
        parts = [novels[novel][start:end] for start, end in zip(headings, [*headings[1:], None], strict=True)]
        texts = ["\n".join(part).strip() for part in parts if part[0].strip().lower().startswith("chapter")]
        for number, text in enumerate(texts, start=1):
            chapters.append(Document(f"{novel}/{number:02d}", text, "janeaustenr", f"{title}, chapter {number}", "public domain"))
    return chapters


def write_parquet(path: Path, rows: list[dict[str, object]]) -> None:
    """Write rows as one zstd-compressed file."""
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path, compression="zstd", compression_level=19)


def write_counts(documents: Mapping[str, Sequence[Document]], planted: Sequence[plants.Plant]) -> None:
    """Put the table of counts into the README, between its two marks."""
    lines = ["| file | kind | groups | documents | text, bytes |", "|---|---|---|---|---|"]
    for name in ("licences", "novels"):
        lines.append(f"| {name} | natural | | {len(documents[name])} | {count_bytes(row.text for row in documents[name])} |")
    for kind in sorted({plant.kind for plant in planted}):
        rows = [plant for plant in planted if plant.kind == kind]
        num_groups = len({plant.group for plant in rows})
        lines.append(f"| planted | {kind} | {num_groups} | {len(rows)} | {count_bytes(row.text for row in rows)} |")
    everything = [row for rows in documents.values() for row in rows]
    lines.append(f"| all | | | {len(everything)} | {count_bytes(row.text for row in everything)} |")
    readme = HERE / "README.md"
    table = "\n".join(lines) + "\n"
    readme.write_text(COUNTS.sub(lambda _: table, readme.read_text(encoding="utf-8")), encoding="utf-8")


def count_bytes(texts: Iterable[str]) -> int:
    """Return how many bytes the texts take in UTF-8."""
    return sum(len(text.encode()) for text in texts)


if __name__ == "__main__":
    main()
