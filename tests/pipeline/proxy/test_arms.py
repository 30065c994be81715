"""Tests of `pipeline.proxy.arms`: what each filter keeps of an invented corpus."""

from __future__ import annotations

import hashlib

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from pipeline.config import ProxyConfig
from pipeline.proxy import arms
from pipeline.proxy.targets import MASKED
from pipeline.proxy.tokenizer import train_tokenizer

NO_MASKS = pl.DataFrame(schema=arms.MASKS)


def _digest(*values: object) -> bytes:
    return hashlib.blake2b(repr(values).encode(), digest_size=16).digest()


@pytest.fixture
def documents() -> pl.DataFrame:
    """Return 60 clusters of 1, 2 and 4 copies, the last copy of each a near one; every tenth held out, every fifth planted."""
    rng, rows = np.random.default_rng(0), list[dict[str, object]]()
    for cluster in range(60):
        copies = (1, 2, 4)[cluster % 3]
        for copy in range(copies):
            text = _digest(cluster, copy == 3)
            rows.append(
                {
                    "doc_id": len(rows),
                    "cluster_id": _digest("cluster", cluster),
                    "content_hash": text,
                    "row_hash": _digest("row", cluster, copy),
                    "num_tokens": int(rng.integers(20, 200)),
                    "copies": copies,
                    "is_natural": cluster % 5 != 0,
                    "is_held_out": cluster % 10 == 7,
                    "is_removed": copy > 0,
                    "perplexity": float(rng.random()),
                    "sink_score": cluster / 60,
                    "spillover": 1 - cluster / 60,
                }
            )
    return pl.DataFrame(rows, schema=arms.DOCUMENTS)


def _tokens(documents: pl.DataFrame, weights: pl.DataFrame) -> int:
    return int(documents.join(weights, on="doc_id", how="semi")["num_tokens"].sum())


def test_no_arm_trains_on_held_out_text(documents: pl.DataFrame) -> None:
    """And raw has all the rest."""
    decisions = documents.select("doc_id", action=pl.lit("keep"), weight=pl.lit(1.0))
    kept = [
        arms.raw(documents),
        arms.exact(documents),
        arms.minhash(documents),
        arms.copy_cap(documents, 2),
        arms.decided(documents, decisions),
    ]
    held_out = documents.filter("is_held_out")
    assert all(weights.join(held_out, on="doc_id", how="semi").is_empty() for weights in kept)
    assert kept[0].height == kept[4].height == documents.height - held_out.height


def test_copies_go_by_content_by_cluster_and_by_number(documents: pl.DataFrame) -> None:
    """Exact leaves one of each text, minhash what deduplication kept, copy_cap two of each cluster, first in the order of hashes."""
    inside = documents.filter(~pl.col("is_held_out"))
    assert arms.exact(documents).height == inside["content_hash"].n_unique()
    assert arms.minhash(documents).height == inside["cluster_id"].n_unique()
    capped = inside.join(arms.copy_cap(documents, 2), on="doc_id", how="semi")
    assert capped.group_by("cluster_id").len()["len"].max() == 2
    first = inside.sort("content_hash", "row_hash").group_by("cluster_id", maintain_order=True).head(2)
    assert set(capped["doc_id"]) == set(first["doc_id"])


def test_decisions_are_honoured_with_their_weights(documents: pl.DataFrame) -> None:
    """What is dropped is out, what is weighed down counts less, and the tokens taken are told by copies."""
    action = (
        pl.when(pl.col("is_removed"))
        .then(pl.lit("drop"))
        .when(pl.col("sink_score") > 0.8)
        .then(pl.lit("downweight"))
        .otherwise(pl.lit("keep"))
    )
    decisions = documents.select("doc_id", action=action, weight=pl.when(pl.col("sink_score") > 0.8).then(0.25).otherwise(1.0))
    base, policy = arms.minhash(documents), arms.decided(documents, decisions)
    assert policy.height == base.height
    removed = dict(arms.removed_tokens(documents, base, policy, NO_MASKS).iter_rows())
    light = documents.join(base, on="doc_id", how="semi").filter(pl.col("sink_score") > 0.8)
    for copies, copies_bin in ((1, 0), (2, 1), (4, 2)):
        assert removed[copies_bin] == pytest.approx(0.75 * int(light.filter(pl.col("copies") == copies)["num_tokens"].sum()))
    masks = pl.DataFrame({"doc_id": light["doc_id"].head(1), "start": [5], "end": [15]}, schema=arms.MASKS)
    assert sum(arms.removed_tokens(documents, base, policy, masks)["tokens"]) == pytest.approx(sum(removed.values()) + 2.5)


