"""What runs this model on the Hub's Inference Endpoints: a photo in, its cut-out or soft mask out.

The body of a request is a picture, or JSON: {"inputs": a picture in base64, "parameters": {"mask": true, ...}}. With
`Accept: image/png` the answer is a file; in JSON it is base64.
"""

from typing import Any

import torch
from PIL import Image, ImageColor
from transformers import pipeline

NUMBERS = ("threshold", "crop")
FLAGS = ("mask", "matting", "do_min_max")


class EndpointHandler:
    """Made once, when the endpoint starts; then called for each request.

    Args:
        path: The folder of this repository.
    """

    def __init__(self, path: str = "") -> None:
        device = 0 if torch.cuda.is_available() else "cpu"
        self.remover = pipeline("background-removal", model=path, trust_remote_code=True, device=device)

    def __call__(self, data: dict[str, Any]) -> Image.Image:
        """Answer a request.

        Args:
            data: "inputs": a `PIL.Image`, or a picture in base64. No address and no path: a request reads nothing
                from elsewhere. "parameters": mask, background (a color), threshold, matting, crop, do_min_max.

        Raises:
            ValueError: If the picture cannot be read, or a parameter is wrong.
        """
        picture = data["inputs"]
        if not isinstance(picture, Image.Image):
            picture = f"data:;base64,{str(picture).rpartition(',')[2]}"
        return self.remover(picture, **_read_parameters(data.get("parameters") or {}))


def _read_parameters(given: dict[str, Any]) -> dict[str, Any]:
    """Those of the pipeline that a request may set; in an address all of them are text."""
    read: dict[str, Any] = {}
    for name, value in given.items():
        if name in NUMBERS:
            read[name] = float(value)
        elif name in FLAGS:
            if value not in (True, False):
                raise ValueError(f"{name}: expected true or false, got {value!r}")
            read[name] = bool(value)
        elif name == "background":
            ImageColor.getrgb(str(value))  # raises for what is no color, for example a path
            read[name] = str(value)
        else:
            raise ValueError(f"{name}: expected one of {', '.join((*FLAGS, *NUMBERS, 'background'))}")
    return read
