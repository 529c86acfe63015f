"""The size of a pixel in µm, where a TIFF file says it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING
from xml.etree import ElementTree

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

# Length of a unit in µm, by the names that ImageJ and OME give it.
UNITS = {
    **dict.fromkeys(("µm", "μm", "um", "micron", "microns", "micrometer", "micrometers", "\\u00B5m"), 1.0),
    **dict.fromkeys(("nm", "nanometer", "nanometers"), 1e-3),
    **dict.fromkeys(("mm", "millimeter", "millimeters"), 1e3),
    **dict.fromkeys(("cm", "centimeter", "centimeters"), 1e4),
    **dict.fromkeys(("inch", "inches", "in"), 25400.0),
    **dict.fromkeys(("m", "meter", "meters"), 1e6),
    "Å": 1e-4,
}
INCH, CENTIMETER = 2, 3  # the values of ResolutionUnit
# Programs write a resolution for the printer where they know nothing else: 72, 300 or 600 pixels an inch, say.
COARSEST = 25400 / 1201


def read_pixel_size(tiff: TiffFile) -> tuple[float, float] | None:
    """The height and width of a pixel in µm, from OME-XML, from ImageJ's unit, or from the resolution tags.

    Resolution tags in inches that a printer could have (1200 an inch and fewer) say nothing of the sample.

    Returns:
        `None` if the file does not say.
    """
    if tiff.is_ome:
        return _of_ome(tiff.ome_metadata or "")
    density = _density(tiff.pages.first)
    if density is None:
        return None
    if tiff.is_imagej:
        unit = UNITS.get(str((tiff.imagej_metadata or {}).get("unit", "")).strip())
        return None if unit is None else (unit / density[0], unit / density[1])
    kind = tiff.pages.first.tags.get("ResolutionUnit")
    value = INCH if kind is None else int(kind.value)
    unit = {INCH: UNITS["inch"], CENTIMETER: UNITS["cm"]}.get(value)
    if unit is None or (value == INCH and unit / max(density) >= COARSEST):
        return None
    return unit / density[0], unit / density[1]


def _density(page: TiffPage) -> tuple[float, float] | None:
    """Pixels a unit, down and across."""
    found = []
    for name in ("YResolution", "XResolution"):
        tag = page.tags.get(name)
        if tag is None or not isinstance(tag.value, tuple) or 0 in tag.value[:2]:
            return None
        found.append(tag.value[0] / tag.value[1])
    return found[0], found[1]


def _of_ome(xml: str) -> tuple[float, float] | None:
    try:
        pixels = ElementTree.fromstring(xml).find(".//{*}Pixels")
        attributes = {} if pixels is None else pixels.attrib
        names = ("PhysicalSizeY", "PhysicalSizeX")
        height, width = (float(attributes[name]) * UNITS[attributes.get(f"{name}Unit", "µm")] for name in names)
    except (ElementTree.ParseError, LookupError, ValueError):  # no XML, no sizes, or no numbers
        return None
    return (height, width) if all(0 < size < math.inf for size in (height, width)) else None
