"""A lean start: what is not needed is not loaded, kernels work, and all can be had afterwards."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

STARTED = """
import sys
from pipeline.lean import start_lean
start_lean()
import pyarrow as pa
from pipeline.text import content_hashes
hashes = content_hashes(pa.array(["A text", "a  text", "Ａ text"]))
assert len(set(hashes.to_pylist())) == 1
assert not {"pandas", "scipy.linalg", "cffi"} & set(sys.modules), sorted({"pandas", "scipy.linalg", "cffi"} & set(sys.modules))
import cffi
import scipy.linalg
import scipy.stats
import pandas
print(round(float(scipy.stats.norm.cdf(0)), 3), pandas.Series([1, 2]).sum())
"""


def test_what_stays_out_at_a_lean_start_can_be_had_later() -> None:
    """Neither pandas nor scipy's linear algebra nor cffi is loaded until somebody imports it."""
    done = subprocess.run([sys.executable, "-c", STARTED], cwd=Path.cwd(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["0.5", "3"]
