"""Tests of u2net_hf.images.files: oracles are numpy formulas, Pillow as the reader, and ICC profiles made by hand."""

import gc
import io
import os
import re
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms, JpegImagePlugin

from u2net_hf.images.files import (
    ImageError,
    cut_out,
    encode_image,
    find_images,
    format_of,
    mask_image,
    open_background,
    open_image,
    open_reduced,
    save_image,
    to_rgb,
)

D50 = struct.pack(">4s4x3i", b"XYZ ", *(round(v * 65536) for v in (0.9642, 1.0, 0.8249)))
LINEAR = struct.pack(">4s4xI", b"curv", 0)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def icc_profile(space: bytes, pcs: bytes, device_class: bytes, tags: dict[bytes, bytes]) -> bytes:
    """An ICC version 2 profile (ICC.1:2001-04, sections 6.1 and 6.2)."""
    header = struct.pack(">I4sI4s4s4s12x4s28x", 0, b"lcms", 0x02400000, device_class, space, pcs, b"acsp")
    header += struct.pack(">3i", 63190, 65536, 54061) + bytes(48)
    offset, table, body = 132 + 12 * len(tags), b"", b""
    for name, data in tags.items():
        table += struct.pack(">4sII", name, offset + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    profile = header + struct.pack(">I", len(tags)) + table + body
    return struct.pack(">I", len(profile)) + profile[4:]


def linear_gray_profile() -> bytes:
    return icc_profile(b"GRAY", b"XYZ ", b"mntr", {b"wtpt": D50, b"kTRC": LINEAR})


def swapped_rgb_profile() -> bytes:
    """Like linear sRGB, but its first channel is green and its second red."""
    colorants = {
        b"rXYZ": (0.3851, 0.7169, 0.0971),
        b"gXYZ": (0.4361, 0.2225, 0.0139),
        b"bXYZ": (0.1431, 0.0606, 0.7141),
    }
    tags = {name: struct.pack(">4s4x3i", b"XYZ ", *(round(v * 65536) for v in xyz)) for name, xyz in colorants.items()}
    curves = dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), LINEAR)
    return icc_profile(b"RGB ", b"XYZ ", b"mntr", {b"wtpt": D50, **tags, **curves})


def strange_cmyk_profile() -> bytes:
    """Ink C looks red, no ink white and everything else black: nothing that a plain conversion would guess."""
    lab = {(0, 0, 0, 0): (255, 128, 128), (1, 0, 0, 0): (round(54.29 * 2.55), 128 + 81, 128 + 70)}
    nodes = [lab.get((c, m, y, k), (0, 128, 128)) for c in (0, 1) for m in (0, 1) for y in (0, 1) for k in (0, 1)]
    identity = bytes(range(256))
    matrix = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    table = struct.pack(">4s4x4B", b"mft1", 4, 3, 2, 0) + matrix + identity * 4
    table += bytes(value for node in nodes for value in node) + identity * 3
    return icc_profile(b"CMYK", b"Lab ", b"prtr", {b"wtpt": D50, b"A2B0": table})


def stored(image: Image.Image, image_format: str, **options: object) -> io.BytesIO:
    stream = io.BytesIO()
    image.save(stream, image_format, **options)
    stream.seek(0)
    return stream


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(int)


@pytest.fixture
def photo() -> Image.Image:
    """A smooth 40x30 picture in color."""
    y, x = np.mgrid[:30, :40]
    return Image.fromarray(np.stack([x * 6, y * 8, 255 - x * 3], axis=-1).astype(np.uint8))


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

    def test_decompression_bomb(self, monkeypatch: pytest.MonkeyPatch, photo: Image.Image) -> None:
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
        with pytest.raises(ImageError, match=r"too many pixels.*1200 pixels.*limit of 200"):
            open_image(stored(photo, "PNG"))


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
