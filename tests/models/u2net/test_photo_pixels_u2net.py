"""Tests of `photo_u2net`: colors, reduced reading, modes and transparency of what was opened."""

import struct
from pathlib import Path

import numpy as np
import pytest
from pictures import (
    SRGB,
    linear_gray_profile,
    pixels,
    stored,
    swapped_rgb_profile,
    with_chunk,
)
from PIL import ExifTags, Image

from u2net_hf.models.u2net.photo_u2net import (
    ImageError,
    as_photo,
    on_ground,
    open_image,
    open_reduced,
    to_rgb,
)

pytest_plugins = ["pictures"]

# ITU-R BT.2087, the matrix from BT.2020 to BT.709; ITU-R BT.2408, table 1: signals of gray and white on a screen.
BT2020_TO_709 = np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]])


def srgb(light: np.ndarray) -> np.ndarray:
    """Levels in sRGB of linear light (IEC 61966-2-1)."""
    light = np.clip(light, 0, 1)
    return 255 * np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


class TestColorChunks:
    def read(self, photo: Image.Image, kind: bytes, data: bytes, **options: object) -> np.ndarray:
        image = open_image(with_chunk(stored(photo, "PNG", **options).getvalue(), kind, data))
        assert "icc_profile" not in image.info
        return pixels(image)

    def test_linear_light(self, photo: Image.Image) -> None:
        read = self.read(photo, b"gAMA", struct.pack(">I", 100000))
        assert np.abs(read - srgb(pixels(photo) / 255)).max() <= 1

    @pytest.mark.parametrize("mode", ["RGBA", "LA", "L", "P"])
    def test_every_mode_keeps_its_transparency(self, photo: Image.Image, mode: str) -> None:
        picture = photo.convert("RGBA")
        picture.putalpha(Image.linear_gradient("L").resize(photo.size))
        picture = picture.convert(mode)
        plain = pixels(open_image(stored(picture, "PNG")))
        read = self.read(picture, b"gAMA", struct.pack(">I", 100000))
        assert np.abs(read[..., :3] - srgb(plain[..., :3] / 255)).max() <= 1
        assert np.array_equal(read[..., 3:], plain[..., 3:])

    @pytest.mark.parametrize("gamma", [45455, 45000, 0])
    def test_the_usual_gamma_changes_nothing(self, photo: Image.Image, gamma: int) -> None:
        assert np.array_equal(self.read(photo, b"gAMA", struct.pack(">I", gamma)), pixels(photo))

    def test_chromaticities(self, photo: Image.Image) -> None:
        bt2020 = (31270, 32900, 70800, 29200, 17000, 79700, 13100, 4600)
        data = with_chunk(stored(photo, "PNG").getvalue(), b"cHRM", struct.pack(">8I", *bt2020)).getvalue()
        read = pixels(open_image(with_chunk(data, b"gAMA", struct.pack(">I", 100000))))
        assert np.abs(read - srgb(pixels(photo) / 255 @ BT2020_TO_709.T)).max() <= 1

    @pytest.mark.parametrize("chromaticities", [[0] * 8, [1] * 8, [31270, 32900, *[30000] * 6]])
    def test_impossible_chromaticities_are_ignored(self, photo: Image.Image, chromaticities: list[int]) -> None:
        data = with_chunk(stored(photo, "PNG").getvalue(), b"cHRM", struct.pack(">8I", *chromaticities)).getvalue()
        read = pixels(open_image(with_chunk(data, b"gAMA", struct.pack(">I", 100000))))
        assert np.array_equal(read, pixels(photo))

    def test_a_profile_outranks_gamma(self, photo: Image.Image) -> None:
        data = with_chunk(stored(photo, "PNG", icc_profile=SRGB).getvalue(), b"gAMA", struct.pack(">I", 100000))
        image = open_image(data)
        assert image.info == {"icc_profile": SRGB}
        assert np.array_equal(pixels(image), pixels(photo))

    @pytest.mark.parametrize(("primaries", "transfer"), [(1, 13), (1, 1), (2, 2)])
    def test_cicp_of_srgb_changes_nothing(self, photo: Image.Image, primaries: int, transfer: int) -> None:
        read = self.read(photo, b"cICP", bytes([primaries, transfer, 0, 1]), icc_profile=swapped_rgb_profile())
        assert np.array_equal(read, pixels(photo))

    def test_an_unknown_cicp_is_ignored(self, photo: Image.Image) -> None:
        data = with_chunk(stored(photo, "PNG", icc_profile=SRGB).getvalue(), b"cICP", bytes([9, 200, 0, 1]))
        image = open_image(data)
        assert image.info == {"icc_profile": SRGB}
        assert np.array_equal(pixels(image), pixels(photo))

    def test_cicp_outranks_all_and_tells_of_wide_colors(self, photo: Image.Image) -> None:
        read = self.read(photo, b"cICP", bytes([9, 8, 0, 1]), icc_profile=SRGB)
        assert np.abs(read - srgb(pixels(photo) / 255 @ BT2020_TO_709.T)).max() <= 1

    @pytest.mark.parametrize(
        ("transfer", "signal", "luminance"),
        [(16, 0.58, 203), (16, 0.51, 100), (16, 0.38, 26), (18, 0.75, 203), (18, 0.38, 26), (16, 0.75, 1000)],
    )
    def test_hdr_ends_at_reference_white(self, transfer: int, signal: float, luminance: float) -> None:
        gray = Image.new("RGB", (2, 2), (round(255 * signal),) * 3)
        (level,) = np.unique(self.read(gray, b"cICP", bytes([9, transfer, 0, 1])))
        assert abs(level - srgb(np.array(luminance / 203))) <= 5

    def test_narrow_range(self) -> None:
        picture = Image.fromarray(np.array([[[16] * 3, [126] * 3, [235] * 3, [255] * 3]], np.uint8))
        assert self.read(picture, b"cICP", bytes([1, 13, 0, 0]))[0, :, 0].tolist() == [0, 128, 255, 255]


