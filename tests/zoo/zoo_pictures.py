"""Pictures of every kind that Pillow reads: modes, formats, depths, layouts, metadata, sizes. All are valid."""

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import numpy as np
import tifffile
from PIL import ExifTags, Image, ImageCms, features

WIDTH, HEIGHT = 19, 13
MODES = {
    "png": ("1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16"),
    "tif": ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "LAB", "I", "I;16", "I;16B", "F"),
    "bmp": ("1", "L", "P", "RGB", "RGBA"),
    "gif": ("1", "L", "LA", "P", "RGB", "RGBA"),
    "jpg": ("1", "L", "RGB", "CMYK", "YCbCr"),
    "webp": ("L", "LA", "P", "RGB", "RGBA"),
    "jp2": ("L", "LA", "RGB", "RGBA", "YCbCr", "I;16"),
    "ppm": ("1", "L", "RGB", "RGBA", "I", "I;16"),
    "avif": ("L", "LA", "RGB", "RGBA"),
}
COMPRESSIONS = ("raw", "tiff_lzw", "tiff_deflate", "tiff_adobe_deflate", "packbits", "jpeg", "lzma", "zstd")
Picture = tuple[str, bytes]


def draw(mode: str = "RGB", size: tuple[int, int] = (WIDTH, HEIGHT), seed: int = 0) -> Image.Image:
    """A bright ellipse on noise, in any mode."""
    width, height = size
    y, x = np.mgrid[:height, :width]
    inside = ((x - width / 2) / (width / 3)) ** 2 + ((y - height / 2) / (height / 3)) ** 2 < 1
    noise = np.random.default_rng(seed).integers(0, 100, (height, width, 3))
    image = Image.fromarray((noise + 150 * inside[..., None]).astype(np.uint8))
    gray = np.asarray(image.convert("L"))
    if mode in ("I;16", "I;16B"):
        values = np.frombuffer((gray.astype("<u2" if mode == "I;16" else ">u2") * 257).tobytes(), np.uint8)
        return Image.frombytes(mode, size, values.tobytes())
    if mode in ("I", "F"):
        return Image.fromarray(gray.astype(np.int32) * 257 if mode == "I" else gray.astype(np.float32) / 255)
    if mode in ("LA", "PA", "RGBA"):
        image.putalpha(Image.fromarray(inside.astype(np.uint8) * 255))
        return image.convert("RGBA").convert("LA").convert(mode) if mode != "RGBA" else image
    if mode == "LAB":
        return ImageCms.applyTransform(
            image, ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
        )
    return image.convert(mode)


def encode(image: Image.Image, suffix: str, **options: Any) -> bytes:
    """An image as a file of a format, chosen by suffix."""
    stream = io.BytesIO()
    image.save(stream, Image.registered_extensions()[f".{suffix}"], **options)
    return stream.getvalue()


def readable_suffixes() -> list[str]:
    """The formats that this Pillow can write."""
    return [suffix for suffix in MODES if suffix != "avif" or features.check("avif")]


def modes() -> Iterator[Picture]:
    """Each format in each of its modes."""
    for suffix in readable_suffixes():
        for mode in MODES[suffix]:
            yield f"{suffix}-{mode.replace(';', '_')}.{suffix}", encode(draw(mode), suffix)


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int, color: int, data: bytes, *extra: bytes, interlace: int = 0) -> bytes:
    """A PNG of compressed pixel data, with chunks before it."""
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlace)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(extra) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def _rows(row_bytes: int, rows: int, seed: int = 0) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (rows, 1 + row_bytes), dtype=np.uint8)
    pixels[:, 0] = 0
    return pixels.tobytes()


