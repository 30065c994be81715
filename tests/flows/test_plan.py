"""The plan's size of a corpus: of the files that would be read, sampled where they are many."""

from __future__ import annotations

from pathlib import Path

from flows.plan import MAX_SAMPLED_FILES, measure
from pipeline.config import InputConfig


def test_files_that_are_named_are_planned_for_and_no_others(tmp_path: Path) -> None:
    """Also where only some of them are looked into, whose names are others from the folder that they share."""
    for folder in "ab":
        (tmp_path / folder).mkdir()
        for number in range(12):
            (tmp_path / folder / f"{number}.jsonl").write_text('{"text": "word"}\n' * 10)
    config = InputConfig(paths=(str(tmp_path),), files=tuple(f"a/{number}.jsonl" for number in range(12)))
    size = measure(config)
    assert MAX_SAMPLED_FILES < 12
    assert (size.num_files, size.num_rows, size.text_bytes) == (12, 120, 480)
    assert measure(config.model_copy(update={"files": ("b/1.jsonl",)})).num_rows == 10