class TestOpenReduced:
    @pytest.fixture
    def large(self) -> Image.Image:
        """A smooth picture whose width and height are no multiples of 8."""
        y, x = np.mgrid[:603, :805]
        return Image.fromarray(np.stack([x / 4, y / 3, 200 - x / 5], axis=-1).astype(np.uint8))

    @pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
    @pytest.mark.parametrize("orientation", [None, *range(1, 9)])
    def test_a_jpeg_is_the_full_one_made_smaller(self, large: Image.Image, mode: str, orientation: int | None) -> None:
        exif = Image.Exif()
        if orientation:
            exif[ExifTags.Base.Orientation] = orientation
        data = stored(large.convert(mode), "JPEG", quality=95, exif=exif.tobytes())
        full, (reduced, size) = open_image(data), open_reduced(data, (150, 101))
        assert size == full.size
        assert (reduced.mode, reduced.size) == (full.mode, tuple(-(-side // 4) for side in full.size))
        expected = full.resize(reduced.size, Image.Resampling.BOX)
        assert np.abs(pixels(reduced) - pixels(expected)).mean() < 1
        assert reduced.info == full.info

    @pytest.mark.parametrize("orientation", [1, 6])
    @pytest.mark.parametrize(("min_size", "divisor"), [((403, 1), 1), ((1, 402), 1), ((301, 301), 2), ((75, 9), 8)])
    def test_no_side_becomes_too_small(
        self, large: Image.Image, orientation: int, min_size: tuple[int, int], divisor: int
    ) -> None:
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        reduced, (width, height) = open_reduced(stored(large, "JPEG", exif=exif.tobytes()), min_size)
        assert reduced.size == (-(-width // divisor), -(-height // divisor))

    def test_profiles_are_applied(self) -> None:
        gray = stored(Image.new("L", (200, 100), 128), "JPEG", icc_profile=linear_gray_profile())
        reduced, size = open_reduced(gray, (20, 20))
        assert (size, reduced.size) == ((200, 100), (50, 25))
        assert reduced.getpixel((9, 9)) == open_image(gray).getpixel((9, 9)) != (128, 128, 128)

    @pytest.mark.parametrize("image_format", ["PNG", "WEBP", "TIFF"])
    def test_other_formats_are_read_as_they_are(self, large: Image.Image, image_format: str) -> None:
        data = stored(large, image_format)
        reduced, size = open_reduced(data, (1, 1))
        assert size == reduced.size == large.size
        assert np.array_equal(pixels(reduced), pixels(open_image(data)))

    def test_bad_files_are_named(self, tmp_path: Path, large: Image.Image) -> None:
        (tmp_path / "cut.jpg").write_bytes(stored(large, "JPEG").getvalue()[:-900])
        with pytest.raises(ImageError, match=r"cut\.jpg: .*cut short"):
            open_reduced(tmp_path / "cut.jpg", (20, 20))


class TestToRgb:
    def test_transparency_becomes_white(self) -> None:
        values = np.random.default_rng(0).integers(0, 256, (20, 30, 4), dtype=np.uint8)
        alpha = values[..., 3:] / 255
        expected = values[..., :3] * alpha + 255 * (1 - alpha)
        result = to_rgb(Image.fromarray(values))
        assert result.mode == "RGB"
        assert np.abs(pixels(result) - expected).max() <= 1

    def test_rgb_is_returned_itself(self, photo: Image.Image) -> None:
        assert to_rgb(photo) is photo

    def test_deep_gray(self) -> None:
        assert to_rgb(Image.fromarray(np.array([[65535]], np.uint16))).getpixel((0, 0)) == (255, 255, 255)


class TestOnGround:
    @staticmethod
    def drawn(*colors: tuple[int, int, int]) -> Image.Image:
        """A square of these colors, in stripes, on a transparent ground."""
        image = Image.new("RGBA", (60, 60), (255, 255, 255, 0))
        for number in range(30):
            image.paste((*colors[number % len(colors)], 255), (15 + number, 15, 16 + number, 45))
        return image

    @pytest.mark.parametrize(
        ("colors", "ground"),
        [
            ([(255, 255, 255)], 0),
            ([(240, 235, 250)], 0),
            ([(0, 0, 0)], 255),
            ([(200, 30, 30)], 255),
            ([(255, 255, 0)], 255),  # its blue is far from white
            ([(255, 255, 255), (0, 0, 0)], 128),
            ([(255, 255, 255), (0, 0, 0), (128, 128, 128), (120, 120, 120), (0, 0, 0)], 255),
        ],
    )
    def test_shows_the_object(self, colors: list[tuple[int, int, int]], ground: int) -> None:
        result = on_ground(self.drawn(*colors))
        assert (result.mode, result.getpixel((0, 0))) == ("RGB", (ground,) * 3)
        assert result.getpixel((15, 20)) == colors[0]

    def test_a_photo_of_many_colors_stays_on_white(self) -> None:
        values = np.random.default_rng(0).integers(0, 256, (40, 50, 4), dtype=np.uint8)
        image = Image.fromarray(values)
        assert np.array_equal(pixels(on_ground(image)), pixels(to_rgb(image)))

    def test_nothing_visible_and_nothing_transparent(self, photo: Image.Image) -> None:
        assert on_ground(Image.new("RGBA", (3, 3))).getpixel((1, 1)) == (255, 255, 255)
        assert on_ground(photo) is photo


class TestAsPhoto:
    @pytest.mark.parametrize("orientation", [1, 6])
    @pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "CMYK", "I;16", "F", "L"])
    def test_is_what_is_read_from_the_file(self, photo: Image.Image, mode: str, orientation: int) -> None:
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        exif[ExifTags.Base.Artist] = "Ada"
        if mode in ("I;16", "F"):
            picture = Image.fromarray(np.linspace(0, 1, 1200).reshape(30, 40).astype(np.float32))
            picture = picture if mode == "F" else Image.fromarray((np.asarray(picture) * 65535).astype(np.uint16))
        else:
            picture = photo.convert(mode)
        image_format = {"CMYK": "JPEG", "F": "TIFF"}.get(mode, "PNG")
        options = {"transparency": 7} if mode == "P" else {}
        data = stored(picture, image_format, exif=exif.tobytes(), icc_profile=SRGB, **options)
        expected, given = open_image(data), Image.open(data)
        result = as_photo(given)
        assert (result.mode, result.info) == (expected.mode, expected.info)
        assert np.array_equal(pixels(result), pixels(expected))
        assert given.mode == picture.mode
        assert given.size == (40, 30) or image_format == "TIFF"  # which Pillow turns itself
