"""The pipeline "background-removal": a photo in, its salient object on a transparent background out.

Named after the task of transformers.js. The library's own "image-segmentation" gives hard masks only.
"""

from typing import Any

import numpy as np
from PIL import Image
from transformers.image_utils import load_image
from transformers.pipelines.base import Pipeline
from transformers.utils import ModelOutput

from .matting_u2net import refine_alpha


class BackgroundRemovalPipeline(Pipeline):
    """Cut the salient object out of photos with a [`U2NetForImageSegmentation`].

    Called with a path, a URL, a base64 string or a `PIL.Image`, or a list, dataset or generator of them, plus:

    Args:
        return_mask (`bool`, *optional*, defaults to `False`):
            Whether to return the soft mask (`PIL.Image` of mode "L") instead of the cut-out (mode "RGBA").
        alpha_matting (`bool`, *optional*, defaults to `False`):
            Whether to refine hair and soft edges on the photo and to take the old background out of their colors;
            a second or more per photo. Needs pymatting.
        do_min_max (`bool`, *optional*, defaults to `False`):
            Whether to stretch each saliency map to [0, 1], as the authors do.
        timeout (`float`, *optional*):
            Seconds to wait for an image from the web; without it there is no limit.

    Returns:
        One `PIL.Image` per photo, of the photo's size, with its EXIF orientation applied.

    Example:

    ```python
    >>> from transformers import pipeline
    >>> import u2net_hf

    >>> remover = pipeline("background-removal", model=u2net_hf.pull("u2netp"))
    >>> remover("photo.jpg").save("cut-out.png")
    ```
    """

    _load_processor = False
    _load_image_processor = True
    _load_feature_extractor = False
    _load_tokenizer = False

    def _sanitize_parameters(
        self,
        return_mask: bool | None = None,
        alpha_matting: bool | None = None,
        do_min_max: bool | None = None,
        timeout: float | None = None,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        post_processing = {"return_mask": return_mask, "alpha_matting": alpha_matting, "do_min_max": do_min_max}
        return (
            {} if timeout is None else {"timeout": timeout},
            {},
            {name: value for name, value in post_processing.items() if value is not None},
        )

    def preprocess(self, image: "str | Image.Image", timeout: float | None = None) -> Any:
        """Load a photo and make the network's input of it."""
        photo = load_image(image, timeout=timeout)
        inputs = self.image_processor(images=photo, return_tensors="pt").to(self.dtype)
        inputs["photo"] = photo
        return inputs

    def _forward(self, model_inputs: Any) -> ModelOutput:
        photo = model_inputs.pop("photo")
        outputs = self.model(**model_inputs)
        outputs["photo"] = photo
        return outputs

    def postprocess(
        self,
        model_outputs: ModelOutput,
        return_mask: bool = False,
        alpha_matting: bool = False,
        do_min_max: bool = False,
    ) -> Image.Image:
        """Make the soft mask at the photo's size, and the cut-out of it."""
        photo = model_outputs["photo"]
        size = [(photo.height, photo.width)]
        saliency = self.image_processor.post_process_saliency(model_outputs, size, do_min_max=do_min_max)[0]
        alpha = saliency.cpu().numpy()
        if alpha_matting:
            alpha, colors = refine_alpha(photo, alpha)
            photo = Image.fromarray(colors)
        mask = Image.fromarray(np.rint(alpha * 255).astype(np.uint8))
        if return_mask:
            return mask
        photo.putalpha(mask)
        return photo


__all__ = ["BackgroundRemovalPipeline"]
