"""Connected components of a graph whose edges may not fit into memory.

Where they fit, scipy finds the components. Where they do not, "large star" and "small star" alternate (Kiveris et al.,
"Connected Components in MapReduce and Beyond", SoCC 2014): each is one sorting of the edges, after which every node is
tied to the lowest of its neighbours, until each component is a star around its lowest node.
"""

from __future__ import annotations

import numpy as np

from data_pipeline.base.sorting import Sorter, Space, numbers, pack, starts_of_groups

_EDGE_BYTES = 160
"""Memory that an edge takes while scipy finds components."""


def components(edges: Sorter, space: Space) -> Sorter:
    """Records (label, node) of all nodes of `edges`, which are records (node, node); the label is the lowest node."""
    result = space.sorter(16, unique=True)
    if edges.added * _EDGE_BYTES <= space.memory // 2:
        for label, node in _in_memory(edges):
            result.add(pack(label, node))
        return result
    stars = _stars(edges, space)
    for records in stars.chunks():
        root, leaf = numbers(records, 8), numbers(records, 0)
        result.add(pack(root, leaf))
        result.add(pack(root, root))
    stars.close()
    return result


def _in_memory(edges: Sorter) -> list[tuple[np.ndarray, np.ndarray]]:
    pieces = list(edges.chunks())
    if not pieces:
        return []
    records = np.concatenate(pieces)
    nodes, ends = np.unique(np.concatenate([numbers(records, 0), numbers(records, 8)]), return_inverse=True)
    left, right = ends[: len(records)], ends[len(records) :]
    from scipy.sparse import coo_array  # a quarter second to import, in every worker, and needed once at the end
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(left), dtype=bool), (left, right)), shape=(len(nodes),) * 2)
    labels = connected_components(graph, directed=False)[1]
    _, lowest = np.unique(labels, return_index=True)  # nodes ascend, so the first of a label is its lowest
    return [(nodes[lowest[labels]], nodes)]


def _stars(edges: Sorter, space: Space) -> Sorter:
    """Records (leaf, root) of the components."""
    current, before = edges, -1
    while True:
        large = _large_star(current, space)
        if current is not edges:
            current.close()
        current = _small_star(large, space)
        large.close()
        after = _checksum(current)
        if after == before:
            return current
        before = after


def _large_star(edges: Sorter, space: Space) -> Sorter:
    """Tie the neighbours above each node to the lowest among the node and its neighbours."""
    both = space.sorter(16, unique=True)
    for records in edges.chunks():
        both.add(records)
        both.add(np.concatenate([records[:, 8:], records[:, :8]], axis=1))
    result = space.sorter(16, unique=True)
    node = lowest = np.empty(0, dtype=np.int64)  # of the group that the last piece ended in
    for records in both.chunks():
        u, v = numbers(records, 0), numbers(records, 8)
        first = starts_of_groups(u)
        least = np.minimum(u, v)[first]
        if len(node) and u[0] == node[0]:
            least[0] = lowest[0]
        target = least[np.cumsum(first) - 1]
        above = v > u
        result.add(pack(v[above], target[above]))
        node, lowest = u[-1:], target[-1:]
    both.close()
    return result


def _small_star(edges: Sorter, space: Space) -> Sorter:
    """Tie each node and its neighbours below it to the lowest of them; `edges` are records (node, lower node)."""
    result = space.sorter(16, unique=True)
    node = lowest = np.empty(0, dtype=np.int64)
    for records in edges.chunks():
        u, v = numbers(records, 0), numbers(records, 8)
        first = starts_of_groups(u)
        least = v[first]
        if len(node) and u[0] == node[0]:
            least[0] = lowest[0]
        target = least[np.cumsum(first) - 1]
        other = v != target
        result.add(pack(v[other], target[other]))
        result.add(pack(u, target))
        node, lowest = u[-1:], target[-1:]
    return result


def _checksum(edges: Sorter) -> int:
    """A hash of the set of edges."""
    total = 0
    for records in edges.chunks():
        value = numbers(records, 0).view(np.uint64) * np.uint64(0x9E37_79B9_7F4A_7C15)
        value = (value ^ (value >> np.uint64(31))) + numbers(records, 8).view(np.uint64)
        value *= np.uint64(0xD6E8_FEB8_6659_FD93)
        total += int((value ^ (value >> np.uint64(32))).sum(dtype=np.uint64))
    return total % 2**64
