"""Write the YAML that dataset tools read before the card: files, features, sizes, languages, and a licence if the user named one.

Features are told only where this says the same as the Parquet files do: data that carries Hugging Face's own features (class names,
images) keeps them, and a type without a name there leaves all features out. Readers then take them from the files. Splits are not
told: that would need the bytes of the data in memory, which nobody has measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import yaml

from pipeline.release.filtering import FilteredData
from pipeline.release.shards import SPLIT

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"), (10_000_000, "1M<n<10M"))
RENAMED = {"halffloat": "float16", "float": "float32", "double": "float64", "date32[day]": "date32", "date64[ms]": "date64"}
KNOWN = frozenset(
    {"bool", "string", "large_string", "binary", "large_binary", "null", "float16", "float32", "float64", "date32", "date64"}
    | {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
    | {f"timestamp[{unit}]" for unit in ("s", "ms", "us", "ns")}
)


def front_matter(name: str, filtered: FilteredData, languages: Sequence[str] = (), licence: str | None = None) -> str:
    """Return the block between `---` lines; languages: BCP 47 codes."""
    described: dict[str, Any] = {"pretty_name": name, "tags": ["deduplicated", "memorization-audit"]}
    described["size_categories"] = [next((label for bound, label in SIZES if filtered.num_rows < bound), "n>10M")]
    if languages:
        described["language"] = list(languages)
    if licence:
        described["license"] = licence
    if filtered.shards:
        described["configs"] = [{"config_name": "default", "data_files": [{"split": SPLIT, "path": f"data/{SPLIT}-*.parquet"}]}]
        described["dataset_info"] = _info(filtered)
    return f"---\n{yaml.safe_dump(described, sort_keys=True, allow_unicode=False)}---"


def _info(filtered: FilteredData) -> dict[str, Any]:
    info: dict[str, Any] = {"download_size": sum(shard.num_bytes for shard in filtered.shards)}
    schema = filtered.schema
    if schema is None or b"huggingface" in (schema.metadata or {}):
        return info
    features = [_feature(column) for column in schema]
    return info if None in features else {"features": features, **info}


def _feature(column: pa.Field) -> dict[str, Any] | None:
    kind = _kind(column.type)
    return None if kind is None else {"name": column.name, **kind}


def _kind(kind: pa.DataType) -> dict[str, Any] | None:
    """Return a type as `datasets` writes it, None if it is not among the plain ones."""
    if pa.types.is_struct(kind):
        members = [_feature(kind.field(number)) for number in range(kind.num_fields)]
        return None if None in members or not members else {"struct": members}
    if pa.types.is_list(kind):
        inner = _kind(kind.value_type)
        return None if inner is None else {"list": inner.get("dtype") or inner.get("struct") or inner}
    word = RENAMED.get(str(kind), str(kind))
    return {"dtype": word} if word in KNOWN else None
