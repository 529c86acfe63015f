"""Small label maps with every kind of mistake, and membranes with noise."""

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]


def boxes(height: int, width: int, *corners: tuple[int, int, int, int]) -> Labels:
    """Rectangles (top, left, bottom, right) numbered from 1; later ones cover earlier ones."""
    labels = np.zeros((height, width), np.int64)
    for number, (top, left, bottom, right) in enumerate(corners, 1):
        labels[top:bottom, left:right] = number
    return labels


def noise(seed: int, height: int = 13, width: int = 17, count: int = 6) -> tuple[Labels, Labels]:
    """Reference and prediction of random rectangles, many of which overlap a little differently."""
    rng = np.random.default_rng(seed)
    true, predicted = np.zeros((2, height, width), np.int64)
    for number in range(1, count + 1):
        top, left = rng.integers(0, (height - 2, width - 2))
        bottom, right = rng.integers(2, 7, 2) + np.array([top, left])
        true[top:bottom, left:right] = number
        box = np.maximum(rng.integers(-1, 2, 4) + np.array([top, left, bottom, right]), 0)
        if rng.random() < 0.85:
            predicted[box[0] : box[2], box[1] : box[3]] = 3 * number  # numbers with gaps
    return true, predicted


EMPTY = np.zeros((9, 11), np.int64)
ONE = boxes(9, 11, (1, 1, 5, 6))

# name: (prediction, reference)
PAIRS: dict[str, tuple[Labels, Labels]] = {
    "perfect": (ONE, ONE),
    "both empty": (EMPTY, EMPTY),
    "nothing predicted": (EMPTY, ONE),
    "nothing there": (ONE, EMPTY),
    "merged": (boxes(8, 12, (1, 1, 6, 11)), boxes(8, 12, (1, 1, 6, 6), (1, 6, 6, 11))),
    "split": (boxes(8, 12, (1, 1, 6, 4), (1, 4, 6, 11)), boxes(8, 12, (1, 1, 6, 11))),
    "exactly half": (boxes(6, 10, (0, 0, 4, 4)), boxes(6, 10, (0, 0, 4, 8))),
    "full": (np.ones((5, 7), np.int64), np.ones((5, 7), np.int64)),
    "one pixel": (np.ones((1, 1), np.int64), np.ones((1, 1), np.int64)),
    **{f"noise {seed}": noise(seed)[::-1] for seed in range(12)},
}


def membranes(seed: int, height: int = 24, width: int = 30) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Probabilities of cells, and the true cells between lines of two pixels."""
    rng = np.random.default_rng(seed)
    true = np.ones((height, width), bool)
    for row in rng.integers(2, height - 3, 2):
        true[row : row + 2] = False
    for column in rng.integers(2, width - 3, 3):
        true[:, column : column + 2] = False
    smooth = true.astype(float)
    smooth[1:-1, 1:-1] = (
        true[:-2, 1:-1] + true[2:, 1:-1] + true[1:-1, :-2] + true[1:-1, 2:] + 2.0 * true[1:-1, 1:-1]
    ) / 6
    return np.clip(smooth + rng.normal(0, 0.2, true.shape), 0, 1).astype(np.float32), true


MEMBRANES = [membranes(seed) for seed in range(4)]
