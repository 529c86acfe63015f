"""Draw the picture that shows what IS-Net is for: a lattice, as each network sees it, pixel by pixel.

python scripts/draw_fine_structure.py docs/images/fine_structure.jpg

The photo is scikit-image's rocket (SpaceX, public domain).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from PIL import Image

from u2net_hf.utils.console import printable, run_script

PART = (165, 110, 380, 427)  # left, top, right, bottom in the photo


def main(output: Annotated[Path, typer.Argument(help="The picture to write.")]) -> None:
    """Draw photo | map of U²-Net† | of U²-Net | of IS-Net | the last one refined by matting, all at 100 %."""
    from skimage.data import rocket

    from u2net_hf.engines import load_engine
    from u2net_hf.engines.predict import saliency_maps
    from u2net_hf.images.drawing import captioned_row
    from u2net_hf.images.files import mask_image, save_image
    from u2net_hf.models.u2net.render_u2net import refine_alpha

    photo = Image.fromarray(rocket())
    pictures = {"photo": photo}
    for title, model in (("u2netp, 320", "u2netp"), ("u2net, 320", "u2net"), ("isnet, 1024", "isnet")):
        (saliency,) = saliency_maps([photo], load_engine(model))
        pictures[title] = mask_image(saliency)
    pictures["isnet, 1024, with matting"] = mask_image(refine_alpha(photo, saliency)[0])
    save_image(captioned_row({title: picture.crop(PART) for title, picture in pictures.items()}), output)
    print(printable(output))


if __name__ == "__main__":
    run_script(main, __doc__)
