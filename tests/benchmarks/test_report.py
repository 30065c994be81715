"""The report of a large corpus: how long a page of a million decisions takes, and how large it is.

Seconds are those of one process, reading of tables not counted; the bar is 10 s and 2 MB.
"""

from __future__ import annotations

import time

import pytest

from pipeline.report.render import MAX_BYTES, render_report
from pipeline.report.summary import build_summary, wanted_excerpts
from tests.pipeline.report.conftest import synthetic_inputs, synthetic_spans

NUM_DECISIONS = 1_000_000


@pytest.mark.benchmark
def test_report_of_a_million_decisions(capsys: pytest.CaptureFixture[str]) -> None:
    """Summary and page of a million decisions, with repeated spans and 200 excerpts; fail only if the page is too large."""
    inputs = synthetic_spans(synthetic_inputs(NUM_DECISIONS))
    started, used = time.perf_counter(), time.process_time()
    summary = build_summary(inputs)
    summarised = time.perf_counter()
    page = render_report(summary, [{"doc_id": doc_id, "text": "Lorem ipsum dolor sit amet. " * 40} for doc_id in wanted_excerpts(summary)])
    ended = time.perf_counter()
    with capsys.disabled():
        print(
            f"\n{NUM_DECISIONS:,} decisions: summary {summarised - started:.1f} s, page {ended - summarised:.1f} s, "
            f"{time.process_time() - used:.1f} s of CPU, {len(page.encode()) / 1e6:.2f} MB"
        )
    assert summary["flow"]["steps"][0]["rows"] == NUM_DECISIONS
    assert len(page.encode()) < MAX_BYTES
