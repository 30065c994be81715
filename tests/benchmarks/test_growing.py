"""Grown text is what the benchmark says it is: of the wanted size, the same for the same seed, a known mix of copies and others."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.benchmarks.growing import NUM_FILES, grow


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("base"), random.Random(1)
    texts = [
        "".join(f"w{rng.randrange(20_000)}{rng.choice([' ', '  ', chr(10)])}" for _ in range(rng.randrange(60, 200))) for _ in range(300)
    ]
    pq.write_table(pa.table({"text": [*texts, "", None]}), folder / "base.parquet")
    (folder / "more.txt").write_text("naïve café\ttext " * 40)
    return folder


def read(folder: Path) -> list[str]:
    texts: list[str] = pq.read_table(folder, columns=["text"])["text"].to_pylist()
    return texts


def test_size_files_and_columns(base: Path, tmp_path: Path) -> None:
    """About the wanted bytes lie in equal files with ids that are unique, and words keep the white space behind them."""
    out = grow(base, tmp_path / "out", 2.0)
    files = sorted(out.glob("*.parquet"))
    sizes = [sum(len(text.encode()) for text in pq.read_table(file)["text"].to_pylist()) for file in files]
    assert len(files) == NUM_FILES
    assert sum(sizes) == pytest.approx(2e6, rel=0.1)
    assert max(sizes) < 1.3 * min(sizes)
    ids = pq.read_table(out)["id"].to_pylist()
    assert len(set(ids)) == len(ids)
    assert any("  " in text and "\n" in text for text in read(out))


def test_seeds(base: Path, tmp_path: Path) -> None:
    """The same seed gives the same texts, another gives others."""
    first, again, other = (grow(base, tmp_path / name, 0.5, seed) for name, seed in (("a", 3), ("b", 3), ("c", 4)))
    assert read(first) == read(again) != read(other)


def test_mix_of_copies(base: Path, tmp_path: Path) -> None:
    """About a quarter of the texts are near-copies of an earlier one, spread over Jaccard similarities; the others are unlike."""
    texts = read(grow(base, tmp_path / "out", 1.0))
    sets = [{tuple(words[i : i + 5]) for i in range(len(words) - 4)} for words in map(str.split, texts)]
    best = np.zeros(len(sets))
    seen: dict[tuple[str, ...], list[int]] = {}
    for number, own in enumerate(sets):
        earlier = {other for shingle in own for other in seen.get(shingle, [])}
        best[number] = max((len(own & sets[other]) / len(own | sets[other]) for other in earlier), default=0.0)
        for shingle in own:
            seen.setdefault(shingle, []).append(number)
    assert 0.2 < np.mean(best > 0.4) < 0.3
    assert np.mean((best > 0.25) & (best < 0.4)) < 0.03
    # a tenth of the copies, and short ones where no word happens to be drawn
    assert 0.015 < np.mean(best == 1.0) < 0.1
    assert np.histogram(best, [0.5, 0.6, 0.7, 0.8, 0.9, 1.0])[0].min() > 0.02 * len(best)
