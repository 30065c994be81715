"""How surprising is each text to a model that never saw it: one forward pass over every distinct text of the corpus.

Two complementary feature halves of the smallest size share the work: a text drawn into the subsample is read by the half that didn't
train on its cluster, any other text by the first half.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from tokenizers import Tokenizer

from pipeline import store
from pipeline.config import ProxyConfig
from pipeline.heap import give_back
from pipeline.proxy.batches import Batch, collate, pad_rows
from pipeline.proxy.device import CPU, Device, open_device
from pipeline.proxy.extraction import Floats, mean_loss
from pipeline.proxy.gradients import sample_gradients
from pipeline.proxy.losses import token_losses
from pipeline.proxy.model import ProxyModel, load_checkpoint
from pipeline.proxy.runs import CONFIG_FILE, MODEL_FILE
from pipeline.proxy.tokenizer import parse_tokenizer
from pipeline.store import Part
from pipeline.tables import DOCUMENT_SIGNALS, PROXY_SPLITS, SAMPLES, DocumentSignals, ProxySplits, Samples

FREQUENT_SHARE = 0.95
ROUND = 64
BATCH_TOKENS = 1024

Tokens = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Reference:
    """Hold what the pass needs: two models, the clusters that the first of them trained on, and which tokens are rare (V,).

    `pass_factor`: batches that are joined to one, where a device has room.
    """

    first: ProxyModel
    second: ProxyModel
    trained_by_first: Collection[bytes]
    is_rare: npt.NDArray[np.bool_]
    pass_factor: int = 1


def rare_tokens(samples: Samples, vocab_size: int) -> npt.NDArray[np.bool_]:
    """Say which tokens (V,) are rare: those outside the smallest set of tokens that makes up 95% of the distinct windows' text."""
    distinct = samples.filter(pl.col("sample_id") == pl.col("window_id"))
    tokens = distinct["tokens"].explode().drop_nulls().to_numpy()
    counts = np.bincount(tokens, minlength=vocab_size)
    order = np.argsort(-counts, kind="stable")
    before = np.cumsum(counts[order]) - counts[order]
    is_rare = np.ones(vocab_size, dtype=bool)
    is_rare[order[before < FREQUENT_SHARE * counts.sum()]] = False
    return is_rare


def reference_losses(
    texts: Iterable[tuple[bytes, bytes, str]], reference: Reference, tokenizer: Tokenizer, config: ProxyConfig
) -> DocumentSignals:
    """Score (content_hash, cluster_id, text) triples with a model that never saw the text's cluster.

    The first `max_scored_tokens` tokens are read in windows of `context`; each window's first token is only context. Losses are nats a
    token; `reference_loss_sd` is over tokens; prompt and suffix are those of the first window. `rare_token_rate`: share of the scored
    tokens that `rare_tokens` lists, 5% in text like the subsample. `reference_grad_norm`: log2 of the mean over windows of the norm of the
    gradient of a window's mean loss, if `reference_gradients` is set: it costs three times the pass. Null where a text is too short.
    """
    iterator = iter(texts)
    frames: list[pl.DataFrame] = [DOCUMENT_SIGNALS.empty()]
    while chunk := list(itertools.islice(iterator, ROUND)):
        give_back()
        encodings = tokenizer.encode_batch_fast([text for _, _, text in chunk], add_special_tokens=False)
        rows = [np.asarray(encoding.ids, dtype=np.int32) for encoding in encodings]
        frames.append(
            _score([content_hash for content_hash, _, _ in chunk], [cluster_id for _, cluster_id, _ in chunk], rows, reference, config)
        )
    return DOCUMENT_SIGNALS.check(pl.concat(frames).sort("content_hash"))


def run_reference(
    documents_path: str,
    chosen: pl.DataFrame,
    tokenizer_path: str,
    samples_folder: str,
    splits_folder: str,
    run_folders: tuple[str, str],
    config: ProxyConfig,
    out_folder: str,
    name: str,
) -> Part:
    """Score one stored part of `documents` and write the signals as part `name`; meant for a spawned process.

    `chosen`: doc_id, content_hash, cluster_id of the documents to score in this part (`choose_texts`). `run_folders`: those of the two
    proxies of `reference_pair`, in order.
    """
    torch.set_num_threads(1)
    tokenizer = parse_tokenizer(store.read_bytes(tokenizer_path), where=tokenizer_path)
    samples = SAMPLES.check(store.read_frame(store.describe(samples_folder)))
    splits = PROXY_SPLITS.check(store.read_frame(store.describe(splits_folder)))
    device = open_device(config, zlib.crc32(documents_path.encode()))
    reference = load_reference(run_folders, splits, samples, tokenizer.get_vocab_size(), device)
    return store.write_part(out_folder, name, reference_losses(_read_texts(documents_path, chosen), reference, tokenizer, config))


def load_reference(run_folders: tuple[str, str], splits: ProxySplits, samples: Samples, vocab_size: int, device: Device = CPU) -> Reference:
    """Load the two models of a reference pair from their runs' folders onto a device."""
    first = store.describe(run_folders[0]).facts["proxy"]
    trained = splits.filter((pl.col("proxy") == first) & pl.col("in_training"))["cluster_id"]
    models = [load_checkpoint(*(store.read_bytes(f"{folder}/{name}") for name in (MODEL_FILE, CONFIG_FILE))) for folder in run_folders]
    models = [model.to(device.place) for model in models]
    return Reference(models[0], models[1], frozenset(trained.to_list()), rare_tokens(samples, vocab_size), device.pass_factor)


