"""Tests of `photo_u2net`: what opens and what is refused; frames."""

import gc
import io
import os
import re
import struct
from pathlib import Path

import numpy as np
import pytest
from pictures import (
    SRGB,
    linear_gray_profile,
    pixels,
    stored,
    strange_cmyk_profile,
    tiff,
)
from PIL import ExifTags, Image, ImageCms

from u2net_hf.models.u2net.photo_u2net import (
    ImageError,
    PhotoWarning,
    open_image,
)

pytest_plugins = ["pictures"]

GRAY = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20


class TestOpenImage:
    @pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000"])
    def test_formats_are_read_completely(self, tmp_path: Path, photo: Image.Image, image_format: str) -> None:
        path = tmp_path / "photo"
        path.write_bytes(stored(photo, image_format).getvalue())
        image = open_image(path)
        path.unlink()
        assert (image.mode, image.size) == ("RGB", (40, 30))
        assert np.abs(pixels(image) - pixels(photo)).mean() < 10

    def test_gray(self) -> None:
        image = open_image(stored(Image.fromarray(GRAY), "PNG"))
        assert image.mode == "RGB"
        assert np.array_equal(pixels(image), np.stack([GRAY] * 3, axis=-1))

    def test_black_and_white(self) -> None:
        image = open_image(stored(Image.fromarray(GRAY > 100), "PNG"))
        assert image.mode == "RGB"
        assert np.array_equal(pixels(image)[..., 1], (GRAY > 100) * 255)

    def test_gray_with_alpha(self) -> None:
        image = open_image(stored(Image.merge("LA", [Image.fromarray(GRAY), Image.fromarray(255 - GRAY)]), "PNG"))
        assert image.mode == "RGBA"
        assert np.array_equal(pixels(image), np.stack([GRAY, GRAY, GRAY, 255 - GRAY], axis=-1))

    def test_rgba(self, photo: Image.Image) -> None:
        photo.putalpha(77)
        image = open_image(stored(photo, "WEBP", lossless=True))
        assert image.mode == "RGBA"
        assert np.array_equal(pixels(image), pixels(photo))

    @pytest.mark.parametrize(
        ("transparency", "alphas"), [(None, None), (1, [255, 0, 255]), (b"\x00\x80", [0, 128, 255])]
    )
    def test_palette(self, transparency: int | bytes | None, alphas: list[int] | None) -> None:
        colors = [(200, 0, 0), (0, 200, 0), (0, 0, 200)]
        picture = Image.fromarray(np.array([[0, 1, 2]], dtype=np.uint8)).convert("P")
        picture.putpalette([value for color in colors for value in color])
        options = {} if transparency is None else {"transparency": transparency}
        image = open_image(stored(picture, "PNG", **options))
        expected = colors if alphas is None else [(*c, a) for c, a in zip(colors, alphas, strict=True)]
        assert image.mode == ("RGB" if alphas is None else "RGBA")
        assert [image.getpixel((x, 0)) for x in range(3)] == expected
        assert image.info == {}

    def test_rgb_with_a_transparent_color(self) -> None:
        picture = Image.fromarray(np.array([[[9, 8, 7], [1, 2, 3]]], dtype=np.uint8))
        image = open_image(stored(picture, "PNG", transparency=(1, 2, 3)))
        assert pixels(image).tolist() == [[[9, 8, 7, 255], [1, 2, 3, 0]]]

    @pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "LAB"])
    def test_other_color_models(self, photo: Image.Image, mode: str) -> None:
        if mode == "LAB":
            profiles = [ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")]
            photo = photo.point(lambda value: 64 + value // 2)  # 8 bits of Lab are too coarse for strong colors
            picture = ImageCms.profileToProfile(photo, profiles[0], profiles[1], outputMode="LAB")
        else:
            picture = photo.convert(mode)
        image = open_image(stored(picture, "TIFF", compression="tiff_lzw"))
        assert image.mode == "RGB"
        assert np.abs(pixels(image) - pixels(photo)).mean() < 2

    def test_cmyk_jpeg(self, photo: Image.Image) -> None:
        image = open_image(stored(photo.convert("CMYK"), "JPEG", quality=100))
        assert image.mode == "RGB"
        assert np.abs(pixels(image) - pixels(photo)).mean() < 4

    @pytest.mark.parametrize(
        ("image_format", "dtype"), [("PNG", "<u2"), ("TIFF", "<u2"), ("TIFF", ">u2"), ("PPM", "<u2")]
    )
    def test_gray_of_16_bits(self, image_format: str, dtype: str) -> None:
        values = np.array([[0, 128, 129, 257, 32768, 65406, 65535]], dtype=np.uint16)
        picture = Image.fromarray(values.astype(dtype))
        image = open_image(stored(picture, image_format))
        assert image.mode == "RGB"
        assert pixels(image)[..., 0].tolist() == [[0, 0, 1, 1, 128, 254, 255]]

    def test_gray_of_16_bits_with_a_transparent_value(self) -> None:
        picture = Image.fromarray(np.array([[0, 300, 65535]], dtype=np.uint16))
        image = open_image(stored(picture, "PNG", transparency=300))
        assert pixels(image)[0].tolist() == [[0, 0, 0, 255], [1, 1, 1, 0], [255, 255, 255, 255]]

    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            (np.array([[0.0, 0.5, 1.0]], np.float32), [0, 128, 255]),
            (np.array([[-10.0, 0.0, 10.0]], np.float32), [0, 128, 255]),
            (np.array([[np.nan, 1.0, np.inf]], np.float32), [0, 255, 0]),
            (np.array([[-7.0, -7.0]], np.float32), [0, 0]),
            (np.array([[0, 400000, 1000000]], np.int32), [0, 102, 255]),
            (np.array([[0, 65535]], np.int32), [0, 255]),
        ],
    )
    def test_gray_of_32_bits(self, values: np.ndarray, expected: list[int]) -> None:
        assert pixels(open_image(stored(Image.fromarray(values), "TIFF")))[0, :, 0].tolist() == expected

    @pytest.mark.parametrize("image_format", ["GIF", "WEBP", "PNG", "TIFF"])
    @pytest.mark.filterwarnings("ignore::u2net_hf.images.files.PhotoWarning")
    def test_first_frame_of_an_animation(self, tmp_path: Path, image_format: str) -> None:
        frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
        path = tmp_path / "animation"
        path.write_bytes(
            stored(frames[0], image_format, save_all=True, append_images=frames[1:], lossless=True).getvalue()
        )
        image = open_image(path)
        path.unlink()
        assert image.convert("RGB").getpixel((4, 4)) == (255, 0, 0)

    @pytest.mark.filterwarnings("error::ResourceWarning")
    @pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
    @pytest.mark.filterwarnings("ignore::u2net_hf.images.files.PhotoWarning")
    def test_files_are_closed(self, tmp_path: Path, photo: Image.Image) -> None:
        photo.save(tmp_path / "a.gif", save_all=True, append_images=[photo.rotate(90)])
        (tmp_path / "b.jpg").write_bytes(stored(photo, "JPEG").getvalue()[:-200])
        image = open_image(tmp_path / "a.gif")
        with pytest.raises(ImageError):
            open_image(tmp_path / "b.jpg")
        gc.collect()
        assert image.size == (40, 30)

    @pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF"])
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_orientation(self, photo: Image.Image, image_format: str, orientation: int) -> None:
        # Table of the EXIF standard: where row 0 and column 0 of the stored picture belong.
        upright = pixels(photo)
        turned = upright if orientation < 5 else upright.swapaxes(0, 1)
        flip = {2: (1,), 3: (0, 1), 4: (0,), 6: (0,), 7: (0, 1), 8: (1,)}.get(orientation, ())
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        picture = Image.fromarray(np.flip(turned, flip).astype(np.uint8))
        image = open_image(stored(picture, image_format, exif=exif.tobytes()))
        assert image.size == (40, 30)
        assert np.abs(pixels(image) - upright).mean() < 10
        if image_format != "TIFF":  # whose tags stay what the file has
            assert ExifTags.Base.Orientation not in image.getexif()

    def test_exif_is_kept_without_thumbnail(self, photo: Image.Image) -> None:
        thumbnail = b"\xff\xd8 the picture before its background was removed \xff\xd9"
        first = struct.pack("<H HHII HHII I", 2, 271, 2, 4, 0x00656D41, 274, 3, 1, 6, 38)  # Make, Orientation, next
        second = struct.pack("<H HHII HHII I", 2, 513, 4, 1, 68, 514, 4, 1, len(thumbnail), 0)
        exif = b"Exif\0\0II*\0" + struct.pack("<I", 8) + first + second + thumbnail
        assert Image.open(stored(photo, "JPEG", exif=exif)).getexif().get_ifd(ExifTags.IFD.IFD1)[514] == len(thumbnail)
        image = open_image(stored(photo, "JPEG", exif=exif))
        assert image.size == (30, 40)
        assert dict(image.getexif()) == {ExifTags.Base.Make: "Ame"}
        assert b"before its background" not in image.info["exif"]

    @pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0"])
    @pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
    def test_damaged_exif_is_dropped(self, photo: Image.Image, exif: bytes) -> None:
        image = open_image(stored(photo, "JPEG", exif=exif))
        assert image.size == (40, 30)
        assert "exif" not in image.info

    @pytest.mark.parametrize("mode", ["RGB", "L", "P"])
    def test_rgb_profile_is_kept(self, photo: Image.Image, mode: str) -> None:
        image = open_image(stored(photo.convert(mode), "PNG", icc_profile=SRGB))
        assert image.info == {"icc_profile": SRGB}

    def test_cmyk_profile_is_applied_and_dropped(self) -> None:
        inks = np.array([[[0, 0, 0, 0], [255, 0, 0, 0], [0, 0, 0, 255]]], dtype=np.uint8)
        image = open_image(stored(Image.fromarray(inks, "CMYK"), "TIFF", icc_profile=strange_cmyk_profile()))
        assert image.info == {}
        assert np.abs(pixels(image)[0] - [[255, 255, 255], [255, 0, 0], [0, 0, 0]]).max() <= 6

    def test_cmyk_profile_of_an_rgb_file_is_dropped(self, photo: Image.Image) -> None:
        image = open_image(stored(photo, "PNG", icc_profile=strange_cmyk_profile()))
        assert image.info == {}
        assert np.array_equal(pixels(image), pixels(photo))

    @pytest.mark.parametrize("profile", [b"x" * 16 + b"CMYK" + b"x" * 200, b"junk"])
    def test_broken_profile_is_ignored(self, photo: Image.Image, profile: bytes) -> None:
        image = open_image(stored(photo.convert("CMYK"), "TIFF", icc_profile=profile))
        assert image.info == {}
        assert np.abs(pixels(image) - pixels(photo)).max() <= 2

    @pytest.mark.parametrize("mode", ["L", "LA"])
    def test_gray_profile_is_applied_and_dropped(self, mode: str) -> None:
        picture = Image.new(mode, (2, 2), (128, 90)[: len(mode)] if mode == "LA" else 128)
        image = open_image(stored(picture, "PNG", icc_profile=linear_gray_profile()))
        expected = round(255 * (1.055 * (128 / 255) ** (1 / 2.4) - 0.055))  # the transfer curve of sRGB
        assert image.info == {}
        assert image.getpixel((0, 0)) == (expected,) * 3 + ((90,) if mode == "LA" else ())

    def test_exif_stays_when_the_mode_changes(self, photo: Image.Image) -> None:
        exif = Image.Exif()
        exif[ExifTags.Base.Artist] = "Ada"
        image = open_image(stored(photo.convert("L"), "JPEG", exif=exif.tobytes()))
        assert image.getexif()[ExifTags.Base.Artist] == "Ada"

    def test_streams(self, tmp_path: Path, photo: Image.Image) -> None:
        read_end, write_end = os.pipe()
        with open(write_end, "wb") as sink:
            sink.write(stored(photo, "PNG").getvalue())
        with open(read_end, "rb") as pipe:
            assert np.array_equal(pixels(open_image(pipe)), pixels(photo))
            assert not pipe.closed
        stream = stored(photo, "PNG")
        assert np.array_equal(pixels(open_image(stream)), pixels(photo))
        assert not stream.closed

    @pytest.mark.parametrize("size", [(4000, 3000), (8660, 5774)])
    def test_large_photos_pass(self, size: tuple[int, int]) -> None:
        assert open_image(stored(Image.new("L", size, 9), "JPEG")).size == size

    def test_one_pixel(self) -> None:
        assert open_image(stored(Image.new("RGB", (1, 1), "red"), "PNG")).getpixel((0, 0)) == (255, 0, 0)

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("text.jpg", b"Dear reader, this is no photo.\n" * 9, "is not an image"),
            ("drawing.png", b'<svg xmlns="http://www.w3.org/2000/svg"/>', "is not an image"),
            ("page.png", b"<!doctype html><html><body>404</body></html>", "is not an image"),
            ("empty.jpg", b"", "is empty"),
            ("phone.heic", b"\0\0\0\x18ftypheic" + bytes(90), "pillow-heif"),
            ("vector.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "drawing"),
        ],
    )
    def test_not_an_image(self, tmp_path: Path, name: str, content: bytes, message: str) -> None:
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(ImageError, match=f"{re.escape(str(path))}: .*{message}"):
            open_image(path)

    @pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF"])
    @pytest.mark.parametrize("fraction", [0.1, 0.5, 0.95])
    def test_cut_short(self, tmp_path: Path, photo: Image.Image, image_format: str, fraction: float) -> None:
        noise = Image.effect_noise((64, 64), 90).convert("RGB")
        data = stored(noise, image_format).getvalue()
        path = tmp_path / "photo.jpg"
        path.write_bytes(data[: int(len(data) * fraction)])
        with pytest.raises(ImageError, match=re.escape(str(path))):
            open_image(str(path))

    def test_damaged_is_told_from_foreign(self, tmp_path: Path, photo: Image.Image) -> None:
        path = tmp_path / "photo.jpg"
        path.write_bytes(stored(photo, "JPEG").getvalue()[:-300])
        with pytest.raises(ImageError, match="damaged or cut short"):
            open_image(path)

    def test_missing_folder_and_empty_stream(self, tmp_path: Path) -> None:
        with pytest.raises(ImageError, match=r"nothing\.jpg: no such file"):
            open_image(tmp_path / "nothing.jpg")
        with pytest.raises(ImageError, match="is a folder"):
            open_image(tmp_path)
        with pytest.raises(ImageError, match="the input: is empty"):
            open_image(io.BytesIO())
        read_end, write_end = os.pipe()
        os.close(write_end)
        with open(read_end, "rb") as pipe, pytest.raises(ImageError, match="is empty"):
            open_image(pipe)

    def test_too_many_pixels(self, monkeypatch: pytest.MonkeyPatch, photo: Image.Image) -> None:
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
        with pytest.raises(ImageError, match=r"has 0.0012 megapixels, more than 0.0002; .*--max-megapixels"):
            open_image(stored(photo, "PNG"))

    def test_a_pipe_is_refused_at_once(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "a.jpg")
        with pytest.raises(ImageError, match=r"a\.jpg: is a pipe or a device"):
            open_image(tmp_path / "a.jpg")

    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            (np.array([[0, 257, 65535]], "<u2"), [0, 1, 255]),
            (np.array([[0.0, 0.2, 1.0]], "<f4"), [0, 51, 255]),
            (np.array([[0, 2**31, 2**32 - 1]], "<u4"), [0, 128, 255]),
            (np.array([[0, 2**30, 2**31 - 1]], "<i4"), [0, 128, 255]),
            (np.array([[0, 51, 255]], "<u1"), [0, 51, 255]),
        ],
    )
    def test_gray_tiff(self, values: np.ndarray, expected: list[int]) -> None:
        """Unsigned numbers above 2³¹, and files where 0 is white (of which Pillow reads none of 32-bit integers)."""
        assert pixels(open_image(tiff(values, 1)))[0, :, 0].tolist() == expected
        if values.dtype.kind == "f" or values.itemsize < 4:
            assert (255 - pixels(open_image(tiff(values, 0)))[0, :, 0]).tolist() == expected


