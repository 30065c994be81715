"""A base checkpoint that proxies start from when a fine-tuning corpus is audited: what it is, and the ladder that is cut from it.

A local folder with config.json, model.safetensors and a tokenizer.json. The largest size of the ladder is the base itself. The smaller
ones are layer-truncated copies: of L layers the first n - 1 and the last stay, n = round(L x dial / largest dial), which costs a
pretrained model least among simple cuts. They keep the base's width, embeddings and vocabulary, so one tokenizer serves all.
Source: Gromov et al. 2024, "The Unreasonable Ineffectiveness of the Deeper Layers", section 4.4 (drop the deepest, keep the last).

Nothing here needs torch, so that a base can be refused before anything is computed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline import store
from pipeline.config import ProxyConfig
from pipeline.errors import InputError
from pipeline.proxy.runs import CONFIG_FILE, MODEL_FILE
from pipeline.proxy.shape import Shape, faults_of

FILE_NAME = "tokenizer.json"
DTYPES = ("F32", "F16", "BF16")
MAX_HEADER_BYTES = 100_000_000
"""Source: the limit of the safetensors library."""
MIN_VOCABULARY_SHARE = 0.9
"""Rows of an embedding beyond the tokenizer's vocabulary are padding; this many are another tokenizer's."""


def check_base(config: ProxyConfig) -> None:
    """Refuse a base that proxies cannot start from, by its configuration and the head of its weights; nothing to do without one.

    Raises: InputError naming the folder, what was wanted and what came.
    """
    if config.init_from is None:
        return
    base = read_base_config(config.init_from)
    cut_config(base, config, 0)
    types = {entry["dtype"] for name, entry in _header(config.init_from).items() if not is_buffer(name)}
    if strange := sorted(types - {*DTYPES}):
        raise _refusal(config.init_from, f"weights in {' or '.join(DTYPES)}", ", ".join(strange), "export it in float32 or bfloat16")


def base_digest(config: ProxyConfig) -> str:
    """Return a digest of the base's configuration and weights, whose path alone does not say what is in them; "" without a base."""
    if config.init_from is None:
        return ""
    check_base(config)
    return store.digest_of(*(store.file_digest(f"{config.init_from}/{name}") for name in (CONFIG_FILE, MODEL_FILE)))


def own_files(config: ProxyConfig) -> list[str]:
    """Return the digests of what a configuration of proxies names by path: tokenizer and base, none where neither is.

    Raises: InputError when one of them is missing or cannot be used.
    """
    return [digest for digest in (tokenizer_digest(config), base_digest(config)) if digest]


def tokenizer_digest(config: ProxyConfig) -> str:
    """Return the digest of the user's tokenizer or the base's, "" where one is trained on the corpus.

    Raises: InputError when there is none.
    """
    path = config.tokenizer or config.init_from
    return "" if path is None else store.file_digest(str(find_tokenizer(path)))


def find_tokenizer(path: str | Path) -> Path:
    """Return the path of a `tokenizer.json`, or of the one in a folder.

    Raises: InputError when there is none.
    """
    file = Path(path)
    file = file / FILE_NAME if file.is_dir() else file
    if not file.is_file():
        raise InputError(
            "no tokenizer there",
            where=str(path),
            wanted=f"a {FILE_NAME} of the tokenizers library, or a folder with one",
            do="set proxy.tokenizer to it, or leave it out, and proxy.init_from too, to train one on the corpus",
        )
    return file


