"""Draw the picture that explains matting: hair before another background, without it and with two margins.

python scripts/draw_matting.py docs/images/matting.jpg

The photo is scikit-image's astronaut (NASA, public domain).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from PIL import Image

from u2net_hf.utils.console import printable, run_script

HEAD = (100, 0, 330, 180)  # left, top, right, bottom in the photo
BACKGROUND = "#30a060"
MARGINS = (0.01, 0.05)


def main(
    output: Annotated[Path, typer.Argument(help="The picture to write.")],
    model: Annotated[str, typer.Option(help="A published name, a folder, or a Hub id.")] = "u2net",
) -> None:
    """Draw photo | soft map | matting with a small and with a large margin."""
    from skimage.data import astronaut

    from u2net_hf.engines import load_engine
    from u2net_hf.engines.predict import saliency_maps
    from u2net_hf.images.drawing import captioned_row
    from u2net_hf.images.files import cut_out, save_image
    from u2net_hf.models.u2net.render_u2net import refine_alpha

    photo = Image.fromarray(astronaut())
    (saliency,) = saliency_maps([photo], load_engine(model))
    pictures = {"photo": photo, "soft map": cut_out(photo, saliency, background=BACKGROUND)}
    for margin in MARGINS:
        alpha, colors = refine_alpha(photo, saliency, margin=margin)
        pictures[f"matting, margin {margin}"] = cut_out(Image.fromarray(colors), alpha, background=BACKGROUND)
    save_image(captioned_row({title: picture.crop(HEAD) for title, picture in pictures.items()}), output)
    print(printable(output))


if __name__ == "__main__":
    run_script(main, __doc__)
