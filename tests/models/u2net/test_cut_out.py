"""Masks and cut-outs of photos: oracles are formulas."""

from pathlib import Path

import numpy as np
import pytest
from pictures import SRGB, pixels, swapped_rgb_profile
from PIL import Image

from u2net_hf.models.u2net.photo_u2net import ImageError
from u2net_hf.models.u2net.render_u2net import cut_out, mask_image, open_background

pytest_plugins = ["pictures"]

GRAY = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20


class TestMaskImage:
    def test_rounds_and_clips(self) -> None:
        mask = mask_image(np.array([[0, 0.1, 0.5, 0.998, 1.01, -0.01]], dtype=np.float32))
        assert mask.mode == "L"
        assert pixels(mask).tolist() == [[0, 26, 128, 254, 255, 0]]

    def test_boolean(self) -> None:
        assert pixels(mask_image(np.array([[True, False]]))).tolist() == [[255, 0]]

    @pytest.mark.parametrize(
        ("soft_map", "message"), [(np.zeros((2, 2, 1)), "shape"), (np.full((2, 2), np.nan), "NaN")]
    )
    def test_refused(self, soft_map: np.ndarray, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            mask_image(soft_map)


class TestCutOut:
    @pytest.fixture
    def alpha(self) -> np.ndarray:
        alpha = np.linspace(0, 1, 40, dtype=np.float32)[None].repeat(30, axis=0)
        alpha[:, :5] = 0
        return alpha

    def test_colors_are_kept_where_visible(self, photo: Image.Image, alpha: np.ndarray) -> None:
        result = cut_out(photo, alpha)
        assert (result.mode, result.size) == ("RGBA", photo.size)
        assert np.array_equal(pixels(result)[..., 3], np.rint(alpha * 255))
        assert np.array_equal(pixels(result)[..., :3], pixels(photo) * (alpha > 0)[..., None])
        assert photo.mode == "RGB"

    def test_mask_image_gives_the_same(self, photo: Image.Image, alpha: np.ndarray) -> None:
        assert np.array_equal(pixels(cut_out(photo, mask_image(alpha))), pixels(cut_out(photo, alpha)))

    def test_own_alpha_is_multiplied(self, photo: Image.Image, alpha: np.ndarray) -> None:
        photo.putalpha(100)
        result = pixels(cut_out(photo, alpha))
        assert np.abs(result[..., 3] - np.rint(alpha * 255) * 100 / 255).max() < 1
        assert photo.getpixel((0, 0))[3] == 100  # type: ignore[index]
        assert np.array_equal(result[..., :3], pixels(photo)[..., :3] * (result[..., 3:] > 0))

    @pytest.mark.parametrize("background", [None, "red"])
    @pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "CMYK"])
    def test_in_place(self, photo: Image.Image, alpha: np.ndarray, mode: str, background: str | None) -> None:
        image = photo.convert(mode)
        expected = cut_out(image, alpha, background=background)
        assert np.array_equal(pixels(image), pixels(photo.convert(mode)))
        result = cut_out(image, alpha, background=background, in_place=True)
        assert result.mode == expected.mode
        assert np.array_equal(pixels(result), pixels(expected))

    @pytest.mark.parametrize(
        ("background", "color"), [("#ff8800", (255, 136, 0)), ("Navy", (0, 0, 128)), ("rgb(1, 2, 3)", (1, 2, 3))]
    )
    @pytest.mark.parametrize("own_alpha", [None, 100])
    def test_color(
        self, photo: Image.Image, alpha: np.ndarray, background: str, color: tuple[int, ...], own_alpha: int | None
    ) -> None:
        colors = pixels(photo)
        weights = np.rint(alpha * 255)[..., None] / 255
        if own_alpha:
            photo.putalpha(own_alpha)
            weights = weights * own_alpha / 255
        result = cut_out(photo, alpha, background=background)
        assert result.mode == "RGB"
        assert np.abs(pixels(result) - (colors * weights + np.array(color) * (1 - weights))).max() <= 2

    def test_image_covers_and_is_cropped(self, photo: Image.Image) -> None:
        # Twice as wide as needed: a quarter goes at either side, just within the red borders.
        wide = Image.new("RGB", (160, 60), (0, 0, 255))
        wide.paste((255, 0, 0), (0, 0, 35, 60))
        wide.paste((255, 0, 0), (125, 0, 160, 60))
        result = cut_out(photo, np.zeros((30, 40)), background=wide)
        assert result.size == photo.size
        assert np.array_equal(pixels(result), np.broadcast_to([0, 0, 255], (30, 40, 3)))

    def test_file_as_background(self, tmp_path: Path, photo: Image.Image) -> None:
        Image.new("RGBA", (3, 3), (255, 0, 0, 0)).save(tmp_path / "sky.png")
        result = cut_out(photo, np.zeros((30, 40)), background=str(tmp_path / "sky.png"))
        assert result.getpixel((0, 0)) == (255, 255, 255)

    def test_metadata_stays(self, photo: Image.Image) -> None:
        photo.info = {"icc_profile": SRGB, "exif": b"Exif\0\0"}
        for background in (None, "white"):
            assert cut_out(photo, np.ones((30, 40)), background=background).info == photo.info

    def test_background_follows_the_profile_of_the_photo(self, photo: Image.Image) -> None:
        photo.info["icc_profile"] = swapped_rgb_profile()
        result = cut_out(photo, np.zeros((30, 40)), background="red")
        assert np.abs(pixels(result)[0, 0] - [0, 255, 0]).max() <= 2

    def test_other_modes(self) -> None:
        result = cut_out(Image.fromarray(GRAY), np.ones((3, 4)))
        assert np.array_equal(pixels(result)[..., 2], GRAY)

    def test_sizes_differ(self, photo: Image.Image) -> None:
        with pytest.raises(ValueError, match=r"\(40, 30\).*\(30, 40\)"):
            cut_out(photo, np.zeros((40, 30)))
        with pytest.raises(ValueError, match="mode L"):
            cut_out(photo, photo)

    @pytest.mark.parametrize("background", ["octarine", "#12345", "#ff000080", "no/such/file.png", ""])
    def test_bad_background(self, photo: Image.Image, background: str) -> None:
        with pytest.raises(ValueError, match=f"background '{background}'"):
            cut_out(photo, np.zeros((30, 40)), background=background)

    def test_open_background_names_a_broken_file(self, tmp_path: Path) -> None:
        (tmp_path / "sky.png").write_bytes(b"clouds")
        with pytest.raises(ImageError, match=r"sky\.png"):
            open_background(str(tmp_path / "sky.png"))
