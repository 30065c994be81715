"""Write a first configuration for a corpus: columns guessed from its schema, every section named, the settings people change shown."""

from __future__ import annotations

import re

import yaml

from pipeline.config import InputConfig
from pipeline.corpus.columns import guess_columns
from pipeline.corpus.documents import read_schema

TEMPLATE = """\
# An audit of {corpus}
# Estimate it: sinkaudit plan audit.yaml      Run it: sinkaudit run audit.yaml
name: {name}
seed: 0

input:
  paths: [{path}]
  text_column: {text}
  id_column: {id}          # null: rows are named by file and row number
  source_column: {source}      # null: the file's name
  # new_only: true           # read the files alone that no released audit of this name has read, and compare them with those audits

# reference:                 # compared with, never removed; a row that copies one of their documents goes
#   paths: [benchmarks/]     # decontamination, or one corpus against another; each entry is read on its own
#   runs: [{name}-0123456789]   # audits of the nights before, whose stored signatures are used again

dedup:
  threshold: 0.8           # exact Jaccard on word 5-grams from which two documents are copies
  max_copies: 1            # members of one duplicate group that stay
  # source_priority: [best, second]   # whose copy is kept
  # quality_column: quality           # numeric; the highest is kept

proxy:
  token_budget: 120000     # tokens of the subsample that proxies train on

risk:
  # non-embedding size of the model you plan to train; the further from the proxies (below a million), the wider the intervals
  target_parameters: 1.0e+7

release:
  policy: downweight       # report, downweight, review or drop: what happens at or above sink_threshold
  sink_threshold: 0.5      # acted on only where the whole interval of a score lies above it
  spans: mask              # report, mask (out of the loss, by a trainer that reads sink_mask_spans) or trim: text that documents repeat
  # guards: {{source_loss: abort}}      # off, warn, fail or abort: what an exceeded limit on deduplication does
  # gates: {{calibration: fail}}        # off, warn or fail: what any other gate does that does not hold
  # waivers: [{{gate: source_loss, until: 2027-01-31, approver: "...", reason: "..."}}]
  # license: cc-by-4.0                # of the corpus, for the dataset card; nothing is assumed
  # max_loss_of_source: {{forum: 0.95}} # other limits than max_source_loss, by source

report:
  excerpts: short          # none, short (redacted) or full
"""


def starter_yaml(corpus: str) -> str:
    """Return a commented configuration for a file, folder, glob or URL.

    Raises: InputError when there is nothing to read or the text column is not unambiguous.
    """
    config = InputConfig(paths=(corpus,))
    columns = guess_columns(read_schema(config), config)
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", corpus.rstrip("/*").rsplit("/", 1)[-1]).strip("-._") or "audit"
    shown = {name: _scalar(getattr(columns, name)) for name in ("text", "id", "source")}
    return TEMPLATE.format(corpus=_scalar(corpus), name=stem[:64], path=_scalar(corpus), **shown)


def _scalar(value: str | None) -> str:
    """Return a value as one line of YAML, quoted where it needs to be."""
    return yaml.safe_dump(value, default_flow_style=True, width=10_000).splitlines()[0] if value is not None else "null"
