"""Tests of the rule for masks: what tools and data sets store, and what it must mean."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

from u2net_hf.data.pixels import OBJECT_ABOVE, as_labels, as_mask

SHAPE = np.array([[0, 1, 1], [0, 0, 1]], dtype=np.uint8)


def palette_image(colors: list[tuple[int, int, int]], indices: np.ndarray = SHAPE) -> Image.Image:
    picture = Image.fromarray(indices).convert("L")
    indexed = Image.frombytes("P", picture.size, picture.tobytes())
    indexed.putpalette([value for color in colors for value in color])
    return indexed


ENCODINGS = {
    "0/255": Image.fromarray(SHAPE * 255),
    "0/1": Image.fromarray(SHAPE),
    "bits": Image.fromarray(SHAPE.astype(bool)),
    "RGB": Image.fromarray(SHAPE * 255).convert("RGB"),
    "RGB with 0/1": Image.fromarray(SHAPE).convert("RGB"),
    "RGBA": Image.fromarray(SHAPE * 255).convert("RGBA"),
    "black and white palette": palette_image([(0, 0, 0), (255, 255, 255)]),
    "palette of 0 and 1": palette_image([(0, 0, 0), (1, 1, 1)]),
    "colors of VOC": palette_image([(0, 0, 0), (128, 0, 0)]),
    "16 bits": Image.fromarray(SHAPE.astype(np.uint16) * 65535),
    "16 bits with 0/255": Image.fromarray(SHAPE.astype(np.uint16) * 255),
    "16 bits with 0/1": Image.fromarray(SHAPE.astype(np.uint16)),
    "32 bits": Image.fromarray(SHAPE.astype(np.int32) * 65535),
    "float": Image.fromarray(SHAPE.astype(np.float32)),
}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_all_encodings_of_a_mask_mean_the_same(encoding: str) -> None:
    mask = as_mask(ENCODINGS[encoding])
    assert mask.mode == "L"
    np.testing.assert_array_equal(np.asarray(mask), SHAPE * 255)
    np.testing.assert_array_equal(np.asarray(as_mask(mask)), SHAPE * 255)


def test_white_first_in_a_palette_stays_background_by_its_color() -> None:
    np.testing.assert_array_equal(np.asarray(as_mask(palette_image([(255,) * 3, (0,) * 3]))), (1 - SHAPE) * 255)


def test_palette_with_fewer_colors_than_the_picture_uses() -> None:
    assert as_mask(palette_image([(0, 0, 0)])).getextrema() == (0, 0)
    assert np.array_equal(as_mask(palette_image([(0, 0, 255)])), (1 - SHAPE) * 255)  # what is not stored is black


def test_empty_and_full_masks() -> None:
    assert as_mask(Image.new("L", (3, 2), 0)).getextrema() == (0, 0)
    for value in (1, 38, 255):
        assert as_mask(Image.new("L", (3, 2), value)).getextrema() == (255, 255)
    assert as_mask(Image.new("RGB", (3, 2), "navy")).getextrema() == (255, 255)


def test_threshold_is_that_of_the_official_tool() -> None:
    gray = Image.fromarray(np.array([[0, 2, 127, 128, 129, 200, 255]], np.uint8))
    assert (np.asarray(as_mask(gray)) > OBJECT_ABOVE).tolist() == [[False, False, False, False, True, True, True]]


SOFT = [[0, 51, 100, 128, 200, 255]]


def test_soft_values_are_kept() -> None:
    assert np.asarray(as_mask(Image.fromarray(np.array(SOFT, np.uint8)))).tolist() == SOFT
    floats = Image.fromarray(np.array([[0, 0.004, 0.2, 1]], np.float32))
    assert np.asarray(as_mask(floats)).tolist() == [[0, 1, 51, 255]]
    faint = Image.fromarray(np.array([[0, 0.004]], np.float32))
    assert np.asarray(as_mask(faint)).tolist() == [[0, 1]]


def test_16_bits_are_scaled_not_clipped() -> None:
    deep = Image.fromarray(np.array([[0, 257, 514, 25700, 51400, 65535]], dtype=np.uint16))
    assert np.asarray(as_mask(deep)).tolist() == [[0, 1, 2, 100, 200, 255]]


def disk(size: int = 64, scale: int = 1) -> Image.Image:
    """A disk of less than a third of the picture."""
    picture = Image.new("L", (size * scale, size * scale))
    ImageDraw.Draw(picture).ellipse([9 * scale, 12 * scale, 45 * scale, 50 * scale], fill=255)
    return picture


def test_soft_masks_as_tools_make_them() -> None:
    """Smoothed edges and JPEG leave levels; the object is then what lies above 128, counted here by numpy."""
    smooth = disk(scale=4).resize((64, 64), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    disk().save(buffer, "JPEG", quality=75)
    for picture in (smooth, Image.open(buffer)):
        stored = np.asarray(picture)
        assert len(np.unique(stored)) > 10
        np.testing.assert_array_equal(as_mask(picture), stored)


@pytest.mark.parametrize("suffix", ["GIF", "PNG"])
@pytest.mark.parametrize("color", ["red", "blue", "white", "#203040"])
def test_colored_masks_that_were_quantized(suffix: str, color: str) -> None:
    """Whatever index black has in the palette: `quantize` puts the commonest color first, or last."""
    expected = np.asarray(disk()) > 0
    colored = Image.composite(Image.new("RGB", (64, 64), color), Image.new("RGB", (64, 64)), disk())
    for method in (Image.Quantize.MEDIANCUT, Image.Quantize.MAXCOVERAGE, Image.Quantize.FASTOCTREE):
        buffer = io.BytesIO()
        colored.quantize(4, method).save(buffer, suffix)
        np.testing.assert_array_equal(np.asarray(as_mask(Image.open(buffer))) > OBJECT_ABOVE, expected)
    np.testing.assert_array_equal(np.asarray(as_mask(colored)) > OBJECT_ABOVE, expected)


@pytest.mark.parametrize("values", [(0, 76), (0, 29), (0, 38), (0, 2), (1, 2), (15, 255)])
def test_the_darker_of_two_values_is_background(values: tuple[int, int]) -> None:
    stored = np.where(SHAPE, values[1], values[0]).astype(np.uint8)
    np.testing.assert_array_equal(as_mask(Image.fromarray(stored)), SHAPE * 255)


VOC = palette_image([(0, 0, 0), (128, 0, 0), (0, 128, 0)], np.array([[0, 1, 2], [0, 0, 255]], np.uint8))
MANY = {
    "labels": ([0, 1, 2], "3 values, 0, 1, 2,"),
    "labels and void": ([0, 15, 255], "3 values, 0, 15, 255,"),
    "trimap": ([0, 128, 255], "3 values, 0, 128, 255,"),
    "classes of Cityscapes": ([*range(12), 255], "13 values, 0, 1, .*, 11, ...,"),
    "shades for classes": ([0, 85, 170, 255], "4 values, 0, 85, 170, 255,"),
    "no white": ([0, 20, 40, 80, 130, 200], "6 values,"),
}


@pytest.mark.parametrize("case", MANY)
def test_labels_are_refused_with_their_values(case: str) -> None:
    values, message = MANY[case]
    with pytest.raises(ValueError, match=message + ".*--object_values.*--num_labels"):
        as_mask(Image.fromarray(np.array([values], np.uint8)))


def test_gray_levels_of_certainty_are_told_what_to_say() -> None:
    with pytest.raises(ValueError, match='where gray is certainty, "129-255"'):
        as_mask(Image.fromarray(np.array([[0, 106, 255]], np.uint8)))


def test_colors_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"0 \(#000000\), 1 \(#800000\), 2 \(#008000\)"):
        as_mask(palette_image([(0, 0, 0), (128, 0, 0), (0, 128, 0)], np.array([[0, 1, 2]], np.uint8)))
    with pytest.raises(ValueError, match="3 values, #000000, #ff0000, #ffff00,"):
        as_mask(Image.fromarray(np.array([[[0, 0, 0], [255, 0, 0], [255, 255, 0]]], np.uint8)))


@pytest.mark.parametrize(
    ("picture", "object_values", "expected"),
    [
        (Image.fromarray(np.array([[0, 1, 2, 255]], np.uint8)), ["2"], [0, 0, 255, 0]),
        (Image.fromarray(np.array([[0, 1, 2, 255]], np.uint8)), ["1-2"], [0, 255, 255, 0]),
        (Image.fromarray(np.array([[0, 128, 129, 255]], np.uint8)), ["129-255"], [0, 0, 255, 255]),
        (Image.fromarray(np.array([[0, 300, 70]], np.uint16)), ["300"], [0, 255, 0]),
        (Image.fromarray(np.array([[255, 0]], np.uint8)), ["0"], [0, 255]),
        (Image.fromarray(np.array([[[0, 0, 0], [255, 0, 0], [0, 0, 9]]], np.uint8)), ["#FF0000"], [0, 255, 0]),
    ],
)
def test_named_values_are_object(picture: Image.Image, object_values: list[str], expected: list[int]) -> None:
    assert np.asarray(as_mask(picture, object_values)).tolist() == [expected]


def test_named_values_of_a_palette_are_indices_or_colors() -> None:
    for named in ("2", "#008000"):
        assert np.asarray(as_mask(VOC, [named])).tolist() == [[0, 0, 255], [0, 0, 0]]


def test_numbers_do_not_name_colors() -> None:
    picture = Image.fromarray(np.array([[[0, 0, 0], [255, 0, 0], [0, 0, 9]]], np.uint8))
    with pytest.raises(ValueError, match="#000000, #000009, #ff0000: name colors as object"):
        as_mask(picture, ["1"])
    with pytest.raises(ValueError, match="'red' is no number"):
        as_mask(picture, ["red"])


def test_alpha_is_the_mask() -> None:
    """A mask in the alpha channel, and a cut-out in place of a mask."""
    alpha = Image.fromarray(SHAPE * 255)
    rng = np.random.default_rng(0)
    for colors in (np.zeros((2, 3, 3)), np.full((2, 3, 3), 255), rng.integers(0, 256, (2, 3, 3))):
        picture = Image.fromarray(colors.astype(np.uint8))
        picture.putalpha(alpha)
        np.testing.assert_array_equal(as_mask(picture), SHAPE * 255)
    gray = Image.fromarray(SHAPE[:, ::-1] * 255).convert("LA")
    gray.putalpha(alpha)
    with pytest.raises(ValueError, match="gray values say something else than its alpha"):
        as_mask(gray)
    np.testing.assert_array_equal(as_mask(gray, ["alpha"]), SHAPE * 255)
    np.testing.assert_array_equal(as_mask(gray, ["255"]), SHAPE[:, ::-1] * 255)


def test_classes() -> None:
    for picture in (VOC, Image.fromarray(np.asarray(VOC)), Image.fromarray(np.asarray(VOC)).convert("RGB")):
        labels = as_labels(picture)
        assert labels.mode == "I"
        np.testing.assert_array_equal(labels, np.asarray(VOC))
    assert np.asarray(as_labels(Image.fromarray(np.array([[0, 1000]], np.uint16)))).tolist() == [[0, 1000]]
    with pytest.raises(ValueError, match="the mask has colors"):
        as_labels(VOC.convert("RGB"))
    with pytest.raises(ValueError, match="transparent"):
        as_labels(Image.new("RGBA", (2, 2)))
