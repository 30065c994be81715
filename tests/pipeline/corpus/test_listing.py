"""Which files are read, and in which order."""

from __future__ import annotations

import os
from pathlib import Path

import fsspec
import pytest

from pipeline.config import InputConfig
from pipeline.corpus.listing import find_files, list_files
from pipeline.errors import InputError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.txt", "a/copyright", "a/deep/c.md", ".hidden/x.txt", "_private/y.txt", "a/.z.txt", "picture.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def names(*paths: object, **settings: object) -> list[str]:
    return [file.name for file in find_files(InputConfig.model_validate({"paths": tuple(map(str, paths)), **settings}))]


def skipped(*paths: object, **settings: object) -> dict[str, int]:
    return dict(list_files(InputConfig.model_validate({"paths": tuple(map(str, paths)), **settings})).skipped)


def test_a_folder_is_read_in_path_order_without_hidden_names(folder: Path) -> None:
    """A folder gives its text files sorted by path, at every depth, hidden and unknown ones left out."""
    assert names(folder) == ["a/copyright", "a/deep/c.md", "b.txt"]
    assert skipped(folder) == {"other_format": 1}


def test_listing_order_and_repetition_change_nothing(folder: Path) -> None:
    """The same files in another order, twice, or through overlapping entries are the same listing."""
    one = list_files(InputConfig(paths=(str(folder / "b.txt"), str(folder / "a"))))
    assert one == list_files(InputConfig(paths=(str(folder / "a"), str(folder / "b.txt"), f"{folder}/a/*", f"{folder}/a/../b.txt")))


def test_relative_and_absolute_paths_are_one_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is known by its absolute path, however it was written."""
    monkeypatch.chdir(folder)
    assert names("b.txt", "./b.txt", folder / "b.txt", f"file://{folder}/b.txt") == ["b.txt"]


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [("*.txt", ["b.txt"]), ("**/*.md", ["c.md"]), ("*/copyright", ["copyright"]), ("[ab]*", ["a/copyright", "a/deep/c.md", "b.txt"])],
)
def test_globs(folder: Path, pattern: str, wanted: list[str]) -> None:
    """A glob names files, or folders that are then read whole; `**` reaches every depth."""
    assert names(folder / pattern) == wanted


def test_names_with_glob_characters_are_read_as_they_are(tmp_path: Path) -> None:
    """A file that exists under the very name is meant, even if the name is also a pattern."""
    (tmp_path / "a[1].txt").write_text("x")
    assert names(tmp_path / "a[1].txt") == ["a[1].txt"]


def test_links_to_files_are_files_and_loops_are_not_entered(tmp_path: Path) -> None:
    """A linked file is read under both names, a broken link is counted once, and a linked folder is not walked."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a/one.txt").write_text("x")
    (tmp_path / "a/two.txt").symlink_to("one.txt")
    (tmp_path / "a/broken.txt").symlink_to("nowhere")
    (tmp_path / "a/loop").symlink_to("..")
    (tmp_path / "b").symlink_to("a")
    os.mkfifo(tmp_path / "a/pipe.txt")
    for entry in (tmp_path, tmp_path / "**/*.txt"):
        assert names(entry, tmp_path) == ["one.txt", "two.txt"]
        assert skipped(entry, tmp_path) == {"broken_link": 1, "special_file": 1}
    assert names(tmp_path / "*/one.txt") == ["a/one.txt", "b/one.txt"], "a glob without ** enters linked folders"


def test_text_beside_data_is_its_description(tmp_path: Path) -> None:
    """A README beside data files is left out and counted, unless it is named."""
    (tmp_path / "README.md").write_text("about")
    (tmp_path / "rows.jsonl").write_text('{"text": "x"}\n')
    (tmp_path / "package.json").write_text('{\n  "name": "x"\n}\n')
    (tmp_path / "dataset_info.json").write_text('{"a": 1}')
    assert names(tmp_path) == ["rows.jsonl"]
    assert skipped(tmp_path) == {"other_format": 2, "text_beside_data": 1}
    assert names(tmp_path, tmp_path / "README.md") == ["README.md", "rows.jsonl"]
    assert names(tmp_path, format="text") == ["README.md", "dataset_info.json", "package.json", "rows.jsonl"]


def test_json_files_of_lines_are_data(tmp_path: Path) -> None:
    """A .json file with an object a line is JSONL; a .json document is not."""
    (tmp_path / "a.json").write_text('{"text": "x"}\n{"text": "y"}\n')
    (tmp_path / "b.json").write_text('{"text": "x"}')
    (tmp_path / "c.json").write_text('[\n{"text": "x"}]')
    (tmp_path / "d.json").write_text('{"text": "x",\n"b": 1}')
    assert names(tmp_path) == ["a.json", "b.json"]


