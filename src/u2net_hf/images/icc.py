"""ICC color profiles: which one fits an RGB image, and colors converted from one to another."""

from __future__ import annotations

import io

from PIL import Image, ImageCms

SPACES = {"CMYK": b"CMYK", "L": b"GRAY", "LA": b"GRAY"}  # bytes 16 to 19 of an ICC profile


def rgb_profile(image: Image.Image) -> bytes | None:
    """The ICC profile of an image if it is one for RGB, the only kind that fits an RGB image."""
    profile = image.info.get("icc_profile") or b""
    return profile if profile[16:20] == b"RGB " else None


def match_profile(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert the colors of an RGB image to an ICC profile, so that they look the same there."""
    own = rgb_profile(image)
    return image if own == profile else convert_profile(image, own, profile)


def convert_profile(image: Image.Image, source: bytes | None, target: bytes | None) -> Image.Image:
    """Convert an image between two ICC profiles to RGB, `None` being sRGB; without them if one is broken."""
    try:
        before, after = (
            ImageCms.ImageCmsProfile(io.BytesIO(data) if data else ImageCms.createProfile("sRGB"))
            for data in (source, target)
        )
        result = ImageCms.profileToProfile(image, before, after, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError):
        return image.convert("RGB")
    assert result is not None  # only in-place conversion returns nothing
    return result
