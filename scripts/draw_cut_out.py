"""Draw the picture of the README: photo, soft mask, and cut-out on a checkerboard.

python scripts/draw_cut_out.py hub_cards/space/coffee.jpg docs/images/cut-out.jpg --model u2netp
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from u2net_hf.utils.console import printable, run_script


def main(
    photo: Annotated[Path, typer.Argument(help="The photo.")],
    output: Annotated[Path, typer.Argument(help="The picture to write.")],
    model: Annotated[str, typer.Option(help="A published name, a folder, or a Hub id.")] = "u2netp",
) -> None:
    """Draw photo | soft mask | cut-out."""
    from u2net_hf.engines import load_engine
    from u2net_hf.engines.predict import saliency_maps
    from u2net_hf.images.drawing import checkerboard, contact_sheet
    from u2net_hf.images.files import cut_out, mask_image, open_image, save_image

    image = open_image(photo)
    (saliency,) = saliency_maps([image], load_engine(model))
    shown = cut_out(image, saliency, background=checkerboard(image.size))
    save_image(contact_sheet([[image, mask_image(saliency), shown]], image.height // 2), output)
    print(printable(output))


if __name__ == "__main__":
    run_script(main, __doc__)