def test_binaries_without_suffix_are_left_out(tmp_path: Path) -> None:
    """A file without suffix is text unless it holds a NUL near its start; UTF-16 text may."""
    (tmp_path / "program").write_bytes(b"\x7fELF\0\0")
    (tmp_path / "wide").write_bytes("wide".encode("utf-16"))
    (tmp_path / "plain").write_text("plain")
    assert names(tmp_path) == ["plain", "wide"]
    assert skipped(tmp_path) == {"binary": 1}


def test_a_configured_format_chooses_by_suffix_where_suffixes_tell(tmp_path: Path) -> None:
    """With input.format, a folder gives the files of that format, or every file if none is named so."""
    (tmp_path / "a.csv").write_text("text\nx\n")
    (tmp_path / "part-0").write_text('{"text": "x"}\n')
    assert names(tmp_path, format="csv") == ["a.csv"]
    assert [file.format for file in find_files(InputConfig(paths=(str(tmp_path / "part-0"),), format="jsonl"))] == ["jsonl"]
    (tmp_path / "a.csv").unlink()
    assert [file.format for file in find_files(InputConfig(paths=(str(tmp_path),), format="jsonl"))] == ["jsonl"]


def test_compression_is_part_of_the_name(tmp_path: Path) -> None:
    """.gz and .zst stand behind the format's own suffix."""
    for name in ("a.csv.gz", "b.jsonl.zst", "c.gz"):
        (tmp_path / name).write_bytes(b"x")
    kinds = [(file.name, file.format, file.compression) for file in find_files(InputConfig(paths=tuple(map(str, tmp_path.iterdir()))))]
    assert kinds == [("a.csv.gz", "csv", "gzip"), ("b.jsonl.zst", "jsonl", "zstd"), ("c.gz", "text", "gzip")]


def test_names_that_are_not_utf8_are_shown_with_escapes(tmp_path: Path) -> None:
    """A file name of undecodable bytes still has a printable name."""
    path = os.fsencode(tmp_path) + b"/caf\xe9.txt"
    Path(os.fsdecode(path)).write_text("x")
    assert names(tmp_path) == ["caf\\xe9.txt"]


def test_remote_files_folders_and_globs() -> None:
    """Any fsspec URL is walked, matched and named like a local path."""
    memory = fsspec.filesystem("memory")
    for name in ("b.txt", "a/c.txt", "a/_tmp/d.txt", "e.png"):
        memory.pipe(f"/listing/{name}", b"x")
    assert names("memory://listing") == ["a/c.txt", "b.txt"]
    assert names("memory://listing/*.txt", "memory://listing/a") == ["a/c.txt", "b.txt"]
    assert find_files(InputConfig(paths=("memory://listing/b.txt",)))[0].path == "memory:///listing/b.txt"


@pytest.mark.parametrize(
    ("make", "entry", "message"),
    [
        ({}, "nothing", r"no such file or folder; in .*nothing; what to do: check input.paths"),
        ({}, "*.txt", r"nothing to read; in .*\*.txt; wanted at least one file"),
        ({"f/.keep": b""}, "f", r"nothing to read; in .*/f"),
        (
            {"f/a.png": b"x", "f/b.tar": b"x"},
            "f",
            r"none of the files found is in a format .* wanted .parquet.* got .png, .tar; .* set input.format",
        ),
        ({"a.png": b"x"}, "a.png", r"the file's format is unknown from its name; in .*a.png; what to do: set input.format"),
        ({"a.jsonl": b""}, "a.jsonl", r"the file is empty; in .*a.jsonl; wanted jsonl data; got 0 bytes"),
        ({"f/a.csv": b"text\nx\n", "f/b.csv": b""}, "f", r"the file is empty; in .*b.csv"),
    ],
)
def test_what_cannot_be_listed_is_explained(tmp_path: Path, make: dict[str, bytes], entry: str, message: str) -> None:
    """An entry that leads to nothing readable says which and what to do."""
    for name, data in make.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=message):
        names(tmp_path / entry)


def test_an_unknown_protocol_is_explained() -> None:
    """A URL that nothing can open names itself."""
    with pytest.raises(InputError, match=r"the input cannot be listed; in nosuch://bucket; got Protocol not known: nosuch"):
        names("nosuch://bucket")


def test_the_dataset_format_wants_a_saved_dataset(tmp_path: Path) -> None:
    """format: dataset on another folder says what was wanted."""
    with pytest.raises(InputError, match=r"not a folder written by save_to_disk; .* wanted state.json"):
        names(tmp_path, format="dataset")
