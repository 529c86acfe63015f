"""The measures of the salient-object papers, each a pure function of one `Pair` of map S and mask G.

A map is compared as it is. The authors' tool divides each map by its maximum and PySODMetrics stretches it to [0, 1]:
do that first to reproduce them on maps that do not reach 0 and 255.

Edges:

- Precision is 0 where nothing is predicted, recall is 0 for an empty mask, and F is 0 where either is 0. So an empty
  mask gives 0 in every F-measure but the relaxed one.
- Relaxed boundary F, IoU and Dice are 1 if map and mask both have nothing (no boundary, no pixel) to compare.
- S-measure: 1 - mean(S) for an empty mask, mean(S) for a full one. A block or side on which the map is constant has
  no spread.
- E-measure: the share of pixels not predicted for an empty mask, the share predicted for a full one.
- An all-zero map has the adaptive threshold 0, by which every pixel is predicted, as in the published code.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .pair import Pair

# The published MATLAB and Python code adds it to denominators; small regions feel it, so it belongs to the definition.
EPS = float(np.finfo(np.float64).eps)


def mae(pair: Pair) -> float:
    """Mean absolute error, mean |S - G|, in [0, 1], 0 is best (Perazzi et al., Saliency filters, CVPR 2012).

    Float maps are not quantized.
    """
    background, foreground = pair.sums
    return (background + pair.foreground - foreground) / pair.size


def f_beta(precision: ArrayLike, recall: ArrayLike, beta2: float = 0.3) -> NDArray[np.float64]:
    """F-measure (1 + beta2) P R / (beta2 P + R), in [0, 1], 0 where P or R is 0 (Achanta et al., CVPR 2009)."""
    p, r = np.asarray(precision, np.float64), np.asarray(recall, np.float64)
    product = p * r
    return (1 + beta2) * product / np.where(product == 0, 1.0, beta2 * p + r)


def precision_recall(pair: Pair) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Precision and recall at the 256 thresholds: entry t counts the pixels of level t and above as foreground.

    From one joint histogram of the map's 8-bit levels and the mask. measures.py of the authors' tool (xuebinqin/
    Binary-Segmentation-Evaluation-Tool) has 255 thresholds: it joins levels 0 and 1, so it lacks our entry 1. It also
    adds 1e-8 to each denominator.
    """
    true_positives, predicted = pair.overlaps
    return true_positives / np.maximum(predicted, 1), true_positives / max(pair.foreground, 1)


def adaptive_precision_recall(pair: Pair) -> tuple[float, float]:
    """Precision and recall where S >= min(2 mean(S), 1), the adaptive threshold (Achanta et al., CVPR 2009)."""
    true_positives, predicted = pair.adaptive_overlap
    return true_positives / max(predicted, 1), true_positives / max(pair.foreground, 1)


def e_curve(pair: Pair) -> NDArray[np.float64]:
    """E-measure at the 256 thresholds, each in [0, N / (N - 1)] for N pixels (Fan et al., IJCAI 2018).

    Sum of (1 + 2ab / (a² + b²))² / 4 over the pixels, divided by N - 1 as in the published code, with a and b the
    binary map and the mask, each less its mean.
    """
    return _enhanced_alignment(*pair.overlaps, pair.foreground, pair.size)


def adaptive_e(pair: Pair) -> float:
    """E-measure where S >= min(2 mean(S), 1), in [0, N / (N - 1)] for N pixels (Fan et al., IJCAI 2018)."""
    true_positives, predicted = (np.asarray(count) for count in pair.adaptive_overlap)
    return float(_enhanced_alignment(true_positives, predicted, pair.foreground, pair.size))


def s_measure(pair: Pair, alpha: float = 0.5) -> float:
    """Structure measure alpha S_object + (1 - alpha) S_region, in [0, 1], 1 is best (Fan et al., ICCV 2017).

    S_object compares S with 1 on the object and 1 - S with 1 beside it: 2 mean / (mean² + 1 + deviation), weighted by
    area. S_region is the structural similarity (SSIM) on the four blocks around the mask's centroid, weighted by area;
    a block without pixels (a centroid in the last row or column) counts nothing. Float maps are not quantized.
    """
    if pair.foreground in (0, pair.size):
        mean = sum(pair.sums) / pair.size
        return mean if pair.foreground else 1 - mean
    blocks = _block_moments(pair)
    region = sum(_similarity(*block) * (block[0][0] + block[1][0]) for block in blocks) / pair.size
    inside = _object_score(*_pooled([block[1] for block in blocks]))
    count, mean, spread = _pooled([block[0] for block in blocks])
    outside = _object_score(count, 1 - mean, spread)
    share = pair.foreground / pair.size
    return max(0.0, alpha * (inside * share + outside * (1 - share)) + (1 - alpha) * region)


