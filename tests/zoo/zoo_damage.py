"""Files that are no pictures, damaged ones, bombs, and what is no regular file at all."""

import gzip
import os
import pickle
import socket
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from zoo_pictures import Picture, chunk, draw, encode, exif, png, readable_suffixes

HUGE = 2**31 - 1


def cut() -> Iterator[Picture]:
    """Each format cut at each quarter, and at its header."""
    for suffix in readable_suffixes():
        data = encode(draw(size=(40, 30)), suffix)
        for quarter in (1, 2, 3):
            yield f"cut-{quarter}.{suffix}", data[: len(data) * quarter // 4]
        yield f"cut-header.{suffix}", data[:11]
        yield f"cut-last-byte.{suffix}", data[:-1]


def flipped() -> Iterator[Picture]:
    """Each format with bytes changed at random, and with its second half zeroed."""
    for suffix in readable_suffixes():
        data = encode(draw(size=(40, 30)), suffix, **({"exif": exif(Orientation=6)} if suffix == "jpg" else {}))
        for seed in range(4):
            rng = np.random.default_rng(seed)
            changed = np.frombuffer(data, np.uint8).copy()
            changed[rng.integers(0, len(data), 1 + len(data) // (20 * 4**seed))] = rng.integers(0, 256)
            yield f"flipped-{seed}.{suffix}", changed.tobytes()
        yield f"zeroed.{suffix}", data[: len(data) // 2] + bytes(len(data) - len(data) // 2)
        yield f"doubled.{suffix}", data + data


def poses() -> Iterator[Picture]:
    """Other files under the names of pictures."""
    svg = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>'
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(%pipe%touch ran) (w) file\nshowpage\n"
    files = {
        "empty": b"",
        "one-byte": b"\x89",
        "text": b"not a picture\n",
        "html": b"<!doctype html><script>alert(1)</script>",
        "svg": svg,
        "pdf": b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n",
        "eps": eps,
        "wmf": b"\xd7\xcd\xc6\x9a\0\0" + struct.pack("<4hH", 0, 0, 99, 99, 72) + bytes(200),
        "emf": b"\x01\0\0\0" + bytes(36) + b" EMF" + bytes(200),
        "zip": b"PK\x03\x04" + bytes(60),
        "gzip": gzip.compress(b"x" * 10_000),
        "elf": b"\x7fELF" + bytes(200),
        "pickle": pickle.dumps({"a": 1}),
        "json": b"{}",
        "mp4": b"\0\0\0\x18ftypisom" + bytes(200),
        "heif": b"\0\0\0\x18ftypheic" + bytes(200),
        "zeros": bytes(5000),
        "noise": np.random.default_rng(0).bytes(5000),
        "utf-16": "text".encode("utf-16"),
        "lfs-pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    }
    for (name, data), suffix in zip(files.items(), ("jpg", "png", "tif", "webp", "gif") * 9, strict=False):
        yield f"{name}.{suffix}", data


def bombs() -> Iterator[Picture]:
    """Small files that claim, or hold, very large pictures; and headers that make no sense."""
    row = zlib.compress(bytes(10))
    for width, height in ((HUGE, HUGE), (100_000, 100_000), (HUGE, 1), (1, HUGE), (0, 0), (0, 9), (2**32 - 1, 1)):
        yield f"bomb-{width}x{height}.png", png(width, height, 8, 2, row)
    yield "bomb-idat.png", png(20_000, 20_000, 1, 0, zlib.compress(bytes(2501 * 20_000), 9))
    yield "bomb-too-much-idat.png", png(9, 9, 8, 0, zlib.compress(bytes(300_000_000), 9))
    inflated = zlib.compress(bytes(200_000_000), 9)
    pixels = zlib.compress(bytes(90))
    yield "bomb-iccp.png", png(9, 9, 8, 0, pixels, chunk(b"iCCP", b"x\0\0" + inflated))
    yield "bomb-ztxt.png", png(9, 9, 8, 0, pixels, chunk(b"zTXt", b"x\0\0" + inflated))
    yield "bomb-itxt.png", png(9, 9, 8, 0, pixels, chunk(b"iTXt", b"x\0\1\0\0\0" + inflated))
    yield (
        "bomb-many-texts.png",
        png(9, 9, 8, 0, pixels, *[chunk(b"zTXt", b"x\0\0" + zlib.compress(bytes(900_000)))] * 99),
    )
    yield "bomb-chunk-length.png", b"\x89PNG\r\n\x1a\n" + struct.pack(">I", HUGE) + b"IHDR" + bytes(99)
    yield "bomb-no-idat.png", png(9, 9, 8, 0, b"").replace(chunk(b"IDAT", b""), b"")
    yield "bomb-no-palette.png", png(9, 9, 8, 3, pixels)
    yield "bomb-depth.png", png(9, 9, 7, 0, pixels)
    yield "bomb-color.png", png(9, 9, 8, 5, pixels)
    yield "bomb-apng-frames.png", png(9, 9, 8, 0, pixels, chunk(b"acTL", struct.pack(">II", 2**32 - 1, 0)))
    yield (
        "bomb.gif",
        b"GIF89a" + struct.pack("<HH", 65535, 65535) + b"\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\x02\x02L\x01\0;",
    )
    yield "bomb.bmp", b"BM" + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, HUGE, HUGE, 1, 24, 0, 0, 0, 0, 0, 0)
    yield "bomb-rle.bmp", b"BM" + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, 9999, 9999, 1, 8, 1, 0, 0, 0, 0, 0)
    yield "bomb.ppm", b"P6 99999999 99999999 255 \0"
    yield "bomb-digits.ppm", b"P6 " + b"9" * 5000 + b" 1 255 \0"
    yield "bomb-ascii.ppm", b"P3 10000 10000 255 " + b"1 " * 99
    yield "bomb.psd", b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 300_000, 300_000, 8, 3) + bytes(99)
    jpeg = bytearray(encode(draw(), "jpg"))
    frame = jpeg.index(b"\xff\xc0") + 5
    jpeg[frame : frame + 4] = b"\xff\xdc\xff\xdc"
    yield "bomb.jpg", bytes(jpeg)
    tags = ((256, 200_000), (257, 200_000), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, 200_000), (279, 9))
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    yield "bomb.tif", b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4)
    yield "bomb-circle.tif", b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + struct.pack("<I", 8)
    yield "bomb-tag-count.tif", b"II*\0\x08\0\0\0" + struct.pack("<HHHII", 1, 258, 3, 2**31, 8) + bytes(4)


