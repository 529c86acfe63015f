"""Tests of u2net_hf.images.png: Pillow reads what was written, and the chunks are taken apart by the specification."""

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from u2net_hf.images import png
from u2net_hf.images.png import encode_png

BANDS = {"L": 1, "RGB": 3, "RGBA": 4}
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def noise(mode: str, width: int, height: int, seed: int = 0) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, BANDS[mode]), dtype=np.uint8)
    return Image.fromarray(values.squeeze(2) if mode == "L" else values)


def smooth(mode: str, width: int, height: int) -> Image.Image:
    return Image.merge(mode, [Image.linear_gradient("L").resize((width, height))] * BANDS[mode])


def chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The chunks of a PNG file; whatever a strict reader would refuse fails here."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    position = 8
    while position < len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        content = data[position + 8 : position + 8 + length]
        (checksum,) = struct.unpack_from(">I", data, position + 8 + length)
        assert checksum == zlib.crc32(kind + content)
        yield kind, content
        position += 12 + length
    assert position == len(data)


def read(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


@pytest.fixture(params=["isal", "zlib"])
def _deflate(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once with ISA-L, once as where it is not installed."""
    if request.param == "zlib":
        monkeypatch.setattr(png, "isal_zlib", None)
    elif png.isal_zlib is None:
        pytest.skip("needs isal")


class TestEncodePng:
    @settings(deadline=None)
    @given(
        mode=st.sampled_from(sorted(BANDS)),
        width=st.integers(1, 70),
        height=st.integers(1, 70),
        level=st.integers(0, 9),
        block=st.sampled_from([1, 200, 2**18]),
        seed=st.integers(0, 9),
    )
    def test_pixels_survive(self, mode: str, width: int, height: int, level: int, block: int, seed: int) -> None:
        image = noise(mode, width, height, seed)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(png, "_BLOCK", block)
            result = read(encode_png(image, compress_level=level))
        assert (result.format, result.mode, result.size) == ("PNG", mode, (width, height))
        assert np.array_equal(np.asarray(result), np.asarray(image))

    @pytest.mark.usefixtures("_deflate")
    @pytest.mark.parametrize("level", [0, 1, 6])
    @pytest.mark.parametrize("threads", [2, 3, 8])
    @pytest.mark.parametrize("size", [(1, 1), (3, 2), (61, 47), (5, 300)])
    def test_threads(self, monkeypatch: pytest.MonkeyPatch, level: int, threads: int, size: tuple[int, int]) -> None:
        monkeypatch.setattr(png, "_STRIP", 6)
        image = noise("RGB", *size)
        data = encode_png(image, compress_level=level, threads=threads)
        assert data == encode_png(image, compress_level=level)
        assert np.array_equal(np.asarray(read(data)), np.asarray(image))
        stream = zlib.decompressobj()  # which checks the sum of all bytes, as Pillow does not
        rows = stream.decompress(b"".join(content for kind, content in chunks(data) if kind == b"IDAT"))
        assert stream.eof
        assert len(rows) == size[1] * (1 + 3 * size[0])

    @settings(deadline=None)
    @given(first=st.binary(max_size=9000), second=st.binary(max_size=9000), repeated=st.integers(1, 50))
    def test_checksums_are_combined(self, first: bytes, second: bytes, repeated: int) -> None:
        first, second = first * repeated, second * repeated
        combined = png._combine_adler32(zlib.adler32(first), zlib.adler32(second), len(second))
        assert combined == zlib.adler32(first + second)

    @pytest.mark.usefixtures("_deflate")
    @pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (1200, 900)])
    @pytest.mark.parametrize("mode", sorted(BANDS))
    @pytest.mark.parametrize("level", [0, 1, 2, 6])
    def test_sizes_and_levels(self, mode: str, size: tuple[int, int], level: int) -> None:
        image = smooth(mode, *size)
        assert np.array_equal(np.asarray(read(encode_png(image, compress_level=level))), np.asarray(image))

    @pytest.mark.usefixtures("_deflate")
    @pytest.mark.parametrize(("mode", "color_type"), [("L", 0), ("RGB", 2), ("RGBA", 6)])
    def test_chunks_by_the_specification(self, mode: str, color_type: int) -> None:
        image = noise(mode, 400, 500)
        found = list(chunks(encode_png(image, icc_profile=SRGB, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0")))
        kinds = [kind for kind, _ in found]
        assert kinds[:3] == [b"IHDR", b"iCCP", b"eXIf"]
        assert set(kinds[3:-1]) == {b"IDAT"}
        assert kinds[-1] == b"IEND"
        assert struct.unpack(">IIBBBBB", found[0][1]) == (400, 500, 8, color_type, 0, 0, 0)
        name, profile = found[1][1].split(b"\0", 1)
        assert 1 <= len(name) <= 79
        assert profile[0] == 0
        assert zlib.decompress(profile[1:]) == SRGB
        assert found[2][1] == b"MM\0*\0\0\0\x08\0\0\0\0\0\0"
        assert all(content for kind, content in found if kind == b"IDAT")
        stream = zlib.decompressobj()
        rows = stream.decompress(b"".join(content for kind, content in found if kind == b"IDAT"))
        assert stream.eof
        assert not stream.unused_data
        assert len(rows) == 500 * (1 + 400 * BANDS[mode])

    def test_metadata_is_read_again(self) -> None:
        exif = Image.Exif()
        exif[315] = "Ada"
        result = read(encode_png(noise("RGB", 5, 4), icc_profile=SRGB, exif=exif.tobytes()))
        assert result.info["icc_profile"] == SRGB
        assert result.getexif()[315] == "Ada"
        assert read(encode_png(noise("RGB", 5, 4))).info == {}

    def test_levels_become_smaller_and_are_smaller_than_those_of_pillow(self) -> None:
        grain = Image.effect_noise((600, 400), 20).resize((1200, 800))
        image = Image.merge("RGBA", [grain, grain.rotate(180), grain, grain.point(lambda value: 255 * (value > 120))])
        sizes = [len(encode_png(image, compress_level=level)) for level in (0, 1, 3, 6)]
        assert sizes == sorted(sizes, reverse=True)
        assert sizes[0] > 1200 * 800 * 4
        stream = io.BytesIO()
        image.save(stream, "PNG", compress_level=1)
        assert sizes[1] < 1.1 * stream.tell()

    def test_the_image_is_left_alone(self) -> None:
        image = noise("RGBA", 30, 20)
        before = image.tobytes()
        encode_png(image)
        assert image.tobytes() == before

    @pytest.mark.parametrize("mode", ["P", "LA", "1", "I;16", "CMYK", "F"])
    def test_other_modes_are_refused(self, mode: str) -> None:
        with pytest.raises(ValueError, match="mode"):
            encode_png(Image.new(mode, (2, 2)))

    @pytest.mark.parametrize("size", [(0, 3), (3, 0)])
    def test_no_pixels(self, size: tuple[int, int]) -> None:
        with pytest.raises(ValueError, match="pixels"):
            encode_png(Image.new("L", size))

    @pytest.mark.parametrize("level", [-1, 10])
    def test_no_such_level(self, level: int) -> None:
        with pytest.raises(ValueError, match="compress_level"):
            encode_png(Image.new("L", (2, 2)), compress_level=level)