def _read_texts(documents_path: str, chosen: pl.DataFrame) -> Iterator[tuple[bytes, bytes, str]]:
    documents = pl.from_arrow(store.read_arrow(documents_path, ["doc_id", "text"]))
    assert isinstance(documents, pl.DataFrame)
    joined = documents.join(chosen.select("doc_id", "content_hash", "cluster_id"), on="doc_id").sort("content_hash")
    return joined.select("content_hash", "cluster_id", pl.col("text").fill_null("")).iter_rows()


def _score(hashes: list[bytes], clusters: list[bytes], rows: list[Tokens], reference: Reference, config: ProxyConfig) -> pl.DataFrame:
    scored = [row[: config.max_scored_tokens] for row in rows]
    owners = np.array([at for at, row in enumerate(scored) for _ in range(0, max(len(row) - 1, 0), config.context)], dtype=np.int64)
    windows = [row[start : start + config.context] for row in scored for start in range(0, max(len(row) - 1, 0), config.context)]
    is_first = np.r_[True, owners[1:] != owners[:-1]] if len(owners) else np.zeros(0, dtype=bool)
    seen = np.array([cluster in reference.trained_by_first for cluster in clusters], dtype=bool)
    sums, squares, counts = (np.zeros(len(rows)) for _ in range(3))
    prompt, suffix = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
    norms, num_windows = np.zeros(len(rows)), np.bincount(owners, minlength=len(rows))
    for at, loss, norm, lengths in _window_losses(windows, seen[owners], reference, config):
        np.add.at(sums, owners[at], loss.sum(1, dtype=np.float64))
        np.add.at(squares, owners[at], np.square(loss, dtype=np.float64).sum(1))
        np.add.at(counts, owners[at], lengths - 1)
        np.add.at(norms, owners[at], norm)
        leads = is_first[at]
        end = config.prompt_tokens + config.suffix_tokens
        prompt[owners[at[leads]]] = mean_loss(loss, lengths, 0, config.prompt_tokens)[leads]
        suffix[owners[at[leads]]] = mean_loss(loss, lengths, config.prompt_tokens, end)[leads]
    mean = np.divide(sums, counts, out=np.full(len(rows), np.nan), where=counts > 0)
    variance = np.divide(squares, counts, out=np.full(len(rows), np.nan), where=counts > 1) - np.square(mean)
    grad_norm = np.divide(norms, num_windows, out=np.full(len(rows), np.nan), where=num_windows > 0)
    columns = {
        "content_hash": pl.Series(hashes, dtype=pl.Binary),
        "num_tokens": pl.Series([len(row) for row in rows], dtype=pl.Int64),
        "num_scored_tokens": pl.Series([len(row) for row in scored], dtype=pl.Int64),
        "reference_loss": mean,
        "reference_prompt_loss": prompt,
        "reference_suffix_loss": suffix,
        "reference_loss_sd": np.sqrt(np.maximum(variance, 0.0)),
        "rare_token_rate": np.array([reference.is_rare[row].mean() if len(row) else np.nan for row in scored]),
        "reference_grad_norm": np.log2(grad_norm),
    }
    return pl.DataFrame(columns).with_columns(pl.col(pl.Float64).fill_nan(None)).select(*DOCUMENT_SIGNALS.columns)


def _window_losses(
    windows: list[Tokens], seen_by_first: npt.NDArray[np.bool_], reference: Reference, config: ProxyConfig
) -> Iterator[tuple[npt.NDArray[np.int64], Floats, Floats, npt.NDArray[np.int64]]]:
    """Yield window numbers, token losses (B, T) with 0 where nothing is predicted, gradient norms and lengths; like lengths together."""
    lengths = np.array([len(window) for window in windows], dtype=np.int64)
    for model, mine in ((reference.first, ~seen_by_first), (reference.second, seen_by_first)):
        order = np.flatnonzero(mine)
        order = order[np.argsort(lengths[order], kind="stable")]
        size = max(1, BATCH_TOKENS * reference.pass_factor // config.context)
        for start in range(0, len(order), size):
            at = order[start : start + size]
            tokens, sizes = pad_rows([windows[window] for window in at], config.context)
            batch = collate(tokens.to(model.head.weight.device), sizes, at)
            losses, norms = _read_with_gradients(model, batch) if config.reference_gradients else _read(model, batch)
            yield at, _spread(losses, batch), norms, sizes


@torch.no_grad()
def _read(model: ProxyModel, batch: Batch) -> tuple[torch.Tensor, Floats]:
    hidden = model(batch.tokens)
    flat = hidden.reshape(-1, hidden.shape[-1]).index_select(0, batch.places)
    return token_losses(flat, model.head.weight, batch.targets), np.full(len(batch.indices), np.nan, dtype=np.float32)


def _read_with_gradients(model: ProxyModel, batch: Batch) -> tuple[torch.Tensor, Floats]:
    statistics, sums = sample_gradients(model, batch)
    return statistics.loss, sums.squared_norm.sqrt().cpu().numpy()


def _spread(losses: torch.Tensor, batch: Batch) -> Floats:
    spread = torch.zeros(batch.tokens.shape, device=losses.device)
    spread.view(-1)[batch.places + 1] = losses
    return spread.cpu().numpy()