def weighted_f(pair: Pair) -> float:
    """Weighted F-measure with beta = 1, in [0, 1], 1 is best (Margolin et al., CVPR 2014).

    F of weighted true and false positives. The error |S - G| of an object pixel is at most its mean under a 7x7
    Gaussian with sigma 5, beyond the image being 0 as in the published code; the error of another pixel is weighted
    by 2 - 0.5^(d / 5), d being its distance to the object. Float maps are not quantized. Needs SciPy, for its exact
    distance transform.
    """
    if not pair.foreground:
        return 0.0
    predicted = pair.map > 0
    box = _bounding_box(predicted | pair.mask, margin=3)  # beyond it map and error are 0
    mask = pair.mask[box]
    squared_distance, near, nearest = _distance_transform(mask)
    complement = 1 - pair.values[box]  # the error on the object
    outside = predicted[box] & ~mask
    importance = 2 - np.exp(math.log(0.5) / 5 * np.sqrt(squared_distance[outside]))
    false_positives = float(((1 - complement[outside]) * importance).sum())
    object_errors = _dependent_errors(complement, near, nearest, mask)
    true_positives = pair.foreground - float(object_errors.sum())
    precision = true_positives / (true_positives + false_positives + EPS)
    recall = true_positives / pair.foreground
    return 2 * precision * recall / (precision + recall + EPS)


def relaxed_f(pair: Pair, threshold: float = 0.5, rho: int = 3) -> float:
    """Relaxed boundary F-measure with beta² = 0.3, in [0, 1] (Qin et al., BASNet, CVPR 2019; U²-Net, 2020).

    The boundary is the binary mask XOR itself eroded by a cross of 3x3; the image's edge is no boundary (as
    scikit-image erodes, which the authors use). Precision is the share of the map's boundary within `rho` pixels
    (Euclidean) of the mask's boundary, recall the reverse.
    """
    drawn, true = _boundary(pair.binarise(threshold)), _boundary(pair.mask)
    n_drawn, n_true = int(np.count_nonzero(drawn)), int(np.count_nonzero(true))
    if n_drawn == n_true == 0:
        return 1.0
    precision = np.count_nonzero(drawn & _within(true, rho)) / max(n_drawn, 1)
    recall = np.count_nonzero(true & _within(drawn, rho)) / max(n_true, 1)
    return float(f_beta(precision, recall))


def iou(pair: Pair, threshold: float = 0.5) -> float:
    """Intersection over union (Jaccard index) of the binary map and the mask, in [0, 1]; 1 if both are empty."""
    true_positives, predicted = pair.overlap(threshold)
    union = predicted + pair.foreground - true_positives
    return true_positives / union if union else 1.0


def dice(pair: Pair, threshold: float = 0.5) -> float:
    """Dice coefficient (F1) of the binary map and the mask, in [0, 1]; 1 if both are empty."""
    true_positives, predicted = pair.overlap(threshold)
    total = predicted + pair.foreground
    return 2 * true_positives / total if total else 1.0


def _enhanced_alignment(
    true_positives: NDArray[np.int64], predicted: NDArray[np.int64], foreground: int, size: int
) -> NDArray[np.float64]:
    """Mean of the enhanced alignment matrix, which has one value for each of the four kinds of pixels."""
    if foreground == 0:
        total = (size - predicted).astype(np.float64)
    elif foreground == size:
        total = predicted.astype(np.float64)
    else:
        total = np.zeros(predicted.shape)
        for in_map, in_mask, count in (
            (1, 1, true_positives),
            (1, 0, predicted - true_positives),
            (0, 1, foreground - true_positives),
            (0, 0, size - predicted - foreground + true_positives),
        ):
            a, b = in_map - predicted / size, in_mask - foreground / size
            total += (2 * a * b / (a * a + b * b + EPS) + 1) ** 2 / 4 * count
    return total / max(size - 1, 1)


Moments = tuple[int, float, float]  # number of values, their mean, the sum of squared deviations from it


def _block_moments(pair: Pair) -> list[list[Moments]]:
    """Moments of background and foreground in each of the four blocks."""
    if pair.map.dtype != np.uint8:
        y, x = pair.center
        blocks = (np.s_[:y, :x], np.s_[:y, x:], np.s_[y:, :x], np.s_[y:, x:])
        sides = (~pair.mask, pair.mask)
        return [[_moments(pair.map[block][side[block]]) for side in sides] for block in blocks]
    powers = np.arange(256)[:, None] ** np.arange(3)  # whole numbers, hence exact
    return [
        [(n, s / (255 * n), (n * ss - s * s) / (255 * 255 * n)) if n else (0, 0.0, 0.0) for n, s, ss in block]
        for block in (pair.block_histograms @ powers).tolist()
    ]


