"""Objects of blocks are those of the whole map: the oracle is `separate_instances` on all of it at once."""

import numpy as np
import pytest
from cell_models import crowded_cells, same_objects

from u2net_hf.models.unet.instances_unet import InstanceOptions, separate_instances
from u2net_hf.segmentation.blocks import separate_in_blocks
from u2net_hf.segmentation.planes import Plane


def in_blocks(
    foreground: np.ndarray, depth: np.ndarray, options: InstanceOptions, core: int, margin: int
) -> np.ndarray:
    labels = np.zeros(depth.shape, np.uint32)
    planes = (Plane.of(array[None]) for array in (foreground, depth, labels))
    scores = separate_in_blocks(*planes, options, core=core, margin=margin)
    means = [foreground[labels == number].mean() for number in range(1, labels.max() + 1)]
    assert np.allclose(scores, means, atol=1e-6)
    return labels


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("spacing", [9, 14, 30])
def test_blocks_find_the_objects_of_the_whole(seed: int, spacing: int) -> None:
    foreground, depth = crowded_cells(seed, 150, 180, spacing)
    options = InstanceOptions(max_hole_area=12, min_area=5, border=seed % 3, min_prominence=0.1, min_score=0.6)
    whole, _ = separate_instances(foreground, depth, options)
    assert whole.max() > 10
    for core, margin in ((64, 30), (50, 0), (1000, 8)):
        assert same_objects(whole, in_blocks(foreground, depth, options, core, margin))


def test_one_object_larger_than_any_block() -> None:
    foreground = np.zeros((150, 170), np.float32)
    foreground[3:-3, 3:-3] = 1
    foreground[10:-10, 10:-10] = 0  # a ring, whose first pixel is at its corner
    foreground[70:80, 60:100] = 0.9  # and another inside
    options = InstanceOptions()
    whole, _ = separate_instances(foreground, foreground, options)
    assert same_objects(whole, in_blocks(foreground, foreground, options, 40, 4))


def test_nothing_there() -> None:
    empty = np.zeros((90, 33), np.float32)
    assert in_blocks(empty, empty, InstanceOptions(), 32, 16).max() == 0