def test_a_random_drop_takes_as_much_from_clusters_of_like_copies(documents: pl.DataFrame) -> None:
    """Within each bin of copies it is off by less than its largest cluster, and another seed takes others."""
    base = arms.minhash(documents)
    wanted = pl.DataFrame({"copies_bin": [0, 1, 2], "tokens": [500.0, 0.0, 300.0]}, schema={"copies_bin": pl.Int32, "tokens": pl.Float64})
    left = arms.random(documents, base, wanted, 1)
    gone = documents.join(base, on="doc_id", how="semi").join(left, on="doc_id", how="anti")
    for copies, tokens in ((1, 500), (2, 0), (4, 300)):
        assert abs(int(gone.filter(pl.col("copies") == copies)["num_tokens"].sum()) - tokens) <= (100 if tokens else 0)
    assert set(arms.random(documents, base, wanted, 2)["doc_id"]) != set(left["doc_id"])


def test_random_masks_hide_as_much_in_runs_as_long() -> None:
    """Inside the windows of what stays, without overlap, in other places by another seed; a document that is out gets none."""
    samples = pl.DataFrame(
        {
            "sample_id": range(40),
            "doc_id": [number // 2 for number in range(40)],
            "start": [128 * (number % 2) for number in range(40)],
            "end": [128 * (number % 2) + (128 if number % 2 == 0 else 60) for number in range(40)],
        }
    )
    weights = pl.DataFrame({"doc_id": range(1, 20), "weight": 1.0})
    # runs of 40, of 20 on both sides of a window's end, and of 10 beyond the last window
    masks = pl.DataFrame({"doc_id": [0, 3, 5, 7], "start": [0, 50, 108, 188], "end": [99, 90, 148, 198]}, schema=arms.MASKS)
    drawn = arms.random_masks(samples, weights, masks, 1)
    assert sorted((drawn["end"] - drawn["start"]).to_list()) == [20, 20, 40]
    assert 0 not in drawn["doc_id"]
    as_masked = [arms.members_of(samples, weights, each)["masked"].list.len().sum() for each in (masks, drawn)]
    assert as_masked == [80, 80]
    assert arms.random_masks(samples, weights, masks, 1).equals(drawn)
    assert not arms.random_masks(samples, weights, masks, 2).equals(drawn)
    assert arms.random_masks(samples, weights, NO_MASKS, 1).is_empty()


def test_random_masks_without_room_are_given_up() -> None:
    """A window that is masked whole takes no second run."""
    samples = pl.DataFrame({"sample_id": [0], "doc_id": [0], "start": [0], "end": [16]})
    weights = pl.DataFrame({"doc_id": [0], "weight": [1.0]})
    masks = pl.DataFrame({"doc_id": [0, 0], "start": [0, 12], "end": [11, 16]}, schema=arms.MASKS)
    drawn = [arms.random_masks(samples, weights, masks, seed) for seed in range(20)]
    assert {(each["end"] - each["start"]).max() for each in drawn} == {11}
    # eleven of sixteen tokens leave room for four more only where they stand near an end
    assert {each.height for each in drawn} == {1, 2}


def test_perplexity_prunes_the_hardest_text_first(documents: pl.DataFrame) -> None:
    """Nothing that stays is harder than what goes; text without a perplexity stays."""
    unknown = documents.with_columns(perplexity=pl.when(pl.col("doc_id") > 0).then("perplexity"))
    base = arms.minhash(unknown)
    left = arms.prune(unknown, base, "perplexity", 1000.0)
    kept, gone = (unknown.join(base, on="doc_id", how="semi").join(left, on="doc_id", how=how) for how in ("semi", "anti"))
    assert gone["perplexity"].to_numpy().min() >= np.nanmax(kept["perplexity"].to_numpy())
    assert 900 <= int(gone["num_tokens"].sum()) <= 1100
    assert 0 in kept["doc_id"]


@pytest.mark.parametrize("criterion", ["random", "risk", "low_spillover", "risk_low_spillover", "perplexity", "copies", "length"])
def test_a_criterion_drops_the_share_asked_for_of_natural_text_alone(documents: pl.DataFrame, criterion: str) -> None:
    """Within a cluster's length of the share, plants untouched; without the column it cannot be had."""
    base = arms.minhash(documents)
    left = arms.drop_share(documents, base, criterion, 0.2, 3, natural_only=True)
    assert left is not None
    gone = documents.join(base, on="doc_id", how="semi").join(left, on="doc_id", how="anti")
    natural = _tokens(documents.filter("is_natural"), base)
    assert gone["is_natural"].all()
    assert abs(int(gone["num_tokens"].sum()) - 0.2 * natural) <= 100
    if criterion == "risk":
        assert gone["sink_score"].to_numpy().min() > np.median(documents.filter("is_natural")["sink_score"].to_numpy())
    blind = documents.with_columns(spillover=pl.lit(None, pl.Float64))
    assert (arms.drop_share(blind, base, criterion, 0.2, 3, natural_only=True) is None) == ("low_spillover" in criterion)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=12), st.floats(0, 400))
