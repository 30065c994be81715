"""Describe the filtered dataset in Croissant, the vocabulary by which catalogues and loaders understand data without opening it.

`croissant.json` lies beside the shards and names each with size and SHA-256, and every column with its type, so that a Croissant
reader can check the files and iterate over the rows where they lie, without a network. Paths are relative to its own folder.

Only what is known is said: no creator and no date, a licence only if the user named it. Columns of a type that Croissant has no word
for (bytes, maps, lists of lists of structs) are named in the record set's description and left out of its fields.

Source: MLCommons Croissant format specification, version 1.1.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import pyarrow as pa

from pipeline.config import ReleaseConfig
from pipeline.places import locate
from pipeline.release.filtering import FilteredData
from pipeline.release.gate import Gate, verdict_of
from pipeline.release.shards import SPLIT
from pipeline.store import Part

CROISSANT = "croissant.json"
CONFORMS_TO = "http://mlcommons.org/croissant/1.1"
FORMAT = "application/x-parquet"
SHARDS, RECORDS = "shards", "default"
CHUNK = 1 << 20

_TERMS = (
    "arrayShape citeAs column containedIn equivalentProperty extract field fileObject fileProperty fileSet format includes isArray "
    "isLiveDataset jsonPath key md5 parentField path recordSet references regex repeated replace samplingRate separator source subField "
    "transform"
)
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"},
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
    **{term: f"cr:{term}" for term in _TERMS.split()},
}
OURS = {
    "sink_weight": "training weight that the audit proposes for the row",
    "sink_mask_spans": "parts of the text to leave out of the loss: UTF-8 bytes, start inclusive, end exclusive",
    "sink_doc_id": "the row's number in the audit's tables",
    "sink_score": "predicted probability that a model of the audit's target size memorizes the row",
    "sink_cluster_id": "cluster of near-duplicates that the row stood in",
    "sink_cluster_size": "rows in that cluster before removal",
}
WORDS = {
    "bool": "sc:Boolean",
    "string": "sc:Text",
    "large_string": "sc:Text",
    "null": "sc:Text",
    "date32[day]": "sc:Date",
    "date64[ms]": "sc:Date",
    "halffloat": "cr:Float16",
    "float": "cr:Float32",
    "double": "cr:Float64",
    **{f"int{bits}": f"cr:Int{bits}" for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": f"cr:UInt{bits}" for bits in (8, 16, 32, 64)},
}
"""Croissant's data types by Arrow's names; integers and floats keep their width."""


def describe_dataset(name: str, run: str, filtered: FilteredData, gates: Sequence[Gate], config: ReleaseConfig) -> str:
    """Return croissant.json of the shards in `filtered.folder`; equal data give equal bytes."""
    described: dict[str, Any] = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS_TO,
        "name": name,
        "description": f"A text corpus after an audit: {filtered.num_rows} rows that stay, near-duplicates removed, documents that small "
        f"models predict to be memorized treated as the dataset card says. Verdict of the audit: {verdict_of(gates)}.",
        "version": "1.0.0",  # of data that is never rewritten: another run is another dataset
        "identifier": run,
        "isLiveDataset": False,
        "keywords": ["deduplicated", "memorization-audit", "text"],
        **({"license": config.license} if config.license else {}),
    }
    if filtered.shards:
        described["distribution"] = [*(_file(filtered.folder, shard) for shard in filtered.shards), _shards()]
    if filtered.shards and filtered.schema is not None:
        described["recordSet"] = [_records(filtered.schema)]
    return json.dumps(described, indent=1, ensure_ascii=True, allow_nan=False) + "\n"


def _file(folder: str, shard: Part) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": shard.path,
        "name": shard.path,
        "contentUrl": shard.path,
        "contentSize": f"{shard.num_bytes} B",
        "encodingFormat": FORMAT,
        "sha256": _sha256(f"{folder}/{shard.path}"),
    }


def _shards() -> dict[str, Any]:
    return {
        "@type": "cr:FileSet",
        "@id": SHARDS,
        "name": SHARDS,
        "description": "all shards, in the order of their names",
        "encodingFormat": FORMAT,
        "includes": f"data/{SPLIT}-*.parquet",
    }


def _records(schema: pa.Schema) -> dict[str, Any]:
    fields = {column.name: _field(column) for column in schema}
    untold = [name for name, field in fields.items() if field is None]
    left_out = f" Columns without a Croissant type: {', '.join(untold)}." if untold else ""
    return {
        "@type": "cr:RecordSet",
        "@id": RECORDS,
        "name": RECORDS,
        "description": f"one record a row.{left_out}",
        "field": [field for field in fields.values() if field is not None],
    }


def _field(column: pa.Field) -> dict[str, Any] | None:
    """Return a column's field, None if Croissant has no word for its type."""
    depth, kind = _unwrapped(column.type)
    field: dict[str, Any] = {"@type": "cr:Field", "@id": f"{RECORDS}/{quote(column.name, safe='')}", "name": column.name}
    if column.name in OURS:
        field["description"] = OURS[column.name]
    if depth:
        field |= {"isArray": True, "arrayShape": ",".join(["-1"] * depth)}
    if pa.types.is_struct(kind):
        members = [_member(field["@id"], column.name, kind.field(number)) for number in range(kind.num_fields)]
        return field | {"subField": members} if depth <= 1 and members and None not in members else None
    if (word := _word(kind)) is None:
        return None
    return field | {"dataType": word, "source": _source(column.name)}


def _member(parent: str, column: str, member: pa.Field) -> dict[str, Any] | None:
    word = _word(member.type)
    if word is None or not re.fullmatch(r"[A-Za-z_]\w*", member.name, re.ASCII):
        return None
    source = {**_source(column), "transform": {"jsonPath": member.name}}
    return {"@type": "cr:Field", "@id": f"{parent}/{member.name}", "name": member.name, "dataType": word, "source": source}


def _source(column: str) -> dict[str, Any]:
    return {"fileSet": {"@id": SHARDS}, "extract": {"column": column}}


def _unwrapped(kind: pa.DataType) -> tuple[int, pa.DataType]:
    depth = 0
    while pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        depth, kind = depth + 1, kind.value_type
    return depth, kind


def _word(kind: pa.DataType) -> str | None:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if pa.types.is_timestamp(kind):
        return "sc:DateTime"
    return WORDS.get(str(kind))


def _sha256(path: str) -> str:
    digest = hashlib.sha256()
    filesystem, plain = locate(path)
    with filesystem.open(plain, "rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
