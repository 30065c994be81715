"""Settle the process before Prefect is imported: no telemetry, a patient local server, quiet logs, a lean start.

Import this module first in every module that imports prefect. Values that the user has set win.
"""

from __future__ import annotations

import os

from pipeline.lean import start_lean

DEFAULTS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # the default of 20 s fails now and then while the local server creates its database
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    # an error is told once, by the command line; a traceback could carry corpus text
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_TO_API_ENABLED": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}

for name, value in DEFAULTS.items():
    os.environ.setdefault(name, value)

start_lean()
