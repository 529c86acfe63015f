"""What is drawn for people to look at: contact sheets, the checkerboard, figures of matplotlib."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..utils.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CAPTION_HEIGHT = 18
WIDEST = 4  # width of a picture on a sheet as a multiple of its height


def contact_sheet(
    rows: Sequence[Sequence[Image.Image]], height: int, *, gap: int = 4, captions: Sequence[str] = ()
) -> Image.Image:
    """Draw rows of pictures on a white sheet.

    Args:
        rows: The pictures; a row may be empty.
        height: Height in pixels that each picture is scaled to (less for one more than four times as wide as high).
        gap: Pixels between two pictures and between two rows.
        captions: A line above each row; by default there are none.

    Returns:
        An RGB image, just large enough.
    """
    scaled = [[_scale(picture.convert("RGB"), height) for picture in row] for row in rows]
    heights = [CAPTION_HEIGHT * bool(captions) + (height if row else 0) for row in scaled]
    width = max((sum(picture.width + gap for picture in row) - gap for row in scaled if row), default=1)
    sheet = Image.new("RGB", (width, sum(heights) + gap * (len(rows) - 1)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    top = 0
    for number, row in enumerate(scaled):
        left = 0
        if captions:
            draw.text((2, top + 2), captions[number], "black", font)
        for picture in row:
            sheet.paste(picture, (left, top + CAPTION_HEIGHT * bool(captions)))
            left += picture.width + gap
        top += heights[number] + gap
    return sheet


def captioned_row(pictures: Mapping[str, Image.Image]) -> Image.Image:
    """Draw pictures of one height side by side, pixel by pixel, each below its title."""
    titled = [contact_sheet([[picture]], picture.height, captions=[title]) for title, picture in pictures.items()]
    return contact_sheet([titled], titled[0].height, gap=0)


def _scale(picture: Image.Image, height: int) -> Image.Image:
    scale = min(height / picture.height, WIDEST * height / picture.width)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture if size == picture.size else picture.resize(size, Image.Resampling.LANCZOS)


def checkerboard(size: tuple[int, int], square: int = 12) -> Image.Image:
    """The usual sign of transparency: gray and light gray squares, an RGB image of a size (W, H)."""
    width, height = size
    odd = (np.indices((height, width)) // square).sum(axis=0) % 2
    return Image.fromarray((200 + 40 * odd).astype(np.uint8)).convert("RGB")


def save_figure(figure: Figure, path: str | Path, **options: Any) -> None:
    """Write a figure of matplotlib whole or not at all, in the format that the suffix names.

    Args:
        figure: The figure.
        path: A file whose name ends in .png, .svg or the like.
        options: Of `Figure.savefig`.
    """
    stream = io.BytesIO()
    figure.savefig(stream, format=Path(path).suffix[1:], **options)
    write_atomically(path, stream.getvalue())
