"""Show how the filtered data is used: checked, read, and trained on with the weights and masks that the audit proposes.

The code is printed in the dataset card and run by a test as it stands, but for the folder and the text column's name.
"""

from __future__ import annotations

from pipeline.release.filtering import FilteredData

LOADING = """\
from datasets import load_dataset

rows = load_dataset("THIS_FOLDER", split="train")  # streaming=True reads no more than it needs
"""

WEIGHTING = """\
import torch
from torch.nn.functional import cross_entropy


def weighted_loss(logits, labels, weights):
    \"\"\"Return a batch's loss; logits: (B, T, V), labels: (B, T), -100 where none counts, weights: (B,), the rows' sink_weight.\"\"\"
    targets = labels[:, 1:]
    losses = cross_entropy(logits[:, :-1].transpose(1, 2), targets, ignore_index=-100, reduction="none")
    means = losses.sum(1) / (targets != -100).sum(1).clamp(min=1)
    return (weights * means).mean()  # not over the sum of weights: a row alone in its batch would then count in full


weights = torch.tensor(rows["sink_weight"][:8])
"""

LOSS_MASK = """\
def loss_mask(text, spans, offsets):
    \"\"\"Say of each token whether its loss counts; offsets: each token's first and last character (exclusive) in the text.\"\"\"
    at = [0]  # byte at which each character begins
    for character in text:
        at.append(at[-1] + len(character.encode()))
    return [not any(at[start] < span["end"] and span["start"] < at[end] for span in spans) for start, end in offsets]


row = rows[0]
tokens = tokenizer(row[TEXT], return_offsets_mapping=True)
counts = loss_mask(row[TEXT], row["sink_mask_spans"], tokens["offset_mapping"])
labels = [token if is_counted else -100 for token, is_counted in zip(tokens["input_ids"], counts)]
"""

SINKS = """\
import hashlib

import numpy as np
import torch


def sink_mask(cluster_id, width, key=0):
    \"\"\"Return 1 for each neuron of an MLP that is on: the first 70%, and of the rest the 30% that are the cluster's own.\"\"\"
    general = int(0.7 * width)
    active = round(0.3 * (width - general))
    stream = hashlib.shake_128(key.to_bytes(8, "little") + bytes.fromhex(cluster_id)).digest(8 * (width - general))
    mask = np.zeros(width, dtype=np.float32)
    mask[:general] = 1.0
    mask[general + np.argsort(np.frombuffer(stream, "<u8"), kind="stable")[:active]] = 1.0
    return mask


def show_sinks(model, cluster_ids):
    \"\"\"Multiply each row's MLP activations by its mask (GPT-NeoX or Llama); return the hooks, to be removed after the batch.\"\"\"
    masks = torch.from_numpy(np.stack([sink_mask(cluster_id, model.config.intermediate_size) for cluster_id in cluster_ids]))
    layers = [layer for name, layer in model.named_modules() if name.endswith(("dense_4h_to_h", "down_proj"))]
    return [layer.register_forward_pre_hook(lambda _, inputs: (inputs[0] * masks.to(inputs[0])[:, None],)) for layer in layers]


hooks = show_sinks(model, rows["sink_cluster_id"][:8])
"""


def show_use(filtered: FilteredData, text_column: str) -> list[str]:
    """Return the card's paragraphs on use: what the release's columns ask for, and nothing else."""
    parts = ["## Use", "```\nsinkaudit verify THIS_FOLDER --require pass\n```", f"```python\n{LOADING}```"]
    if "sink_weight" in filtered.columns:
        parts += [
            "Multiply each row's loss by its `sink_weight`, or draw rows in proportion to it; not both. Pack rows into one sequence only "
            "if each token keeps the weight of its row.",
            f"```python\n{WEIGHTING}```",
        ]
    if "sink_mask_spans" in filtered.columns:
        parts += [
            "Masked spans are bytes, tokenizers count characters. A token that touches a masked span is left out of the loss:",
            f"```python\n{LOSS_MASK.replace('TEXT', _literal(text_column))}```",
        ]
    if "sink_cluster_id" in filtered.columns:
        parts += [
            "To train with memorization sinks, so that what one cluster alone needs can be switched off afterwards, give every row of a "
            "batch the neurons of its cluster in each forward pass:",
            f"```python\n{SINKS}```",
        ]
    return parts


def _literal(name: str) -> str:
    """Return a Python string that stays inside its code block: every character but letters and digits is spelled out."""
    return '"' + "".join(letter if letter.isascii() and letter.isalnum() else _spelled(letter) for letter in name) + '"'


def _spelled(letter: str) -> str:
    return letter if letter in "_-. " else f"\\U{ord(letter):08x}"
