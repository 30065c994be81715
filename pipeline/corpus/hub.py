"""Datasets by name, through Hugging Face `datasets`, streamed so that memory holds no more than a batch.

Code that comes with a dataset is never run. Rows keep the dataset's own order; its files are known by digest where they are local, by
the address and revision that the hub resolved where they are not. Nothing is loaded from the network unless `input.dataset` names it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.config import InputConfig
from pipeline.corpus.batches import Batch, Corpus
from pipeline.corpus.schemas import fit, merge_schemas
from pipeline.corpus.shards import Stretch
from pipeline.errors import InputError
from pipeline.store import digest_of, file_digest

BATCH_ROWS = 1000


def open_dataset(config: InputConfig) -> Corpus:
    """Open the dataset of `input.dataset`, `input.dataset_config` and `input.split`.

    Raises: InputError when there is no such dataset, configuration or split, or it cannot be reached.
    """
    name = _short_name(config)
    stream = _stream(config)
    features = stream.features
    schema = features.arrow_schema if features is not None else merge_schemas([(name, table.schema) for table in _tables(config)])
    files, read = describe_dataset(config), partial(_batches, config=config, name=name, schema=schema)
    return Corpus(schema, [(name, schema)], files, [(Stretch((), 0, None),)], read)


def describe_dataset(config: InputConfig) -> list[dict[str, Any]]:
    """Return path, size and digest of every file that the split is made of; size is None where it is not local."""
    from datasets import load_dataset_builder

    try:
        files = load_dataset_builder(config.dataset, config.dataset_config).config.data_files
        return [_describe(path, metadata, config) for path, metadata in _of_split(files, config.split)]
    except (OSError, ValueError, RuntimeError) as error:
        raise _explain(config, error) from error


def _of_split(files: Mapping[Any, Any] | None, split: str) -> list[tuple[str, Any]]:
    chosen = {str(key): value for key, value in (files or {}).items()}.get(split.split("[")[0], [])
    return list(zip(map(str, chosen), chosen.origin_metadata, strict=True)) if chosen else []


def _describe(path: str, metadata: Any, config: InputConfig) -> dict[str, Any]:
    local = Path(path)
    if not local.is_file():
        return {"path": path, "bytes": None, "digest": digest_of(path, [str(value) for value in metadata])}
    root = Path(str(config.dataset)).resolve()
    name = str(local.relative_to(root)) if local.is_relative_to(root) else local.name
    return {"path": name, "bytes": local.stat().st_size, "digest": file_digest(path)}


def _stream(config: InputConfig) -> Any:
    from datasets import load_dataset

    try:
        return load_dataset(config.dataset, config.dataset_config, split=config.split, streaming=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise _explain(config, error) from error


def _tables(config: InputConfig) -> Iterator[pa.Table]:
    try:
        yield from _stream(config).with_format("arrow").iter(batch_size=BATCH_ROWS)
    except (OSError, ValueError, RuntimeError, pa.ArrowException) as error:
        raise _explain(config, error) from error


def _batches(_stretch: Stretch, _encodings: Counter[str], config: InputConfig, name: str, schema: pa.Schema) -> Iterator[Batch]:
    """Yield all rows: what order and how many there are is known to the dataset alone, so it is one shard."""
    num_rows = 0
    for table in _tables(config):
        table.validate(full=True)
        ids = [f"{name}:{number}" for number in range(num_rows + 1, num_rows + table.num_rows + 1)]
        yield Batch(fit(table, schema, name), ids, [name] * table.num_rows)
        num_rows += table.num_rows


def _short_name(config: InputConfig) -> str:
    name = str(config.dataset)
    return Path(name).resolve().name if Path(name).exists() else name


def _explain(config: InputConfig, error: Exception) -> InputError:
    return InputError(
        "the dataset cannot be loaded",
        where=f"input.dataset {config.dataset}",
        wanted=f"configuration {config.dataset_config or 'default'}, split {config.split}",
        got=f"{type(error).__name__}: {str(error)[:300]}",
        do="check input.dataset, input.dataset_config and input.split; a hub name needs the network",
    )
