"""From what a U-Net says of every pixel to objects: which pixels belong together, also where objects touch.

The labels of a network for objects are levels of depth: 0 is background, then come the levels from the rim of an
object to its core. Depth is a share of the object's own, so small and large objects look alike. Where two of them
touch, both have a rim: the expected depth has a valley there, and a watershed (Beucher and Lantuéjoul, 1979) from its
summits finds it. A summit must stand out of the valleys around it by `min_prominence` (an h-maximum: Soille,
"Morphological Image Analysis", 2003, section 6.3), or it is no object of its own.
"""

from dataclasses import dataclass

import numpy as np

# Of the heights at which the depth is flooded, see `_summits`.
STEP = 0.025
UNAVAILABLE = "instances need other packages: pip install 'u2net-hf[cells]' (or scikit-image alone)"


@dataclass(frozen=True)
class InstanceOptions:
    """How objects are made of the maps of a network.

    Args:
        mask_threshold: Pixels are part of an object above this probability of not being background.
        min_prominence: By how much the depth of an object, which is 1 at most, exceeds that of the way to any deeper
            one. Lower it where touching objects stay together, raise it where objects break apart.
        smoothing: Standard deviation in pixels of a Gaussian over the depth before summits are sought; 0 for none.
        min_score: Objects are left out whose mean probability of not being background is not above this.
        min_area: Objects of fewer pixels are left out.
        max_hole_area: Holes in an object of up to so many pixels are filled.
        border: Objects that come nearer to the image's border than so many pixels are left out; 0 keeps all.

    Raises:
        ValueError: If an option is out of its range.
    """

    mask_threshold: float = 0.5
    min_prominence: float = 0.3
    smoothing: float = 1.0
    min_score: float = 0.75
    min_area: int = 10
    max_hole_area: int = 50
    border: int = 0

    def __post_init__(self) -> None:
        for name in ("mask_threshold", "min_prominence", "min_score"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 0 and below 1, got {getattr(self, name)}.")
        for name in ("smoothing", "min_area", "max_hole_area", "border"):
            if getattr(self, name) < 0:
                raise ValueError(f"`{name}` must not be negative, got {getattr(self, name)}.")


def expected_depth(probabilities: np.ndarray) -> np.ndarray:
    """The mean of the levels' depths, weighted by their probabilities.

    Args:
        probabilities: `(num_labels, height, width)`: of the background, then of the levels from the rim to the core. A
            single one is the probability of the object.

    Returns:
        float32 `(height, width)` in [0, 1]: 0 is background, 1 the core of an object. With two labels it is the
        probability of the object.
    """
    levels = probabilities if len(probabilities) == 1 else probabilities[1:]
    depths = np.linspace(1 / len(levels), 1, len(levels), dtype=np.float32)
    return np.tensordot(depths, levels.astype(np.float32, copy=False), axes=1)


def separate_instances(
    foreground: np.ndarray, depth: np.ndarray, options: InstanceOptions
) -> tuple[np.ndarray, np.ndarray]:
    """Number the objects of an image.

    Args:
        foreground: Probability of not being background, `(height, width)`.
        depth: Expected depth, `(height, width)` in [0, 1], see `expected_depth`.
        options: How to.

    Returns:
        int32 `(height, width)`, 0 = background, objects 1, 2, ... without a gap; and the score of each object, its
        mean `foreground`.

    Raises:
        ImportError: If scikit-image or scipy is not installed.
    """
    try:
        from scipy import ndimage
        from skimage.morphology import remove_small_holes
        from skimage.segmentation import watershed
    except ImportError as error:
        raise ImportError(UNAVAILABLE) from error
    mask = foreground > options.mask_threshold
    if options.max_hole_area:
        mask = remove_small_holes(mask, max_size=options.max_hole_area)
    if options.smoothing:
        depth = ndimage.gaussian_filter(depth, options.smoothing)
    depth = np.where(mask, depth, 0).astype(np.float32)
    labels = watershed(-depth, _summits(depth, options.min_prominence), mask=mask).astype(np.int32)
    areas = np.bincount(labels.ravel())
    scores = np.bincount(labels.ravel(), weights=foreground.ravel()) / np.maximum(areas, 1)
    inside = tuple(slice(options.border, length - options.border) for length in labels.shape)
    return select_instances(labels, scores, areas > 0, inside, options)


def select_instances(
    labels: np.ndarray, scores: np.ndarray, kept: np.ndarray, inside: tuple[slice, ...], options: InstanceOptions
) -> tuple[np.ndarray, np.ndarray]:
    """Number those of the `kept` objects anew that are large, sure and `inside`; and their scores.

    `scores` and `kept` begin with those of the background.
    """
    kept = kept & (np.bincount(labels.ravel()) >= options.min_area) & (scores > options.min_score)
    kept &= ~labels_outside(labels, inside)
    kept[0] = False
    return np.where(kept, np.cumsum(kept), 0).astype(np.int32)[labels], scores[kept]


def labels_outside(labels: np.ndarray, inside: tuple[slice, ...]) -> np.ndarray:
    """Which labels, background first, have pixels outside a rectangle."""
    outer = np.ones(labels.shape, bool)
    outer[inside] = False
    return np.bincount(labels[outer], minlength=labels.max(initial=0) + 1) > 0


def _summits(depth: np.ndarray, prominence: float) -> np.ndarray:
    """Number the maxima that stand out by `prominence` of the way to any higher one, and of the background.

    The image is drained from the top down: a lake that joins one with a higher summit too early has none. Valleys are
    seen to within `STEP`.
    """
    from scipy import ndimage

    tops = ndimage.label((depth == ndimage.maximum_filter(depth, 3)) & (depth > prominence), np.ones((3, 3)))[0]
    pixels = np.flatnonzero(tops)
    places = pixels[np.unique(tops.flat[pixels], return_index=True)[1]]
    places = places[np.argsort(-depth.flat[places], kind="stable")]
    shores = np.arange(1 - STEP, -STEP / 2, -STEP)[::-1]
    levels = np.searchsorted(np.maximum(shores, 0), depth).astype(np.uint8)
    heights = np.append(-np.inf, shores)  # of the levels: 0, the background, joins nothing
    kept = places[depth.flat[places] - heights[_joins(places, levels)] >= prominence]
    summits = np.zeros(depth.shape, np.int32)
    summits.flat[kept] = np.arange(1, len(kept) + 1)
    return summits


def _joins(places: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """The level at which each place, the highest first, is connected to one before it on the way down; 0 for never.

    Where every maximum has its basin, the passes between neighboring basins are all that there are (Najman and
    Couprie, "Watershed algorithms and contrast preservation", 2003). Taken from the highest down, each joins two lakes
    (Kruskal, 1956).
    """
    from scipy import ndimage
    from skimage.morphology import local_maxima
    from skimage.segmentation import watershed

    maxima, count = ndimage.label(local_maxima(levels, connectivity=1))
    basins = watershed(-levels.astype(np.int16), maxima, mask=levels > 0)
    # A lake has the number of its first place, or a later one if it has none.
    lakes = np.arange(count + 1) + len(places)
    np.minimum.at(lakes, basins.flat[places], np.arange(len(places)))
    own = levels.flat[places]
    joins = own.copy()
    joins[lakes[lakes < len(places)]] = 0
    into = list(range(len(places) + count + 1))
    for level, one, other in _passes(lakes[basins], levels):
        first, later = sorted((_follow(into, one), _follow(into, other)))
        into[later] = first
        if first < later < len(places):
            joins[later] = level
    return np.minimum(joins, own)


def _passes(lakes: np.ndarray, levels: np.ndarray) -> list[list[int]]:
    """Level of the lower pixel, and the two lakes, wherever lakes touch across pixel sides: the highest first."""
    found = []
    for to, of in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        heights = np.minimum(levels[to], levels[of])
        touching = (lakes[to] != lakes[of]) & (heights > 0)
        found.append(np.stack((heights[touching], lakes[to][touching], lakes[of][touching])))
    passes: list[list[int]] = np.unique(np.concatenate(found, axis=1), axis=1).T[::-1].tolist()
    return passes


def _follow(into: list[int], lake: int) -> int:
    """The lake that a lake has become part of."""
    while into[lake] != lake:
        into[lake] = lake = into[into[lake]]
    return lake


__all__ = ["InstanceOptions", "expected_depth", "labels_outside", "select_instances", "separate_instances"]
