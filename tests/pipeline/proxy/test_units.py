"""Tests of `pipeline.proxy.units` on invented token sequences."""

from __future__ import annotations

import random
from typing import Any

import polars as pl
import pytest

from pipeline.config import ProxyConfig
from pipeline.proxy.splits import ProxySpec
from pipeline.proxy.units import shared_windows, split_targets, split_units, unseen_clusters
from pipeline.tables import PROXY_SPLITS, SAMPLES, Samples

CONTEXT = 16
PROMPT = SUFFIX = 6


def _samples(texts: dict[bytes, list[list[int]]]) -> Samples:
    """Cut documents, given by cluster as token lists, into windows as drawing does; their ids count up."""
    rows: list[dict[str, Any]] = []
    for doc_id, (cluster_id, tokens) in enumerate((name, document) for name, documents in texts.items() for document in documents):
        for start in range(0, len(tokens), CONTEXT):
            window = tokens[start : start + CONTEXT]
            row = {"sample_id": len(rows), "doc_id": doc_id, "cluster_id": cluster_id, "start": start, "end": start + len(window)}
            rows.append({**row, "num_tokens": len(window), "tokens": window})
    frame = pl.DataFrame(rows, schema_overrides={"num_tokens": pl.Int32, "tokens": pl.List(pl.Int32), "cluster_id": pl.Binary})
    return SAMPLES.check(frame.with_columns(window_id=pl.col("sample_id").min().over("tokens")).select(*SAMPLES.columns))


def _fresh(rng: random.Random, length: int) -> list[int]:
    return [rng.randrange(10_000) for _ in range(length)]


@pytest.fixture
def texts() -> dict[bytes, list[list[int]]]:
    """Return twelve clusters; a and b share 20 tokens, c and d 10, e quotes one suffix of f at another place."""
    rng = random.Random(0)
    found = {bytes([97 + at]) * 16: [_fresh(rng, 48)] for at in range(12)}
    a, b, c, d, e, f = list(found)[:6]
    span, short = _fresh(rng, 20), _fresh(rng, 10)
    found[a] = [_fresh(rng, 5) + span + _fresh(rng, 23)]
    found[b] = [_fresh(rng, 17) + span + _fresh(rng, 11)] * 2
    found[c], found[d] = [short + _fresh(rng, 38)], [_fresh(rng, 38) + short]
    found[e] = [_fresh(rng, 3) + found[f][0][PROMPT : PROMPT + SUFFIX] + _fresh(rng, 39)]
    return found


def test_clusters_that_share_a_long_run_form_one_unit(texts: dict[bytes, list[list[int]]]) -> None:
    """A run as long as asked ties its holders wherever it stands; a shorter one does not."""
    units = dict(split_units(_samples(texts), 20, 0.5).iter_rows())
    a, b, c, d = list(texts)[:4]
    assert units[a] == units[b] == a
    assert units[c] != units[d]
    assert dict(split_units(_samples(texts), 10, 0.5).iter_rows())[d] == c
    assert dict(split_units(_samples(texts), 21, 0.5).iter_rows())[b] == b


def test_a_unit_that_would_be_too_large_is_not_made(texts: dict[bytes, list[list[int]]]) -> None:
    """A and b together hold 144 of 624 tokens."""
    assert dict(split_units(_samples(texts), 20, 0.2).iter_rows())[list(texts)[1]] == list(texts)[1]


def test_splits_cut_no_unit_and_pairs_are_complementary(texts: dict[bytes, list[list[int]]]) -> None:
    """Clusters of a unit have the same sides in every run; held-out ones are in none."""
    samples = _samples(texts)
    units = split_units(samples, 20, 0.5)
    specs = [ProxySpec(f"target-{pair}{'ab'[side]}", "label_half", 0, pair, side, pair) for pair in range(3) for side in (0, 1)]
    splits = split_targets(samples, units, specs, ProxyConfig(held_out_share=0.2), 5)
    wide = splits.pivot("proxy", index="cluster_id", values="in_training").join(units, on="cluster_id")
    assert wide.drop("cluster_id").unique().height == wide["unit_id"].n_unique() or all(
        rows.drop("cluster_id").unique().height == 1 for _, rows in wide.group_by("unit_id")
    )
    held_out = ~wide["target-0a"] & ~wide["target-0b"]
    assert 0 < held_out.sum() < 6
    assert (wide.filter(~held_out)["target-1a"] ^ wide.filter(~held_out)["target-1b"]).all()


def test_a_window_whose_suffix_another_unit_holds_is_shared(texts: dict[bytes, list[list[int]]]) -> None:
    """As a plain search says, place by place; clusters of one unit do not count as another."""
    samples = _samples(texts)
    alone = pl.DataFrame({"cluster_id": list(texts), "unit_id": list(texts)})
    tied = split_units(samples, 20, 0.5)
    for units in (alone, tied):
        assert shared_windows(samples, units, PROMPT, SUFFIX).to_list() == _search(texts, samples, dict(units.iter_rows()))
    assert len(shared_windows(samples, tied, PROMPT, SUFFIX)) < len(shared_windows(samples, alone, PROMPT, SUFFIX))


def _search(texts: dict[bytes, list[list[int]]], samples: Samples, units: dict[bytes, bytes]) -> list[int]:
    found = set()
    for row in samples.filter(pl.col("num_tokens") >= PROMPT + SUFFIX).iter_rows(named=True):
        suffix = row["tokens"][PROMPT : PROMPT + SUFFIX]
        for other, documents in texts.items():
            if units[other] != units[row["cluster_id"]] and any(
                document[at : at + SUFFIX] == suffix for document in documents for at in range(len(document))
            ):
                found.add(row["window_id"])
    return sorted(found)


def test_held_out_text_with_a_near_copy_in_training_is_not_unseen() -> None:
    """Two thirds of a held-out text in training are too much, one third is not."""
    rng = random.Random(1)
    base = _fresh(rng, 96)
    texts = {b"a" * 16: [base], b"b" * 16: [_fresh(rng, 96)], b"c" * 16: [base[:80] + _fresh(rng, 16)]}
    texts |= {b"d" * 16: [texts[b"b" * 16][0][:32] + _fresh(rng, 64)], b"e" * 16: [_fresh(rng, 96)]}
    inside = {b"c" * 16, b"d" * 16, b"e" * 16}
    splits = PROXY_SPLITS.check(pl.DataFrame([{"cluster_id": name, "proxy": "target-0a", "in_training": name in inside} for name in texts]))
    assert unseen_clusters(_samples(texts), splits).to_list() == [b"b" * 16]


def test_numbers_of_samples_and_documents_decide_nothing(texts: dict[bytes, list[list[int]]]) -> None:
    """The same clusters in another order of files give the same units and shared windows."""
    turned = dict(reversed(list(texts.items())))
    first, second = (split_units(_samples(order), 20, 0.5) for order in (texts, turned))
    assert first.equals(second)
    contents = []
    for order in (texts, turned):
        samples = _samples(order)
        shared = shared_windows(samples, first, PROMPT, SUFFIX)
        contents.append(sorted(samples.filter(pl.col("sample_id").is_in(shared.implode()))["tokens"].to_list()))
    assert contents[0] == contents[1]
