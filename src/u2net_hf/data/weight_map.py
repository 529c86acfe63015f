"""The weight map of the U-Net paper: how much each pixel counts in the loss.

Ronneberger, Fischer, Brox: U-Net: Convolutional Networks for Biomedical Image Segmentation, MICCAI 2015, equation 2:

    w(x) = w_c(x) + w0 * exp(-(d1(x) + d2(x))² / (2 sigma²))

w_c balances the classes; d1 and d2 are the distances from x to the border of the nearest and the second nearest cell,
so that the narrow gaps between cells weigh most.
"""

import math
from collections.abc import Iterator

import numpy as np


def weight_map(
    instances: np.ndarray,
    w0: float = 10.0,
    sigma: float = 5.0,
    class_weights: tuple[float, float] | None = None,
    within_cells: bool = False,
) -> np.ndarray:
    """Compute the weight map from a mask of instances.

    Distances are from pixel center to the center of the cell's nearest pixel, so the pixel beside a cell has distance
    1. The second term is for the background, which the gaps are made of; within cells (unless asked for there), and
    where there are fewer than two cells, it is 0. It is left out where it is below 1e-8.

    Args:
        instances: Integers `(H, W)`: 0 = background, each cell a number of its own.
        w0: Weight of the gap term.
        sigma: Width of the gap term in pixels.
        class_weights: Weights w_c of background and cell. By default those that give both classes the same sum and
            all pixels a mean of 1.
        within_cells: Whether the second term is for the pixels of cells too (there d1 is 0 and d2 the distance to the
            nearest other cell): so it marks the border of cells without a gap between them.

    Returns:
        `np.ndarray`: float32 `(H, W)`.

    Raises:
        ValueError: If `instances` are not integers of shape `(H, W)`, or `sigma` is not positive.
    """
    check_instances(instances)
    if sigma <= 0:
        raise ValueError(f"`sigma` must be positive, got {sigma}.")
    background, cell = balanced_weights(instances > 0) if class_weights is None else class_weights
    weights = np.where(instances > 0, cell, background)
    if w0 > 0:
        reach = sigma * math.sqrt(max(0.0, 2 * math.log(w0 / 1e-8)))
        nearest, second = two_nearest_distances(instances, reach)
        gap = w0 * np.exp(-((nearest + second) ** 2) / (2 * sigma**2))
        weights = weights + (gap if within_cells else np.where(instances > 0, 0.0, gap))
    return weights.astype(np.float32)


def balanced_weights(cells: np.ndarray) -> tuple[float, float]:
    """Weights of background and cell that give both classes the same sum, with a mean of 1 over all pixels.

    A class that does not occur gets the weight 1, as does the other one then.
    """
    share = float(np.mean(cells))
    return (0.5 / (1 - share), 0.5 / share) if 0 < share < 1 else (1.0, 1.0)


def two_nearest_distances(instances: np.ndarray, reach: float = math.inf) -> tuple[np.ndarray, np.ndarray]:
    """Distances of each pixel to the nearest and the second nearest cell, exact up to `reach`.

    Each cell needs an exact Euclidean distance transform (scipy) only of its surroundings, up to `reach` pixels.

    Returns:
        Two float64 arrays `(H, W)`, in pixels; infinite where no such cell is within reach.
    """
    from scipy import ndimage

    nearest = np.full(instances.shape, np.inf)
    second = np.full(instances.shape, np.inf)
    margin = math.ceil(min(reach, max(instances.shape)))
    for around, inside in each_instance(instances, margin):
        distance = ndimage.distance_transform_edt(~inside)
        distance[distance > reach] = np.inf
        second[around] = np.minimum(second[around], np.maximum(nearest[around], distance))
        nearest[around] = np.minimum(nearest[around], distance)
    return nearest, second


def check_instances(instances: np.ndarray) -> None:
    """Refuse what is no map of instances.

    Raises:
        ValueError: If `instances` are not integers of shape `(H, W)`.
    """
    if instances.ndim != 2 or instances.dtype.kind not in "iu":
        raise ValueError(f"`instances` must be integers (H, W), got {instances.dtype} {instances.shape}.")


def each_instance(instances: np.ndarray, margin: int) -> Iterator[tuple[tuple[slice, ...], np.ndarray]]:
    """The box of each instance, grown by a margin within the image, and which pixels in it are its own."""
    from scipy import ndimage

    if instances.max(initial=0) > instances.size:  # find_objects counts up to the largest
        instances = np.unique(np.append(0, instances), return_inverse=True)[1][1:].reshape(instances.shape)
    instances = instances.astype(np.intp)
    for label, box in enumerate(ndimage.find_objects(instances), start=1):
        if box is not None:
            around = tuple(slice(max(0, side.start - margin), side.stop + margin) for side in box)
            yield around, instances[around] == label


def instances_from_mask(mask: np.ndarray) -> np.ndarray:
    """Number the cells of a mask in which they do not touch, such as ISBI 2012: cell = true, membrane = false.

    Args:
        mask: bool `(H, W)`. Pixels that meet only at a corner belong to different cells.

    Returns:
        `np.ndarray`: int32 `(H, W)`, 0 = background, cells 1, 2, ...
    """
    from scipy import ndimage

    return ndimage.label(mask)[0]