@settings(max_examples=60, deadline=None)
def test_tokens_are_taken_from_the_top_as_near_as_clusters_allow(sizes: list[int], tokens: float) -> None:
    """No other number of leading clusters comes nearer."""
    clusters = pl.DataFrame({"cluster_id": [bytes([at]) * 16 for at in range(len(sizes))], "num_tokens": sizes})
    taken = len(arms.take_tokens(clusters, tokens))
    off = [abs(sum(sizes[:count]) - tokens) for count in range(len(sizes) + 1)]
    assert off[taken] == min(off)


def test_members_are_the_windows_of_the_documents_that_stay_masks_cut_to_them() -> None:
    """A mask over two windows hides the end of one and the start of the next, overlapping masks once."""
    rows = [(0, 7, 0, 10), (1, 7, 10, 20), (2, 8, 0, 10), (3, 9, 0, 6)]
    samples = pl.DataFrame(rows, schema=["sample_id", "doc_id", "start", "end"], orient="row")
    weights = pl.DataFrame({"doc_id": [7, 8, 9], "weight": [1.0, 0.5, 0.0]})
    masks = pl.DataFrame([(7, 8, 13), (7, 12, 14), (9, 0, 6)], schema=arms.MASKS, orient="row")
    members = arms.members_of(samples, weights, masks)
    assert members.rows() == [(0, 1.0, [8, 9]), (1, 1.0, [0, 1, 2, 3]), (2, 0.5, [])]
    assert members.schema["masked"] == MASKED
    assert arms.members_of(samples, weights).rows() == [(0, 1.0, []), (1, 1.0, []), (2, 0.5, [])]


def test_byte_spans_become_the_tokens_inside_them() -> None:
    """Characters of several bytes count as such; a token that is half in a span is not masked."""
    text = "naïve café under the old bridge, naïve café"
    tokenizer: Tokenizer = train_tokenizer([text] * 3, ProxyConfig(vocab_size=300))
    start, end = len("naïve ".encode()), len("naïve café under".encode())
    masks = arms.token_masks([(4, text)], pl.DataFrame([(4, start, end)], schema=arms.MASKS, orient="row"), tokenizer)
    ((doc_id, first, last),) = masks.rows()
    hidden = tokenizer.decode(tokenizer.encode(text).ids[first:last])
    assert doc_id == 4
    assert hidden in text.encode()[start:end].decode()
    assert len(hidden.encode()) >= end - start - 6