def _adam7(bytes_per_pixel: int) -> bytes:
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    data = b""
    for left, top, step_x, step_y in passes:
        columns, rows = (-(-max(0, WIDTH - left) // step_x), -(-max(0, HEIGHT - top) // step_y))
        data += _rows(columns * bytes_per_pixel, rows) if columns and rows else b""
    return zlib.compress(data)


def pngs() -> Iterator[Picture]:
    """What PNG allows and Pillow does not write: depths, Adam7, transparent colors, color tags, texts."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
    depths = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
    palette = chunk(b"PLTE", bytes(range(256)) * 3)
    for color, count in channels.items():
        for depth in depths[color]:
            extra = [chunk(b"PLTE", (bytes(range(256)) * 3)[: 3 * 2**depth])] if color == 3 else []
            data = zlib.compress(_rows(-(-WIDTH * count * depth // 8), HEIGHT))
            yield f"png-color{color}-depth{depth}.png", png(WIDTH, HEIGHT, depth, color, data, *extra)
            if depth >= 8:
                adam7 = _adam7(count * depth // 8)
                interlaced = png(WIDTH, HEIGHT, depth, color, adam7, *extra, interlace=1)
                yield f"png-adam7-color{color}-depth{depth}.png", interlaced
    gray, rgb = (zlib.compress(_rows(WIDTH * count, HEIGHT)) for count in (1, 3))
    tags = {
        "trns-gray": (0, gray, chunk(b"tRNS", b"\0\x05")),
        "trns-rgb": (2, rgb, chunk(b"tRNS", b"\0\1\0\2\0\3")),
        "trns-palette": (3, gray, palette, chunk(b"tRNS", bytes(range(256)))),
        "trns-short": (3, gray, palette, chunk(b"tRNS", b"\0")),
        "gama-linear": (2, rgb, chunk(b"gAMA", struct.pack(">I", 100000))),
        "gama-zero": (2, rgb, chunk(b"gAMA", struct.pack(">I", 0))),
        "gama-huge": (2, rgb, chunk(b"gAMA", b"\xff" * 4)),
        "cicp-pq": (2, rgb, chunk(b"cICP", bytes((9, 16, 0, 1)))),
        "cicp-hlg": (2, rgb, chunk(b"cICP", bytes((9, 18, 0, 1)))),
        "cicp-odd": (2, rgb, chunk(b"cICP", bytes((255, 255, 255, 255)))),
        "chrm-zero": (2, rgb, chunk(b"cHRM", bytes(32)), chunk(b"gAMA", struct.pack(">I", 45455))),
        "srgb": (2, rgb, chunk(b"sRGB", b"\0")),
        "ztxt": (2, rgb, chunk(b"zTXt", b"key\0\0" + zlib.compress(b"text"))),
        "itxt": (2, rgb, chunk(b"iTXt", b"key\0\1\0\0\0" + zlib.compress("täxt".encode()))),
        "phys": (2, rgb, chunk(b"pHYs", b"\xff" * 9)),
        "unknown-chunk": (2, rgb, chunk(b"zoOx", bytes(999))),
    }
    for name, (color, data, *extra) in tags.items():
        yield f"png-{name}.png", png(WIDTH, HEIGHT, 8, color, data, *extra)


def tiffs() -> Iterator[Picture]:
    """TIFF's compressions, photometric interpretations, sample types and layouts."""
    for name in COMPRESSIONS:
        yield f"tif-{name}.tif", encode(draw(), "tif", compression=name)
    for name in ("group3", "group4", "tiff_ccitt"):
        yield f"tif-{name}.tif", encode(draw("1"), "tif", compression=name)
    gray, rgb = np.asarray(draw("L")), np.asarray(draw())
    real = gray.astype(np.float32) / 255
    odd = real.copy()
    odd[0, :4] = np.nan, np.inf, -np.inf, -3
    arrays: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
        "miniswhite8": (gray, {"photometric": "miniswhite"}),
        "miniswhite16": (gray.astype(np.uint16) * 257, {"photometric": "miniswhite"}),
        "uint16-big-endian": (gray.astype(np.uint16) * 257, {"byteorder": ">"}),
        "uint32": (gray.astype(np.uint32) * 16843009, {}),
        "int16": (gray.astype(np.int16) * 100 - 9000, {}),
        "int32": (gray.astype(np.int32) - 100, {}),
        "float32": (real, {}),
        "float32-nan-inf-negative": (odd, {}),
        "float32-all-nan": (real * np.nan, {}),
        "float32-huge": (real * 3e38, {}),
        "tiled": (np.kron(gray, np.ones((3, 3), np.uint8)), {"tile": (16, 16)}),
        "tiled-rgb": (np.kron(rgb, np.ones((3, 3, 1), np.uint8)), {"tile": (32, 16), "photometric": "rgb"}),
        "big": (rgb, {"bigtiff": True, "photometric": "rgb"}),
        "big-endian": (rgb, {"byteorder": ">", "photometric": "rgb"}),
        "planar": (np.moveaxis(rgb, 2, 0).copy(), {"planarconfig": "separate", "photometric": "rgb"}),
        "deflate-predictor": (rgb, {"compression": "zlib", "photometric": "rgb", "predictor": False}),
        "pages": (np.stack([gray] * 3), {"photometric": "minisblack"}),
        "one-row-strips": (rgb, {"rowsperstrip": 1, "photometric": "rgb"}),
        "extra-channels": (np.concatenate([rgb, rgb[..., :2]], 2), {"photometric": "rgb"}),
    }
    for name, (array, options) in arrays.items():
        options = dict(options)
        stream = io.BytesIO()
        writer = {key: options.pop(key) for key in ("byteorder", "bigtiff") if key in options}
        tifffile.imwrite(stream, array, **writer, **options)
        yield f"tif-{name}.tif", stream.getvalue()


def exif(**tags: Any) -> Image.Exif:
    """EXIF data with tags by name."""
    data = Image.Exif()
    for name, value in tags.items():
        data[ExifTags.Base[name]] = value
    return data


def metadata() -> Iterator[Picture]:
    """Orientations, and damaged EXIF data and color profiles, which are no reason to refuse a picture."""
    for number, suffix in product(range(10), ("jpg", "png", "webp")):
        yield f"exif-{number}.{suffix}", encode(draw(), suffix, exif=exif(Orientation=number))
    for number in range(1, 9):
        yield f"exif-{number}.tif", encode(draw(), "tif", tiffinfo={274: number})
    rng = np.random.default_rng(1)
    circle = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<HHHIII", 1, 0x8769, 4, 1, 8, 8)
    count = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<HHHIII", 1, 0x10E, 2, 2**32 - 1, 8, 0)
    blocks = {
        "noise": rng.bytes(500),
        "noise-with-header": b"Exif\0\0II*\0" + rng.bytes(500),
        "circle": circle,
        "huge-count": count,
        "huge-offset": b"Exif\0\0MM\0*\xff\xff\xff\xff",
        "empty": b"Exif\0\0",
        "text-orientation": exif(Make="x" * 40000).tobytes(),
    }
    for (name, data), suffix in product(blocks.items(), ("jpg", "png", "webp")):
        yield f"exif-{name}.{suffix}", encode(draw(), suffix, exif=data)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    as_gray, as_cmyk = (srgb[:16] + space + srgb[20:] for space in (b"GRAY", b"CMYK"))
    profiles = {"srgb": srgb, "lab": lab, "gray": as_gray, "cmyk": as_cmyk, "noise": rng.bytes(700), "cut": srgb[:200]}
    profiles |= {"one-byte": b"x", "huge": srgb + bytes(3_000_000), "wrong-length": b"\xff\xff\xff\xff" + srgb[4:]}
    modes = (("jpg", "RGB"), ("jpg", "CMYK"), ("png", "L"), ("tif", "CMYK"), ("webp", "RGBA"))
    for (name, profile), (suffix, mode) in product(profiles.items(), modes):
        yield f"icc-{name}-{mode}.{suffix}", encode(draw(mode), suffix, icc_profile=profile)


def sizes() -> Iterator[Picture]:
    """The smallest and the narrowest."""
    for size, suffix in product(((1, 1), (1, 7), (7, 1), (2, 2), (1, 3000), (3000, 1)), ("png", "jpg", "webp", "gif")):
        yield f"size-{size[0]}x{size[1]}.{suffix}", encode(draw(size=size), suffix)
    yield "size-65500x1.jpg", encode(draw(size=(65500, 1)), "jpg")
    yield "size-1x65500.png", encode(draw(size=(1, 65500)), "png")
    yield "size-20000x1.png", encode(draw(size=(20000, 1)), "png")  # wider than WebP can be
    yield "size-all-black.png", encode(Image.new("RGB", (9, 9)), "png")
    yield "size-all-transparent.png", encode(Image.new("RGBA", (9, 9)), "png")
    yield "size-all-white.webp", encode(Image.new("RGB", (9, 9), "white"), "webp")


def frames() -> Iterator[Picture]:
    """Animations and pages."""
    images = [draw(seed=seed) for seed in range(3)]
    more: dict[str, Any] = {"save_all": True, "append_images": images[1:]}
    yield "frames.gif", encode(images[0], "gif", duration=50, **more)
    yield "frames.webp", encode(images[0], "webp", duration=50, **more)
    yield "frames.png", encode(images[0], "png", duration=50, **more)
    yield "frames-default-image.apng", encode(images[0], "png", default_image=True, **more)
    yield "frames.tif", encode(images[0], "tif", **more)
    yield "frames.mpo", encode(images[0], "mpo", **more)
    yield "progressive.jpg", encode(images[0], "jpg", progressive=True)
    yield "subsampled.jpg", encode(images[0], "jpg", subsampling=2, quality=1)
    yield "interlaced.gif", encode(images[0], "gif", interlace=1)
    yield "transparent.gif", encode(draw("RGBA"), "gif")
    yield "wrong-suffix.bmp", encode(images[0], "jpg")
    for true, shown in (
        ("jpg", "png"),
        ("png", "jpg"),
        ("webp", "gif"),
        ("gif", "webp"),
        ("tif", "jp2"),
        ("bmp", "psd"),
    ):
        yield f"is-{true}.{shown}", encode(images[0], true)


def names() -> Iterator[Picture]:
    """Names that a shell, a terminal or a program may trip over."""
    data = encode(draw(), "png")
    odd = (
        "with space",
        " leading",
        "trailing ",
        "ünïcode-日本語",
        "e\u0301combining",
        "emoji-😀",
        "rtl-\u202egnp",
        "tab\t",
    )
    odd += (
        "bell\x07",
        "escape\x1b[31m\x1b]0;title\x07",
        "new\nline",
        "return\rover",
        "-dash",
        "--help",
        "$(touch x)",
        "`id`",
    )
    odd += ("quote'\"", "per%cent%s", "{braces}", "back\\slash", "semi;colon&|<>", "star*?[a]", "two.dots..", "~tilde")
    odd += ("n" * 230, "null", "CON", "#hash", "bidi\u2066", "\u2028separator", "nbsp\u00a0", "del\x7f", "c1\x9b31m")
    for name in odd:
        yield f"{name}.png", data
    yield "UPPER.PNG", data
    yield "double.jpg.png", data
    yield "not-utf8-\udcff\udc9b.png", data


KINDS: tuple[Callable[[], Iterator[Picture]], ...] = (modes, pngs, tiffs, metadata, sizes, frames, names)


def draw_pictures() -> Iterator[Picture]:
    """All of them, by name."""
    for kind in KINDS:
        yield from kind()
