"""Draw the picture of U-Net's weight map in the documentation: a mask of cells beside its weights.

    python scripts/draw_weight_map.py docs/images/weight_map.png

The cells are drawn, not taken from any data.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from scipy import ndimage
from scipy.spatial import KDTree

from u2net_hf.data.weight_map import weight_map
from u2net_hf.images.drawing import save_figure
from u2net_hf.utils.console import run_script


def main(output: Annotated[Path, typer.Argument(help="The .png file to be written.")]) -> None:
    """Draw cells, compute their weights, write both side by side."""
    instances = draw_cells()
    weights = weight_map(instances)
    figure = Figure(figsize=(9.6, 4.4), layout="constrained")
    mask_axes, weight_axes = figure.subplots(1, 2)
    mask_axes.imshow(instances, cmap=_cell_colors(int(instances.max())), interpolation="nearest")
    mask_axes.set_title("instance mask")
    shown = weight_axes.imshow(weights, cmap="inferno", interpolation="nearest")
    weight_axes.set_title("weight of each pixel in the loss")
    figure.colorbar(shown, ax=weight_axes, shrink=0.9)
    for axes in (mask_axes, weight_axes):
        axes.set_axis_off()
    save_figure(figure, output, dpi=110)


def draw_cells(size: int = 320, count: int = 60, seed: int = 4) -> np.ndarray:
    """Rounded cells with gaps of many widths between them: the Voronoi cells of random points, shrunk.

    Returns:
        `np.ndarray`: Integers `(size, size)`, 0 = background.
    """
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, size, (count, 2))
    wobble = ndimage.gaussian_filter(rng.normal(0, 90, (2, size, size)), (0, 9, 9))
    places = np.moveaxis(np.mgrid[:size, :size] + wobble, 0, -1)
    distances, nearest = KDTree(points).query(places, k=2)
    gap = rng.uniform(3, 12, count)[nearest[..., 0]]
    inside = (distances[..., 1] - distances[..., 0] > gap) & (distances[..., 0] < 34)
    instances = np.where(ndimage.binary_opening(inside, iterations=4), nearest[..., 0] + 1, 0)
    tiny = np.bincount(instances.ravel()) < 150
    return np.where(tiny[instances], 0, instances)


def _cell_colors(count: int) -> ListedColormap:
    """Black for the background, and a light color for each cell."""
    colors = np.random.default_rng(0).uniform(0.35, 1.0, (count + 1, 3))
    colors[0] = 0
    return ListedColormap(colors)


if __name__ == "__main__":
    run_script(main, __doc__)
