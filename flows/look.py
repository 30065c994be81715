"""Look at what a run left: why a document was decided on as it was, and whether a dataset is still what was released."""

from __future__ import annotations

import json
from typing import Any, Literal, cast

import fsspec

from pipeline import store
from pipeline.errors import InputError
from pipeline.release.explanation import Explanation, explain
from pipeline.release.manifest import verify_release
from pipeline.store import Artifact
from pipeline.tables import CLUSTERS, DECISIONS, DUPLICATE_PAIRS, REMOVALS, SINK_SCORES


def explain_document(run: str, doc: str, ledger: str) -> Explanation:
    """Explain one document of a run, named by its name or its folder in the ledger.

    Raises: InputError when there is no such run or document.
    """
    tables = _tables_of(run, ledger)
    frames = {
        name: store.read_frame(tables[name]) for name in ("profiles", "clusters", "removals", "duplicate_pairs", "sink_scores", "decisions")
    }
    return explain(
        doc,
        ids=frames["profiles"],
        clusters=CLUSTERS.check(frames["clusters"]),
        removals=REMOVALS.check(frames["removals"]),
        duplicate_pairs=DUPLICATE_PAIRS.check(frames["duplicate_pairs"]),
        scores=SINK_SCORES.check(frames["sink_scores"]),
        decisions=DECISIONS.check(frames["decisions"]),
    )


def verify_dataset(folder: str, require: str) -> dict[str, Any]:
    """Verify a released dataset and return what was found.

    Raises: IntegrityError naming each file that differs, or the verdict that is not good enough.
    """
    result = verify_release(folder.rstrip("/"), cast(Literal["pass", "warn", "any"], require))
    return {"folder": folder, "verdict": result.manifest.verdict, "num_files": result.num_files, "num_rows": result.num_rows}


def _tables_of(run: str, ledger: str) -> dict[str, Artifact]:
    for folder in (run.rstrip("/"), f"{ledger}/{run.strip('/').rsplit('/', 1)[-1]}"):
        filesystem, plain = fsspec.core.url_to_fs(f"{folder}/run.json")
        if filesystem.exists(plain):
            raw = json.loads(filesystem.cat_file(plain))
            return {name: store.describe(table["folder"]) for name, table in raw["tables"].items()}
    raise InputError(
        "no finished run of that name", where=run, wanted=f"a run's name or folder under {ledger}", do="see reports/index.html"
    )