def read_base_config(folder: str) -> dict[str, Any]:
    """Read and check config.json of a base.

    Raises: InputError when it is missing, unreadable, or of an architecture that is not spoken here.
    """
    wanted = "config.json of a GPT-NeoX or Llama model, written by save_pretrained"
    try:
        raw = json.loads(Path(folder, CONFIG_FILE).read_bytes())
        faults = faults_of(raw)
        if not faults:
            Shape.of(raw)
    except OSError:
        raise _refusal(folder, wanted, "no such file", "name the folder that holds config.json and model.safetensors") from None
    except (ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
        raise _refusal(folder, wanted, f"{type(error).__name__}: {error}", "export it again with save_pretrained") from None
    if faults:
        raise _refusal(folder, wanted, "; ".join(faults), "choose a base of a plain GPT-NeoX or Llama architecture")
    return dict(raw)


def cut_config(base: Mapping[str, Any], config: ProxyConfig, size: int) -> dict[str, Any]:
    """Return the configuration of one size of the ladder: fewer layers, windows of `config.context`, embeddings of its own at the head.

    Raises: InputError when the base is too shallow for the ladder, or its windows too short.
    """
    depths = layer_counts(base["num_hidden_layers"], config.ladder)
    where = str(config.init_from)
    if depths[0] < 1 or list(depths) != sorted(set(depths)):
        wanted = f"{len(depths)} different depths in the proportions {list(config.ladder)}"
        raise _refusal(where, wanted, f"{base['num_hidden_layers']} layers: {list(depths)}", "choose a deeper base or another proxy.ladder")
    if config.context > base["max_position_embeddings"]:
        raise _refusal(where, f"windows of {config.context} tokens", f"{base['max_position_embeddings']} at most", "lower proxy.context")
    changed = {
        "num_hidden_layers": depths[size],
        "max_position_embeddings": config.context,
        "tie_word_embeddings": False,
        "dtype": "float32",
    }
    return {**{name: value for name, value in base.items() if name != "torch_dtype"}, **changed}


def layer_counts(num_layers: int, ladder: Sequence[float]) -> tuple[int, ...]:
    """Return how many of a base's layers each size keeps."""
    return tuple(round(num_layers * dial / ladder[-1]) for dial in ladder)


def kept_layers(num_layers: int, count: int) -> tuple[int, ...]:
    """Return which of a base's layers stay when `count` do: the first ones and the last."""
    return (*range(count - 1), num_layers - 1)


def check_vocabulary(base: Mapping[str, Any], vocab_size: int, where: str) -> None:
    """Refuse a tokenizer that is not the base's: one with more tokens than embeddings, or with far fewer.

    Raises: InputError with both numbers.
    """
    rows = base["vocab_size"]
    if not MIN_VOCABULARY_SHARE * rows <= vocab_size <= rows:
        raise _refusal(
            where,
            f"a tokenizer of at most {rows:,} tokens, as many as the base has embeddings, and of hardly fewer",
            f"{vocab_size:,} tokens",
            f"put the base's own {FILE_NAME} into its folder, or name it as proxy.tokenizer",
        )


def is_buffer(name: str) -> bool:
    """Say whether a tensor of a checkpoint is one that older exports wrote along, no weight: causal masks and rotary frequencies."""
    return name.endswith((".attention.bias", ".masked_bias", ".inv_freq"))


def _header(folder: str) -> dict[str, dict[str, Any]]:
    """Read the names, types and shapes at the head of model.safetensors, not the weights. Source: the format's own description."""
    wanted, do = f"a whole {MODEL_FILE}, in one file", "export it with save_pretrained(safe_serialization=True, max_shard_size='100GB')"
    try:
        with Path(folder, MODEL_FILE).open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(size, MAX_HEADER_BYTES)))
            return {name: entry for name, entry in header.items() if name != "__metadata__"}
    except OSError:
        raise _refusal(folder, f"{wanted} (pickles such as pytorch_model.bin are never read)", "no such file", do) from None
    except (ValueError, AttributeError) as error:
        raise _refusal(folder, wanted, f"{type(error).__name__}: {error}"[:200], do) from None


def _refusal(folder: str, wanted: str, got: str, do: str) -> InputError:
    return InputError("proxies cannot start from this base", where=f"proxy.init_from: {folder}", wanted=wanted, got=got, do=do)
