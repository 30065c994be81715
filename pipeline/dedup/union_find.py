"""Connected components of an undirected graph, compiled."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

Indices = npt.NDArray[np.int64]


@njit(cache=True, nogil=True)
def connect(num_nodes: int, ends_a: Indices, ends_b: Indices) -> Indices:
    """Return for every node the smallest node of its component; nodes are 0 .. num_nodes - 1, edge i joins ends_a[i] and ends_b[i]."""
    parent = np.arange(num_nodes)
    for edge in range(len(ends_a)):
        a, b = ends_a[edge], ends_b[edge]
        while parent[a] != a:
            parent[a] = parent[parent[a]]
            a = parent[a]
        while parent[b] != b:
            parent[b] = parent[parent[b]]
            b = parent[b]
        # the smaller becomes the root, so a parent is never larger than its child
        parent[max(a, b)] = min(a, b)
    for node in range(num_nodes):
        parent[node] = parent[parent[node]]
    return parent
