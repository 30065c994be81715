"""Draw the page of a finished run again with more or less of the corpus on it, for narrower or wider circulation."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema

import pipeline.report
from flows.reporting import draw_page
from flows.runs import intact_tables, read_run, read_summary
from pipeline import store
from pipeline.errors import IntegrityError
from pipeline.places import locate
from pipeline.report.excerpts import Mode

SCHEMA = Path(pipeline.report.__path__[0]) / "summary.schema.json"


def redraw(run: str, excerpts: Mode, output: str | None, ledger: str) -> str:
    """Write RUN.excerpts-MODE.html beside the signed page, or in another folder, and return its path; the signed page stays as it is.

    Raises: IntegrityError when the run's summary or documents changed, another version wrote it, or another page stands there already.
    """
    finished = read_run(run, ledger)
    summary = read_summary(finished)
    if not jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8"))).is_valid(summary):
        do = "run the audit again, or draw the page with the version that wrote it (environment.json beside it)"
        raise IntegrityError("another version of sinkaudit wrote this run's summary", where=finished.run, do=do)
    shown = {**summary, "scope": {**summary["scope"], "excerpts": excerpts}}
    page = draw_page(shown, intact_tables(finished, "documents")["documents"]).encode()
    path = f"{(output or finished.report_folder).rstrip('/')}/{finished.run}.excerpts-{excerpts}.html"
    filesystem, plain = locate(path)
    if filesystem.exists(plain) and filesystem.cat_file(plain) != page:
        raise IntegrityError("another page stands here, and it may have been signed", where=path, do="choose another folder with --output")
    store.write_bytes(path, page)
    return path
