"""Tests of u2net_hf.images.files: oracles are Pillow as the reader, and ICC profiles made by hand."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from pictures import SRGB, pixels, strange_cmyk_profile, swapped_rgb_profile
from PIL import ExifTags, Image, JpegImagePlugin

from u2net_hf.images.files import ImageError, encode_image, find_images, format_of, save_image

pytest_plugins = ["pictures"]


class TestFindImages:
    def test_recursive_sorted_without_hidden(self, tmp_path: Path) -> None:
        wanted = ["a.jpg", "b/c.PNG", "b/d/e.webp", "z.tiff"]
        for name in [*wanted, "notes.txt", ".hidden.jpg", ".thumbnails/a.jpg", "b/.0123.part", "jpg"]:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        assert find_images(tmp_path) == [tmp_path / name for name in wanted]
        assert find_images(str(tmp_path / "b")) == [tmp_path / "b/c.PNG", tmp_path / "b/d/e.webp"]

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(ImageError, match="nowhere: the folder cannot be read"):
            find_images(tmp_path / "nowhere")


class TestSaveImage:
    @pytest.mark.parametrize("name", ["a.png", "a.PNG", "a.webp", "a.jpg", "a.jpeg"])
    def test_suffix_decides(self, tmp_path: Path, photo: Image.Image, name: str) -> None:
        save_image(photo, tmp_path / name)
        with Image.open(tmp_path / name) as image:
            assert image.format == format_of(name)
            assert np.abs(pixels(image) - pixels(photo)).mean() < 3
        assert os.listdir(tmp_path) == [name]

    def test_png_is_lossless(self, photo: Image.Image) -> None:
        photo.putalpha(Image.linear_gradient("L").resize(photo.size))
        assert np.array_equal(pixels(Image.open(io.BytesIO(encode_image(photo, "PNG")))), pixels(photo))

    def test_webp_keeps_alpha(self, photo: Image.Image) -> None:
        photo.putalpha(Image.linear_gradient("L").resize(photo.size))
        image = Image.open(io.BytesIO(encode_image(photo, "WEBP")))
        assert np.array_equal(pixels(image)[..., 3], pixels(photo)[..., 3])

    @pytest.mark.parametrize("image_format", ["PNG", "WEBP"])
    def test_masks_are_lossless(self, image_format: str) -> None:
        mask = Image.effect_noise((50, 40), 80)
        mask.info["icc_profile"] = SRGB
        image = Image.open(io.BytesIO(encode_image(mask, image_format)))
        assert np.array_equal(pixels(image.convert("L")), pixels(mask))
        assert "icc_profile" not in image.info

    def test_jpeg_is_flattened_on_white(self) -> None:
        image = Image.open(io.BytesIO(encode_image(Image.new("RGBA", (8, 8), (0, 0, 0, 0)), "JPEG")))
        assert (image.mode, image.getpixel((4, 4))) == ("RGB", (255, 255, 255))

    def test_jpeg_keeps_colors_sharp(self, photo: Image.Image) -> None:
        assert JpegImagePlugin.get_sampling(Image.open(io.BytesIO(encode_image(photo, "JPEG")))) == 0  # 4:4:4

    @pytest.mark.parametrize("image_format", ["PNG", "WEBP", "JPEG"])
    @pytest.mark.parametrize("mode", ["RGB", "RGBA"])
    def test_metadata(self, photo: Image.Image, image_format: str, mode: str) -> None:
        exif = Image.Exif()
        exif[ExifTags.Base.Artist] = "Ada"
        photo = photo.convert(mode)
        photo.info = {"icc_profile": SRGB, "exif": exif.tobytes()}
        image = Image.open(io.BytesIO(encode_image(photo, image_format)))
        image.load()
        assert image.info["icc_profile"] == SRGB
        assert image.getexif()[ExifTags.Base.Artist] == "Ada"

    def test_profile_of_another_kind_is_not_attached(self) -> None:
        picture = Image.new("CMYK", (4, 4))
        picture.info["icc_profile"] = strange_cmyk_profile()
        assert "icc_profile" not in Image.open(io.BytesIO(encode_image(picture, "PNG"))).info

    def test_compress_level(self, tmp_path: Path, photo: Image.Image) -> None:
        save_image(photo, tmp_path / "0.png", compress_level=0)
        save_image(photo, tmp_path / "9.png", compress_level=9)
        assert (tmp_path / "0.png").stat().st_size > 40 * 30 * 3 > (tmp_path / "9.png").stat().st_size
        with pytest.raises(ImageError, match="compress_level"):
            encode_image(photo, compress_level=10)

    @pytest.mark.parametrize("name", ["a.bmp", "a", "a.tiff", "a.png.part"])
    def test_unknown_suffix(self, tmp_path: Path, photo: Image.Image, name: str) -> None:
        with pytest.raises(ImageError, match=rf"{name}: .*\.png, \.webp, \.jpg, \.jpeg"):
            save_image(photo, tmp_path / name)

    def test_unknown_format(self, photo: Image.Image) -> None:
        with pytest.raises(ImageError, match="'BMP'"):
            encode_image(photo, "BMP")

    def test_too_large_for_the_format(self, tmp_path: Path) -> None:
        with pytest.raises(ImageError, match=r"a\.webp: .*\(16384, 1\).*WEBP"):
            save_image(Image.new("RGB", (16384, 1)), tmp_path / "a.webp")
        assert os.listdir(tmp_path) == []

    @pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
    def test_failure_leaves_the_old_file_alone(
        self, tmp_path: Path, photo: Image.Image, monkeypatch: pytest.MonkeyPatch, error: BaseException
    ) -> None:
        path = tmp_path / "a.png"
        path.write_bytes(b"before")

        def fail(*_: object) -> None:
            raise error

        monkeypatch.setattr(os, "replace", fail)
        with pytest.raises(ImageError if isinstance(error, OSError) else KeyboardInterrupt) as caught:
            save_image(photo, path)
        assert path.read_bytes() == b"before"
        assert os.listdir(tmp_path) == ["a.png"]
        if isinstance(error, OSError):
            assert "a.png: cannot be written (No space left on device)" in str(caught.value)

    def test_folders_are_made_and_permissions_are_usual(self, tmp_path: Path, photo: Image.Image) -> None:
        save_image(photo, tmp_path / "new" / "sub" / "a.png")
        (tmp_path / "usual").touch()
        mode = (tmp_path / "usual").stat().st_mode
        assert (tmp_path / "new" / "sub" / "a.png").stat().st_mode == mode

    def test_folder_in_the_way(self, tmp_path: Path, photo: Image.Image) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(ImageError, match=r"a\.png: cannot be written"):
            save_image(photo, tmp_path / "file" / "a.png")
        (tmp_path / "b.png").mkdir()
        with pytest.raises(ImageError, match=r"b\.png: cannot be written"):
            save_image(photo, tmp_path / "b.png")
        assert sorted(os.listdir(tmp_path)) == ["b.png", "file"]


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_profile_too_large_for_png_goes_into_the_colors(mode: str) -> None:
    """Pillow opens no PNG with a profile above 1 MB. This one's first channel is green, its second red."""
    image = Image.new(mode, (2, 2), (255, 0, 0) if mode == "RGB" else (255, 0, 0, 128))
    image.info["icc_profile"] = swapped_rgb_profile() + np.random.default_rng(0).bytes(2_000_000)
    with Image.open(io.BytesIO(encode_image(image))) as read:
        assert "icc_profile" not in read.info
        assert read.mode == mode
        np.testing.assert_allclose(pixels(read)[0, 0], [0, 255, 0] if mode == "RGB" else [0, 255, 0, 128], atol=2)
