"""Draw the picture of cells in the README: microscope images, probabilities, and numbered nuclei.

python scripts/draw_nuclei.py docs/images/nuclei_fluorescence.png docs/images/nuclei_tissue.png docs/images/nuclei.jpg
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image

from u2net_hf.utils.console import printable, run_script

HEIGHT = 320
SHOWN = 150  # pixels: the side of the lower left corner that is drawn, so that numbers can be read


def main(
    images: Annotated[list[Path], typer.Argument(help="Microscope images, a row for each.")],
    output: Annotated[Path, typer.Argument(help="The picture to write.")],
    model: Annotated[str, typer.Option(help="A published name, a folder, or a Hub id.")] = "nuclei",
) -> None:
    """Draw image | probability | numbered nuclei, as `u2net-hf segment` writes them."""
    from PIL import ImageOps
    from tifffile import imread

    from u2net_hf.images.drawing import contact_sheet
    from u2net_hf.images.files import mask_image, save_image
    from u2net_hf.images.outputs import Job
    from u2net_hf.segmentation.jobs import Outputs, companion, segment_file
    from u2net_hf.segmentation.network import load_network
    from u2net_hf.segmentation.segmentation import PageOptions

    network, outputs, rows = load_network(model), Outputs(overlay=True, probabilities=True), []
    with tempfile.TemporaryDirectory() as folder:
        labels = Path(folder, "labels.tif")
        for path in images:
            segment_file(Job(path, labels), network, options=PageOptions(), outputs=outputs)
            shown = Image.open(companion(labels, "overlay", ".png")).convert("RGB")
            probability = mask_image(imread(companion(labels, "probabilities", ".tif")))
            image = ImageOps.autocontrast(Image.open(path).convert("RGB"), 0.5, preserve_tone=True)
            rows.append(
                [_corner(picture, SHOWN * picture.height // image.height) for picture in (image, probability, shown)]
            )
    save_image(contact_sheet(rows, HEIGHT), output)
    print(printable(output))


def _corner(picture: Image.Image, side: int) -> Image.Image:
    return picture.crop((0, picture.height - side, side, picture.height))


if __name__ == "__main__":
    run_script(main, __doc__)
