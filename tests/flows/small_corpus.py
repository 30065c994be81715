"""A corpus small enough to be audited in a test: texts of the demo's, exact copies, a chain of near copies, a blank row."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from pipeline.config import AuditConfig, parse_config

NUM_ROWS = 400
MARKER = "zanzibar"  # stands in every text and so must stand in no log


def rows() -> list[dict[str, str]]:
    """Return the rows: columns id, source, text."""
    corpus = pl.concat(pl.read_parquet(path) for path in sorted(Path("data/samples/corpus").glob("*.parquet")))
    few = corpus.filter(pl.col("text").str.len_bytes() < 1500).sort("id").sample(NUM_ROWS - 7, seed=1).select("id", "text", "source")
    rows = few.with_columns(text=pl.col("text") + f" {MARKER}").to_dicts()
    copies = [{**rows[0], "id": "copy-0"}, {**rows[0], "id": "copy-1"}, {**rows[1], "id": "copy-2"}]
    return [*rows, *copies, *chain(), {"id": "blank", "text": " ", "source": "planted"}]


def chain() -> list[dict[str, str]]:
    """Return three texts of which the middle one, the shortest, is a copy of both others, which are none of each other (Jaccard .76)."""
    words = [f"word{number}" for number in range(1000, 1112)]
    runs = {"left": ["longer" * 3, *words[1:100]], "middle": words[6:106], "right": [*words[12:111], "longer" * 3]}
    return [{"id": name, "text": " ".join([*run, MARKER]), "source": "planted"} for name, run in runs.items()]


def config(folder: Path, corpus: Path) -> AuditConfig:
    """Return settings whose proxies train in seconds; all that a run writes lies below the folder."""
    return parse_config(
        {
            "name": "small",
            "input": {"paths": [str(corpus)]},
            "dedup": {"max_copies": 2},
            "proxy": {
                "vocab_size": 400,
                "context": 32,
                "prompt_tokens": 8,
                "suffix_tokens": 8,
                "token_budget": 6000,
                "ladder": [1, 2, 3],
                "epochs": 1,
                "max_scored_tokens": 32,
            },
            "risk": {"num_bootstrap": 10},
            "runtime": {name: str(folder / name) for name in ("ledger", "filtered", "reports")},
        }
    )


def write(folder: Path, pieces: list[list[dict[str, str]]]) -> Path:
    """Write each piece as a file of a new folder, whose names are not in the order of the pieces."""
    folder.mkdir()
    for number, rows in enumerate(pieces):
        pl.DataFrame(rows).write_parquet(folder / f"{'ba'[number % 2]}{number}.parquet")
    return folder
