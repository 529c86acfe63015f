import numpy as np
import pytest
from PIL import Image

from u2net_hf.data.pixels import OBJECT_ABOVE, as_mask

SHAPE = np.array([[0, 1, 1], [0, 0, 1]], dtype=np.uint8)


def palette_image(colors: list[tuple[int, int, int]]) -> Image.Image:
    picture = Image.fromarray(SHAPE).convert("L")
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
    np.testing.assert_array_equal(np.asarray(as_mask(palette_image([(0, 0, 255)]))), SHAPE * 255)


def test_empty_and_full_masks() -> None:
    assert as_mask(Image.new("L", (3, 2), 0)).getextrema() == (0, 0)
    assert as_mask(Image.new("L", (3, 2), 255)).getextrema() == (255, 255)
    assert as_mask(Image.new("L", (3, 2), 1)).getextrema() == (255, 255)


def test_threshold_is_that_of_the_official_tool() -> None:
    gray = Image.fromarray(np.array([[0, 2, 127, 128, 129, 200, 255]], np.uint8))
    assert (np.asarray(as_mask(gray)) > OBJECT_ABOVE).tolist() == [[False, False, False, False, True, True, True]]


def test_soft_values_are_kept() -> None:
    assert np.asarray(as_mask(Image.fromarray(np.array([[0, 51, 128, 255]], np.uint8)))).tolist() == [
        [0, 51, 128, 255]
    ]
    floats = Image.fromarray(np.array([[0, 0.004, 0.2, 1]], np.float32))
    assert np.asarray(as_mask(floats)).tolist() == [[0, 1, 51, 255]]
    faint = Image.fromarray(np.array([[0, 0.004]], np.float32))
    assert np.asarray(as_mask(faint)).tolist() == [[0, 1]]


def test_16_bits_are_scaled_not_clipped() -> None:
    deep = Image.fromarray(np.array([[0, 257, 51400, 65535]], dtype=np.uint16))
    assert np.asarray(as_mask(deep)).tolist() == [[0, 1, 200, 255]]
