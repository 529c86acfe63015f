"""The pipeline "background-removal": a photo in, its salient object on a transparent background out.

Named after the task of transformers.js. The library's own "image-segmentation" gives hard masks only.
"""

import base64
import io
import os
from pathlib import Path
from typing import Any

from huggingface_hub.utils import httpx
from PIL import Image
from transformers.pipelines.base import Pipeline
from transformers.utils import ModelOutput

from .photo_u2net import as_photo, on_ground, open_image
from .render_u2net import RenderOptions, open_background, render


class BackgroundRemovalPipeline(Pipeline):
    """Cut the salient object out of photos with a [`U2NetForImageSegmentation`].

    Called with a path, a URL, a base64 string or a `PIL.Image`, or a list, dataset or generator of them, plus what
    the command takes too:

    Args:
        mask (`bool`, *optional*, defaults to `False`):
            Whether to return the soft mask (`PIL.Image` of mode "L") instead of the cut-out.
        background (`str` or `PIL.Image`, *optional*):
            A color ("white", "#00ff88"), an image or the path of one to put behind the object.
        threshold (`float`, *optional*):
            Keep pixels of at least this saliency (0 to 1) fully, and no others.
        matting (`bool`, *optional*, defaults to `False`):
            Whether to refine hair and soft edges on the photo and to take the old background out of their colors;
            slower than the network on large photos. Needs pymatting.
        crop (`float`, *optional*):
            Cut the result to the object, with so much around it, as a share of the object's longer side (0 or more).
        do_min_max (`bool`, *optional*, defaults to `False`):
            Whether to stretch each saliency map to [0, 1], as the authors do.
        timeout (`float`, *optional*):
            Seconds to wait for an image from the web; without it there is no limit.

    Returns:
        One `PIL.Image` per photo, of the photo's size unless it is cropped, with its EXIF orientation applied, and its
        color profile and EXIF data in `info`: RGBA, its transparent pixels without color; RGB with a background; or
        the mask.

    Example:

    ```python
    >>> from transformers import pipeline
    >>> import u2net_hf

    >>> remover = pipeline("background-removal")
    >>> remover("photo.jpg").save("cut-out.png")
    ```
    """

    _load_processor = False
    _load_image_processor = True
    _load_feature_extractor = False
    _load_tokenizer = False

    def _sanitize_parameters(
        self,
        mask: bool | None = None,
        background: str | Image.Image | None = None,
        threshold: float | None = None,
        matting: bool | None = None,
        crop: float | None = None,
        do_min_max: bool | None = None,
        timeout: float | None = None,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        if isinstance(background, str):
            background = open_background(background)
        post_processing = {
            "mask": mask,
            "background": background,
            "threshold": threshold,
            "matting": matting,
            "crop": crop,
            "do_min_max": do_min_max,
        }
        return (
            {} if timeout is None else {"timeout": timeout},
            {},
            {name: value for name, value in post_processing.items() if value is not None},
        )

    def preprocess(self, image: str | Path | Image.Image, timeout: float | None = None) -> Any:
        """Load a photo and make the network's input of it."""
        photo = load_photo(image, timeout)
        inputs = self.image_processor(images=on_ground(photo), return_tensors="pt").to(self.dtype)
        inputs["photo"] = photo
        return inputs

    def _forward(self, model_inputs: Any) -> ModelOutput:
        photo = model_inputs.pop("photo")
        outputs = self.model(**model_inputs)
        outputs["photo"] = photo
        return outputs

    def postprocess(self, model_outputs: ModelOutput, do_min_max: bool = False, **options: Any) -> Image.Image:
        """Make what was asked for of the photo and its soft map."""
        photo = model_outputs["photo"]
        size = [(photo.height, photo.width)]
        (soft_map,) = self.image_processor.post_process_saliency(model_outputs, size, do_min_max=do_min_max)
        return render(photo, soft_map.cpu().numpy(), RenderOptions(**options), in_place=True)


def load_photo(image: str | Path | Image.Image, timeout: float | None = None) -> Image.Image:
    """Read a photo from a path, a URL, a base64 string or an open image, as [`open_image`] does.

    Raises:
        ValueError: If it cannot be read.
        httpx.HTTPError: If it cannot be fetched.
    """
    if isinstance(image, Image.Image):
        return as_photo(image)
    if str(image).startswith(("http://", "https://")):
        answer = httpx.get(str(image), timeout=timeout, follow_redirects=True).raise_for_status()
        return open_image(io.BytesIO(answer.content))
    if os.path.exists(image):
        return open_image(image)
    try:  # what follows "data:image/png;base64,", or all of it
        data = base64.b64decode("".join(str(image).rpartition(",")[2].split()), validate=True)
    except ValueError:
        return open_image(image)  # which says that there is no such file
    return open_image(io.BytesIO(data))


__all__ = ["BackgroundRemovalPipeline"]