def _moments(values: NDArray[np.float64]) -> Moments:
    if not values.size:
        return 0, 0.0, 0.0
    if values.min() == values.max():  # rounding must not give a constant part a spread: S would jump from 1 to 0
        return values.size, float(values[0]), 0.0
    mean = values.mean()
    return values.size, float(mean), float(np.square(values - mean).sum())


def _pooled(parts: list[Moments]) -> Moments:
    """Moments of the union of disjoint parts, of which one must have values."""
    parts = [part for part in parts if part[0]]
    if len(parts) == 1:
        return parts[0]
    count = sum(n for n, _, _ in parts)
    mean = sum(n * m for n, m, _ in parts) / count
    return count, mean, sum(s + n * (m - mean) ** 2 for n, m, s in parts)


def _object_score(count: int, mean: float, spread: float) -> float:
    """Similarity to 1 of the values on one side of the mask."""
    deviation = math.sqrt(spread / (count - 1)) if count > 1 else 0.0
    return 2 * mean / (mean * mean + 1 + deviation)


def _similarity(background: Moments, foreground: Moments) -> float:
    """Structural similarity (SSIM without constants) of map and binary mask over one block, from its two sides."""
    count = background[0] + foreground[0]
    if not count:
        return 0.0
    freedom = max(count - 1, 1)
    _, mean, spread = _pooled([background, foreground])
    share = foreground[0] / count
    between = background[0] * foreground[0] / count  # the mask's own sum of squared deviations
    covariance = between * (foreground[1] - background[1]) / freedom
    numerator = 4 * mean * share * covariance
    denominator = (mean * mean + share * share) * (spread + between) / freedom
    if numerator == 0:
        return float(denominator == 0)
    return numerator / (denominator + EPS)


def _distance_transform(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    """Squared distance to the object; flat indices of pixels around it and of the object pixels nearest to them."""
    from scipy import ndimage

    down, right = ndimage.distance_transform_edt(~mask, return_distances=False, return_indices=True)
    down -= np.arange(mask.shape[0], dtype=down.dtype)[:, None]
    right -= np.arange(mask.shape[1], dtype=right.dtype)
    squared = down * down
    squared += right * right
    near = np.flatnonzero((squared > 0) & (squared <= 3 * 3 + 3 * 3))  # all that a 7x7 window on the object can see
    return squared, near, near + down.ravel()[near] * mask.shape[1] + right.ravel()[near]


def _dependent_errors(
    error: NDArray[np.float64], near: NDArray[np.int64], nearest: NDArray[np.int64], mask: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Errors of the object's pixels, made smaller where their neighbors do better."""
    from scipy import ndimage

    flat = error.ravel()
    flat[near] = flat[nearest]  # the object's border is not blamed for what lies beyond it
    window = np.exp(-(np.arange(-3, 4) ** 2) / 50.0)
    smooth = ndimage.correlate1d(error, window / window.sum(), axis=0, mode="constant")
    ndimage.correlate1d(smooth, window / window.sum(), axis=1, mode="constant", output=smooth)
    return np.minimum(error, smooth, out=smooth)[mask]


def _bounding_box(where: NDArray[np.bool_], margin: int) -> tuple[slice, slice]:
    """Smallest box around the true pixels, of which there must be one, grown by a margin within the image."""
    rows, columns = np.flatnonzero(where.any(axis=1)), np.flatnonzero(where.any(axis=0))
    return (
        slice(max(int(rows[0]) - margin, 0), int(rows[-1]) + margin + 1),
        slice(max(int(columns[0]) - margin, 0), int(columns[-1]) + margin + 1),
    )


def _boundary(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels of the mask with a neighbor, up, down, left or right, outside it; there is nothing beyond the image."""
    inside = mask.copy()
    inside[1:] &= mask[:-1]
    inside[:-1] &= mask[1:]
    inside[:, 1:] &= mask[:, :-1]
    inside[:, :-1] &= mask[:, 1:]
    return mask ^ inside


def _within(points: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    """Pixels at most `radius` from a point: a disk is a stack of rows, the widest in its middle."""
    near = np.zeros_like(points)
    wide, half_width, height = points, 0, points.shape[0]
    for dy in range(min(radius, height - 1), -1, -1):
        while half_width < math.isqrt(radius * radius - dy * dy):
            grown = wide.copy()
            grown[:, 1:] |= wide[:, :-1]
            grown[:, :-1] |= wide[:, 1:]
            wide, half_width = grown, half_width + 1
        near[dy:] |= wide[: height - dy]
        near[: height - dy] |= wide[dy:]
    return near
