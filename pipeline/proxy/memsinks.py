"""A proxy with memorization sinks built in: neurons set aside so that what one text alone needs is stored where it can be switched off.

In every MLP of width I the first 0.7 I neurons are always on. Of the last 0.3 I, the pool, each cluster switches on a fixed random 30%,
the same neurons in every layer: its sinks. In training the activation is multiplied by that mask, without rescaling. Copies share a
cluster and so their sinks; other text shares only a few of them and keeps writing over the rest, so what is repeated settles there.
Source: Ghosal, Maini, Raghunathan 2025, "Memorization Sinks", arXiv 2507.09937, section 4.

The hooks sit on the layer that narrows the MLP again, which has the same name here and in transformers, so they serve both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

GENERAL_SHARE = 0.7
ACTIVE_SHARE = 0.3
NARROWING = ("dense_4h_to_h", "down_proj")

Floats = npt.NDArray[np.float32]


def sink_mask(cluster_id: bytes, width: int, key: int = 0) -> Floats:
    """Return the mask (width,) of a cluster: 1 for the general part and the cluster's sinks, 0 for the sinks of others.

    The sinks are the 30% of the pool with the smallest 64-bit words of SHAKE-128 over key and id: never all, never none.

    Raises: ValueError for a width without room for both.
    """
    general = int(GENERAL_SHARE * width)
    active = round(ACTIVE_SHARE * (width - general))
    if not 0 < active < width - general:
        raise ValueError(f"an MLP of width {width} is too narrow for sinks")
    stream = hashlib.shake_128(key.to_bytes(8, "little") + cluster_id).digest(8 * (width - general))
    mask = np.zeros(width, dtype=np.float32)
    mask[:general] = 1.0
    mask[general + np.argsort(np.frombuffer(stream, "<u8"), kind="stable")[:active]] = 1.0
    return mask


def sink_masks(cluster_ids: Sequence[bytes], width: int, key: int = 0) -> Floats:
    """Return the masks (B, width) of several clusters."""
    known = {cluster_id: sink_mask(cluster_id, width, key) for cluster_id in dict.fromkeys(cluster_ids)}
    return np.stack([known[cluster_id] for cluster_id in cluster_ids])


def general_mask(width: int, factor: float) -> Floats:
    """Return the mask (1, width) with all sinks off and the general part multiplied by a factor."""
    mask = np.zeros((1, width), dtype=np.float32)
    mask[:, : int(GENERAL_SHARE * width)] = factor
    return mask


class SinkGate:
    """Multiply the activations of every MLP of a model by a mask, one row a sequence; a model of ours or of transformers.

    Set `mask` to (B, I), or (1, I) for all alike, before each forward pass; None lets everything through. As a context manager the gate
    takes its hooks away at the end.
    """

    def __init__(self, model: nn.Module) -> None:
        narrowing = [module for name, module in model.named_modules() if name.rsplit(".", 1)[-1] in NARROWING]
        if not narrowing:
            raise ValueError(f"{type(model).__name__} has no MLP that is narrowed by {' or '.join(NARROWING)}")
        first = narrowing[0]
        assert isinstance(first, nn.Linear)
        self.width = first.in_features
        self.mask: Tensor | None = None
        self._handles = [module.register_forward_pre_hook(self._multiply) for module in narrowing]

    def __enter__(self) -> SinkGate:
        """Return the gate."""
        return self

    def __exit__(self, *_: object) -> None:
        """Take the hooks away."""
        for handle in self._handles:
            handle.remove()

    def show(self, masks: Floats) -> None:
        """Set the mask from an array."""
        self.mask = torch.from_numpy(masks)

    def _multiply(self, _module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        if self.mask is None:
            return None
        activation, *rest = inputs
        return (activation * self.mask.to(activation)[:, None], *rest)