def draw_damage() -> Iterator[Picture]:
    """All of them, by name. Some can still be read."""
    for kind in (cut, flipped, poses, bombs):
        yield from kind()


def make_special_files(folder: Path) -> None:
    """Pipes, sockets, links that lead nowhere or back, folders with the names of pictures, a very long empty file."""
    data = encode(draw(), "png")
    (folder / "folder.jpg").mkdir()
    (folder / "folder.jpg" / "inside.png").write_bytes(data)
    (folder / "empty-folder.png").mkdir()
    os.mkfifo(folder / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as one:
        here = os.getcwd()
        os.chdir(folder)  # the path of a socket may have 107 bytes only
        try:
            one.bind("socket.png")
        finally:
            os.chdir(here)
    for name, target in {
        "broken-link.png": "nowhere.png",
        "self-link.png": "self-link.png",
        "loop": ".",
        "zero-link.png": "/dev/zero",
        "null-link.png": "/dev/null",
        "pipe-link.png": "pipe.jpg",
        "good-link.png": "same-stem.png",
    }.items():
        (folder / name).symlink_to(target)
    for suffix in ("png", "jpg", "PNG"):
        (folder / f"same-stem.{suffix}").write_bytes(data)
    with (folder / "sparse.png").open("wb") as file:
        file.truncate(3 * 2**30)
    with (folder / "sparse-picture.tif").open("wb") as file:
        file.write(encode(draw(), "tif"))
        file.truncate(3 * 2**30)
    (folder / ".hidden.png").write_bytes(data)
    (folder / "Thumbs.db").write_bytes(b"x")
    (folder / "no-suffix").write_bytes(data)
