"""In which order to draw units, so that a picture of them can be read."""

from __future__ import annotations

import numpy as np

__all__ = ["ORDERS", "unit_order"]

ORDERS = ("similarity", "memory", "index")


def unit_order(maps: dict[str, np.ndarray], order: str) -> tuple[int, ...]:
    """Return the units from top to bottom.

    Args:
        maps: Arrays of (T, H) by gate; h may be narrower (a projection) and then keeps its own order.
        order: "similarity": units whose gates and cells move alike stand together. "memory": by mean forget gate, long
            memory on top. "index": as in the weights.

    Raises:
        ValueError: No such order, or "memory" without f.
    """
    if order not in ORDERS:
        raise ValueError(f"order: expected one of {', '.join(map(repr, ORDERS))}, got {order!r}")
    if order == "memory" and "f" not in maps:
        raise ValueError("order='memory': expected f among the recorded gates: trace(..., gates=...) left it out")
    units = max(values.shape[1] for values in maps.values())
    if order == "index" or units < 3 or not any(len(values) for values in maps.values()):
        return tuple(range(units))
    if order == "memory":
        return tuple(np.argsort(-maps["f"].mean(0), kind="stable").tolist())
    return _by_similarity(np.concatenate([v for v in maps.values() if v.shape[1] == units]).T)


def _by_similarity(rows: np.ndarray) -> tuple[int, ...]:
    """Order the rows along the leading pattern of their correlations, then keep neighbours together.

    Spectral seriation (J. E. Atkins, E. G. Boman, B. Hendrickson, "A Spectral Algorithm for Seriation and the
    Consecutive Ones Problem", SIAM Journal on Computing 28(1), 1998): the Fiedler vector of the similarity graph.
    """
    rows = np.nan_to_num(rows.astype(np.float64))
    rows = rows - rows.mean(1, keepdims=True)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    rows = rows / np.where(norms > 0, norms, 1)
    similarity = 1 + rows @ rows.T
    laplacian = np.diag(similarity.sum(1)) - similarity
    _, vectors = np.linalg.eigh(laplacian)
    fiedler = vectors[:, 1]
    # An eigenvector has no sign of its own: unit 0 stands in the upper half.
    fiedler = fiedler if fiedler[0] <= np.median(fiedler) else -fiedler
    return tuple(np.argsort(fiedler, kind="stable").tolist())
