"""Tables, overlays and label files: the oracles are sums done by hand, scikit-image and tifffile as readers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from cell_models import bright_cells
from PIL import Image
from skimage import io as skimage_io
from skimage.measure import regionprops

from u2net_hf.images.files import ImageError
from u2net_hf.segmentation import planes
from u2net_hf.segmentation.overlays import CONTOUR, draw_overlay
from u2net_hf.segmentation.planes import Plane
from u2net_hf.segmentation.tables import join, measure_objects, to_csv
from u2net_hf.segmentation.writing import write_labels, write_tiff

LABELS = np.zeros((6, 8), np.uint32)
LABELS[1:3, 2:6] = 1
LABELS[4, 7] = 2
VALUES = np.arange(2 * 48, dtype=np.uint16).reshape(2, 6, 8)


def test_a_table_by_hand() -> None:
    table = measure_objects(Plane.of(LABELS[None]), Plane.of(VALUES), np.array([0.75, 0.5]), 3, (0.5, 0.25))
    assert to_csv(table) == (
        "page,label,area,centroid_y,centroid_x,bbox_top,bbox_left,bbox_bottom,bbox_right,mean_intensity_1,"
        "mean_intensity_2,score,area_um2,centroid_y_um,bbox_top_um,bbox_bottom_um,centroid_x_um,bbox_left_um,"
        "bbox_right_um\n"
        "3,1,8,1.5,3.5,1,2,3,6,15.5,63.5,0.75,1,0.75,0.5,1.5,0.875,0.5,1.5\n"
        "3,2,1,4,7,4,7,5,8,39,87,0.5,0.125,2,2,2.5,1.75,1.75,2\n"
    )


def test_a_table_in_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planes, "STRIP", 300)
    image, labels = bright_cells(0)
    table = measure_objects(Plane.of(labels[None]), Plane.of(image[None]), np.zeros(labels.max()), 1, None)
    regions = regionprops(labels, image)
    assert np.allclose(table["mean_intensity"], [region.intensity_mean for region in regions])
    assert np.array_equal(table["area"], [region.area for region in regions])
    assert "area_um2" not in table
    assert len(join([table, table])["label"]) == 2 * len(regions)


def test_no_object_gives_the_line_of_names_alone() -> None:
    table = measure_objects(Plane.of(np.zeros((1, 6, 8), np.uint32)), Plane.of(VALUES[:1]), np.zeros(0), 1, (1, 1))
    lines = to_csv(table).splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("page,label,area,")
    assert "area_um2" in lines[0]


@pytest.mark.parametrize("most", [0, 65_535, 65_536])
@pytest.mark.parametrize("axes", ["YX", "ZYX", "TYX"])
def test_label_files_open_elsewhere(most: int, axes: str, tmp_path: Path) -> None:
    pages = [
        np.arange(35, dtype=np.uint32).reshape(5, 7) * page for page in range(1 if axes == "YX" else 5)
    ]  # 3 or 4 pages are colors to scikit-image
    pages[-1][-1, -1] = most
    path = tmp_path / "labels.tif"
    write_labels(pages, path, axes, (0.5, 0.25))
    expected = pages[0] if axes == "YX" else np.stack(pages)
    dtype = np.uint16 if most < 65_536 else np.uint32
    with tifffile.TiffFile(path) as tiff:
        assert tiff.series[0].axes == axes
        assert tiff.series[0].dtype == dtype
        assert tiff.is_imagej == (most < 65_536)
        assert tiff.pages.first.compression.name == "ADOBE_DEFLATE"
        assert np.array_equal(tiff.asarray(), expected)
    opened = skimage_io.imread(path)
    assert opened.dtype == dtype
    assert np.array_equal(opened, expected)
    with Image.open(path) as picture:
        assert np.array_equal(np.asarray(picture), pages[0])


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32, np.float32])
def test_the_pixel_size_is_kept(dtype: Any, tmp_path: Path) -> None:
    from u2net_hf.segmentation.sources import open_source

    write_tiff([np.zeros((5, 7), dtype)] * 2, tmp_path / "a.tif", "ZYX", dtype, (0.5, 0.25))
    with open_source(tmp_path / "a.tif") as source:
        assert source.pixel_size == pytest.approx((0.5, 0.25))


def test_labels_as_png(tmp_path: Path) -> None:
    write_labels([LABELS + 60_000], tmp_path / "labels.png", "YX", None)
    opened = skimage_io.imread(tmp_path / "labels.png")
    assert opened.dtype == np.uint16
    assert np.array_equal(opened, LABELS + 60_000)
    with pytest.raises(ImageError, match="70002 objects are more than the 16 bits of a PNG"):
        write_labels([LABELS + 70_000], tmp_path / "many.png", "YX", None)
    assert not (tmp_path / "many.png").exists()


def test_overlays(monkeypatch: pytest.MonkeyPatch) -> None:
    image, labels = bright_cells(0, 130, 90, np.uint16, 3000)
    table = measure_objects(Plane.of(labels[None]), Plane.of(image[None]), np.zeros(labels.max()), 1, None)
    drawn = []
    for strip in (10**6, 700):  # in one go, and in strips
        monkeypatch.setattr(planes, "STRIP", strip)
        drawn.append(np.zeros((*labels.shape, 3), np.uint8))
        draw_overlay(Plane.of(image[None]), False, Plane.of(labels[None]), table, drawn[-1])
    assert np.array_equal(*drawn)
    inner = np.zeros(labels.shape, bool)  # an object's pixel with a neighbor of another kind
    padded = np.pad(labels, 1, mode="edge")
    for row, column in ((0, 1), (2, 1), (1, 0), (1, 2)):
        inner |= (padded[row : row + labels.shape[0], column : column + labels.shape[1]] != labels) & (labels > 0)
    yellow = (drawn[0] == CONTOUR).all(axis=-1)
    assert not (yellow & ~inner).any()
    assert (yellow & inner).sum() > 0.8 * inner.sum()  # numbers may cover some of it
    background = drawn[0][(labels == 0) & ~yellow]
    assert (background.max(axis=-1) < 40).mean() > 0.95  # numbers may reach into it


def test_an_overlay_keeps_the_colors_of_a_picture() -> None:
    image = np.random.default_rng(0).integers(0, 256, (3, 20, 30), dtype=np.uint8)
    empty = Plane.of(np.zeros((1, 20, 30), np.uint32))
    table = measure_objects(empty, Plane.of(image), np.zeros(0), 1, None)
    out = np.zeros((20, 30, 3), np.uint8)
    draw_overlay(Plane.of(image), True, empty, table, out)
    assert np.array_equal(np.moveaxis(out, -1, 0), image)


def test_an_enlarged_overlay_shows_the_same() -> None:
    """Each object's contour is as long as its enlarged outline, and what lies inside is the image."""
    image, labels = bright_cells(0, 40, 60)
    table = measure_objects(Plane.of(labels[None]), Plane.of(image[None]), np.zeros(labels.max()), 1, None)
    table["label"] = np.full(labels.max(), "")  # no numbers
    plain, enlarged = np.zeros((40, 60, 3), np.uint8), np.zeros((160, 240, 3), np.uint8)
    draw_overlay(Plane.of(image[None]), False, Plane.of(labels[None]), table, plain)
    draw_overlay(Plane.of(image[None]), False, Plane.of(labels[None]), table, enlarged, 4)
    yellow = (plain == CONTOUR).all(axis=-1)
    centers = enlarged[2::4, 2::4]
    assert np.array_equal(centers[~yellow], plain[~yellow])
    assert (enlarged[::4, ::4] == CONTOUR).all(axis=-1).sum() > 0.2 * yellow.sum()
