"""Warping one mask towards another without changing its topology (Jain et al., CVPR 2010)."""

from functools import cache
from heapq import heappop, heappush

import numpy as np
from numpy.typing import NDArray

# Clockwise from the upper left, sides at odd places. To its neighbor k a pixel is neighbor (k + 4) % 8.
_NEIGHBORS = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))


@cache
def simple_points() -> tuple[bool, ...]:
    """Whether a pixel may change sides without a change of topology, for each of 256 neighborhoods.

    Bit k of the index says whether neighbor k, clockwise from the upper left, belongs to a cell. Cells connect across
    the four sides of a pixel, the background across its corners too. A pixel is simple where its connectivity number
    (Yokoi et al., 1975) is 1: the cells around it then form one component that touches its sides, and the background
    one component, the topological numbers of Bertrand and Malandain (Pattern Recognition Letters 15, 1994).
    """
    rings = [[code >> k & 1 for k in range(8)] for code in range(256)]
    return tuple(
        sum(ring[k] - ring[k] * ring[k + 1] * ring[(k + 2) % 8] for k in range(1, 8, 2)) == 1
        for ring in (ring + ring[:1] for ring in rings)
    )


def warp(mask: NDArray[np.bool_], target: NDArray[np.bool_], gain: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The mask after all changes that bring it nearer to the target and keep its topology.

    The algorithm of the paper, without a limit to how far borders move, as in the ISBI 2012 challenge: of the simple
    points where the two differ the one with the largest gain changes sides, the first in reading order of several,
    until none is left. Beyond the image lies background. O(H W + D log D) for D pixels that differ: each changes sides
    once, and enters the queue at most once for each change around it.

    Args:
        mask: bool (height, width), true in cells.
        target: The same, what to warp to.
        gain: What a change of each pixel is worth, float64 (height, width).

    Returns:
        A new array, bool (height, width).
    """
    width = mask.shape[1] + 2
    padded, wrong = np.pad(mask, 1), np.pad(mask != target, 1)
    codes = np.zeros(padded.shape, np.uint8)
    for k, (down, right) in enumerate(_NEIGHBORS):
        codes |= np.roll(padded, (-down, -right), (0, 1)).astype(np.uint8) << k
    around = codes.ravel().tolist()
    # Pixels that differ go by their rank, the best first: whole numbers make the fastest queue.
    pixels = np.flatnonzero(wrong)
    pixels = pixels[np.argsort(-np.pad(gain, 1).ravel()[pixels], kind="stable")].tolist()
    rank = dict(zip(pixels, range(len(pixels)), strict=True))
    moves = [(down * width + right, 1 << (k + 4) % 8) for k, (down, right) in enumerate(_NEIGHBORS)]
    simple = simple_points()
    queue = [i for i, pixel in enumerate(pixels) if simple[around[pixel]]]  # ascending, hence a heap
    queued = set(queue)
    while queue:
        i = heappop(queue)
        queued.remove(i)
        pixel = pixels[i]
        if not simple[around[pixel]]:
            continue  # it comes back when its neighbors make it simple again
        del rank[pixel]
        for offset, bit in moves:
            neighbor = pixel + offset
            around[neighbor] ^= bit
            j = rank.get(neighbor)
            if j is not None and j not in queued and simple[around[neighbor]]:
                heappush(queue, j)
                queued.add(j)
    left = np.zeros(wrong.size, bool)
    left[list(rank)] = True
    return target ^ left.reshape(wrong.shape)[1:-1, 1:-1]
