"""Images through a model to saliency maps, in batches.

torch and transformers are imported where they are needed, so that a wrong file name is reported at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from PIL import Image

from .images import to_rgb

if TYPE_CHECKING:
    import torch

_Item = TypeVar("_Item")


def load_model(
    name_or_path: str | Path, *, device: str | None = None, dtype: str | torch.dtype | None = None
) -> tuple[Any, Any]:
    """Load a model for salient object detection and its image processor, ready for inference.

    Args:
        name_or_path: A published name ("u2netp"), a folder written by `save_pretrained`, or a Hub id.
        device: Where the model runs ("cpu", "cuda:1", ...); by default the accelerator if there is one.
        dtype: Type of the weights, for example "bfloat16"; by default as transformers chooses.

    Returns:
        The model, in evaluation mode, and its image processor.

    Raises:
        ValueError: If the device cannot be used, or the model does not make saliency maps.
        OSError: If there is no such model.
    """
    from transformers import AutoImageProcessor, AutoModelForImageSegmentation

    from .checkpoints import resolve

    place = _usable_device(device)
    folder = resolve(str(name_or_path))
    image_processor = AutoImageProcessor.from_pretrained(folder)
    if not hasattr(image_processor, "post_process_saliency"):
        kind = type(image_processor).__name__
        raise ValueError(f"{name_or_path}: its {kind} makes no saliency maps; choose a U²-Net, for example u2netp")
    model = AutoModelForImageSegmentation.from_pretrained(folder, **({} if dtype is None else {"dtype": dtype}))
    return model.eval().to(place), image_processor


def saliency_maps(
    images: Iterable[Image.Image], model: Any, image_processor: Any, *, batch_size: int = 1, do_min_max: bool = False
) -> Iterator[np.ndarray]:
    """Predict the soft saliency map of each image, lazily and in order.

    Args:
        images: Pictures of any mode and size; transparency is taken as white.
        model: A [`U2NetForImageSegmentation`] in evaluation mode.
        image_processor: The image processor that belongs to it.
        batch_size: How many images go through the network at once.
        do_min_max: Whether to stretch each map to [0, 1], as the authors do.

    Yields:
        Arrays of shape (H, W) of the image's size, float32 in [0, 1].

    Raises:
        ValueError: If `batch_size` is below 1 or the model is in training mode.
    """
    for batch in batches(images, batch_size):
        yield from predict_batch(batch, model, image_processor, do_min_max)


def predict_batch(
    images: Sequence[Image.Image], model: Any, image_processor: Any, do_min_max: bool
) -> list[np.ndarray]:
    """Predict the maps of a batch, as [`saliency_maps`] does."""
    import torch

    if not images:
        return []
    if model.training:
        raise ValueError("the model is in training mode, where its maps depend on the batch: call model.eval() first")
    inputs = image_processor(images=[to_rgb(image) for image in images], return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        outputs = model(pixel_values=inputs.to(model.device, model.dtype))
        sizes = [(image.height, image.width) for image in images]
        maps = image_processor.post_process_saliency(outputs, target_sizes=sizes, do_min_max=do_min_max)
    return [saliency.cpu().numpy() for saliency in maps]


def batches(items: Iterable[_Item], size: int) -> Iterator[list[_Item]]:
    """Cut an iterable into lists of `size` items, the last one being shorter.

    Raises:
        ValueError: If `size` is below 1.
    """
    if size < 1:
        raise ValueError(f"batch_size must be at least 1, got {size}")
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def _usable_device(device: str | None) -> torch.device:
    import torch

    if device is None:
        accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        return accelerator or torch.device("cpu")
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:  # AssertionError: torch was built without CUDA
        reason = str(error).splitlines()[0]
        raise ValueError(f"device {device!r} cannot be used here ({reason}); cpu always can") from error
