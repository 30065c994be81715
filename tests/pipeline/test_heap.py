"""The heap is kept while a stage works, and goes back between stages."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

LET_GO = """
from pathlib import Path
import numpy as np
from pipeline.heap import give_back, keep_memory, limit_arenas

def resident():
    return int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0]) >> 10

keep_memory()
limit_arenas(2)
before = resident()
held = [np.ones(2 << 20) for _ in range(8)]  # 16 MB each: more than the C library would keep of its own accord
del held
kept = resident()
give_back()
print(kept - before, resident() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc's heap can be told what to keep")
def test_what_is_let_go_is_kept_until_it_is_given_back() -> None:
    """Of 128 MB that were used and let go all stay with the process, and hardly any after they are given back."""
    done = subprocess.run([sys.executable, "-c", LET_GO], cwd=Path.cwd(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    kept, left = map(int, done.stdout.split())
    assert kept > 120
    assert left < 20
