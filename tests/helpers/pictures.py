"""Pictures, their files, and color profiles made by hand, shared by the tests of images."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

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


def with_chunk(png: bytes, kind: bytes, data: bytes) -> io.BytesIO:
    """A PNG file with a chunk more, behind its header (PNG 3rd edition, 5.3)."""
    chunk = struct.pack(">I4s", len(data), kind) + data + struct.pack(">I", zlib.crc32(kind + data))
    return io.BytesIO(png[:33] + chunk + png[33:])


def tiff(values: np.ndarray, photometric: int) -> io.BytesIO:
    """A gray TIFF of any type of numbers; 0 is white where `photometric` is 0 (TIFF 6.0, sections 2 and 8)."""
    height, width = values.shape
    kind = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    tags = {256: width, 257: height, 258: values.itemsize * 8, 259: 1, 262: photometric}
    tags |= {273: 8 + 2 + 12 * 10 + 4, 277: 1, 278: height, 279: values.nbytes, 339: kind}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return io.BytesIO(b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + values.tobytes())


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(int)


@pytest.fixture
def photo() -> Image.Image:
    """A smooth 40x30 picture in color."""
    y, x = np.mgrid[:30, :40]
    return Image.fromarray(np.stack([x * 6, y * 8, 255 - x * 3], axis=-1).astype(np.uint8))
