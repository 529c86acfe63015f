"""Draw the picture of the README: photo, soft mask, and cut-out on a checkerboard.

python scripts/draw_cut_out.py docs/images/coffee.jpg docs/images/cut-out.jpg --model u2netp
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image

from u2net_hf.utils.console import reported_errors

SQUARE = 16


def main(
    photo: Annotated[Path, typer.Argument(help="The photo.")],
    output: Annotated[Path, typer.Argument(help="The picture to write.")],
    model: Annotated[str, typer.Option(help="A published name, a folder, or a Hub id.")] = "u2netp",
) -> None:
    """Draw photo | soft mask | cut-out."""
    from u2net_hf.engines import load_engine
    from u2net_hf.engines.predict import saliency_maps
    from u2net_hf.images.files import cut_out, mask_image, open_image, save_image

    image = open_image(photo)
    (saliency,) = saliency_maps([image], load_engine(model))
    on_checkerboard = cut_out(image, saliency, background=checkerboard(*image.size))
    sheet = Image.new("RGB", (3 * image.width, image.height))
    for place, picture in enumerate((image, mask_image(saliency), on_checkerboard)):
        sheet.paste(picture.convert("RGB"), (place * image.width, 0))
    save_image(sheet.resize((sheet.width // 2, sheet.height // 2), Image.Resampling.LANCZOS), output)
    print(output)


def checkerboard(width: int, height: int) -> Image.Image:
    """The usual sign of transparency."""
    y, x = np.mgrid[:height, :width] // SQUARE
    return Image.fromarray(np.where((x + y) % 2, 255, 205).astype(np.uint8)).convert("RGB")


if __name__ == "__main__":
    with reported_errors():
        typer.run(main)
