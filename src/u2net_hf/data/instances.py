"""What a network learns of label images: levels of depth, by which touching objects can be told apart."""

import numpy as np

from .weight_map import check_instances, each_instance


def depth_levels(instances: np.ndarray, num_levels: int, rim: float = 0.0) -> np.ndarray:
    """Give each pixel its level of depth in its object.

    The depth of a pixel is its distance, from center to center, to the nearest pixel that is not of its object,
    divided by the largest such distance in the object. The border of the image is none of the object: that goes on.

    Args:
        instances: Integers `(H, W)`: 0 = background, each object a number of its own. Objects may touch.
        num_levels: Number of levels; with 1 all objects are one class.
        rim: If above 0, the first level are the pixels up to this distance in pixels, and the others share the rest.

    Returns:
        uint8 `(H, W)`: 0 = background, 1 = the rim, `num_levels` = the core. Each object has pixels of the last level.

    Raises:
        ValueError: If `instances` are not integers of shape `(H, W)`, or `num_levels` is not between 1 and 254.
    """
    from scipy import ndimage

    check_instances(instances)
    if not 1 <= num_levels <= 254:
        raise ValueError(f"`num_levels` must be between 1 and 254, got {num_levels}.")
    levels = np.zeros(instances.shape, np.uint8)
    for around, inside in each_instance(instances, margin=1):
        if inside.all():  # the object is the image: nothing tells how deep it is
            levels[around] = num_levels
            continue
        distance = ndimage.distance_transform_edt(inside)[inside]
        levels[around][inside] = _levels(distance, num_levels, rim)
    return levels


def _levels(distance: np.ndarray, num_levels: int, rim: float) -> np.ndarray:
    """The levels of an object's pixels by their distances."""
    deepest = distance.max()
    first = 1 if rim > 0 and num_levels > 1 else 0
    share = (distance - rim * first) / max(deepest - rim * first, 1e-9)
    level = first + np.ceil(share * (num_levels - first) - 1e-9)
    return np.where(distance == deepest, num_levels, np.clip(level, 1, num_levels))