class TestFrames:
    @pytest.mark.parametrize(
        ("image_format", "kind"),
        [("GIF", "frames"), ("WEBP", "frames"), ("PNG", "frames"), ("AVIF", "frames"), ("TIFF", "pages")],
    )
    def test_others_than_the_first_are_told_of(self, tmp_path: Path, image_format: str, kind: str) -> None:
        frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue", "lime")]
        (tmp_path / "moving").write_bytes(
            stored(frames[0], image_format, save_all=True, append_images=frames[1:]).getvalue()
        )
        with pytest.warns(PhotoWarning, match=rf"moving: holds 3 {kind}; only the first is done"):
            image = open_image(tmp_path / "moving")
        assert np.abs(pixels(image)[4, 4, :3] - [255, 0, 0]).max() <= 3

    @pytest.mark.filterwarnings("error")
    @pytest.mark.parametrize("image_format", ["GIF", "WEBP", "PNG", "AVIF", "TIFF", "MPO"])
    def test_a_single_picture_is_not(self, photo: Image.Image, image_format: str) -> None:
        """Nor are the previews of a phone's photo (MPO)."""
        options = {"save_all": True, "append_images": [photo]} if image_format == "MPO" else {}
        assert open_image(stored(photo, image_format, **options)).size == (40, 30)

    def test_damage_behind_the_first_frame_does_not_matter(self, photo: Image.Image) -> None:
        data = stored(photo, "GIF", save_all=True, append_images=[photo.rotate(90), photo]).getvalue()
        first = stored(photo, "GIF").getvalue()
        assert open_image(io.BytesIO(data[: len(first) + 50])).size == (40, 30)
