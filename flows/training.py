"""A training that asks first: verify the newest release of a corpus, then run the command that trains on it.

A sample to deploy beside the audits (flows/WALKTHROUGH.md) and to write your own after.
"""

from __future__ import annotations

import flows.settings  # noqa: F401  before prefect is imported

# isort: split
import json
import subprocess
import sys
from pathlib import Path

from flows.discreet import flow
from flows.look import verify_dataset
from pipeline.errors import IntegrityError


@flow(name="train")
def train(corpus: str, command: list[str], filtered: str = "data/filtered", require: str = "pass") -> str:
    """Run a command with the folder of each release that belongs together, whole ones first; return the newest release's run.

    Raises: IntegrityError when a release is missing, changed, or not judged well enough.
    """
    folders = releases(corpus, filtered)
    for folder in folders:
        verify_dataset(folder, require)
    subprocess.run([*command, *folders], check=True, stdout=sys.stderr)  # noqa: S603  the deployment's own command
    return Path(folders[-1]).name


def releases(corpus: str, filtered: str) -> list[str]:
    """Return the folders of the newest release and of those that it completes.

    Raises: IntegrityError when there is none.
    """
    successes = sorted(Path(filtered, corpus).glob("[!.]*/_SUCCESS"), key=lambda path: path.stat().st_mtime_ns)
    if not successes:
        raise IntegrityError("the corpus has no release", where=f"{filtered}/{corpus}", do="run its audit first")
    newest = successes[-1].parent
    completed = json.loads((newest / "manifest.json").read_text())["parents"].get("completes", [])
    return [*(str(Path(filtered, corpus, run)) for run in completed), str(newest)]
