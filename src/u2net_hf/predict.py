"""Many images through a model: in batches, with decoding and encoding beside the network.

torch and transformers are imported where they are needed, so that a wrong file name is reported at once.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

import numpy as np
from PIL import Image

from .images import (
    ImageError,
    cut_out,
    mask_image,
    open_image,
    save_image,
    to_rgb,
)
from .outputs import Job

if TYPE_CHECKING:
    import torch

_Item = TypeVar("_Item")
_Outcome = TypeVar("_Outcome")


@dataclass(frozen=True)
class Result:
    """What became of a job; `error` says why it failed, and names the file."""

    job: Job
    status: Literal["done", "skipped", "failed"]
    error: Exception | None = None


@dataclass(frozen=True)
class ResultOptions:
    """What is made of an image and its soft map.

    Args:
        mask_only: The soft map itself, as an image of mode "L", instead of a cut-out.
        background: What the object is put before (see [`cut_out`]); `None` leaves it transparent.
        threshold: A value in [0, 1]: pixels of at least this saliency are kept fully, others not at all.
        matting: Whether to refine the edge (with a threshold, that of what it keeps) and to take the old background
            out of its colours; see [`u2net_hf.matting.refine_alpha`].

    Raises:
        ValueError: If the threshold is outside [0, 1], or a mask is asked for with a background.
    """

    mask_only: bool = False
    background: str | Image.Image | None = None
    threshold: float | None = None
    matting: bool = False

    def __post_init__(self) -> None:
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold must lie between 0 and 1, got {self.threshold}")
        if self.mask_only and self.background is not None:
            raise ValueError("a mask has no background: choose either mask_only or background")


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
    for batch in _batches(images, batch_size):
        yield from _predict_batch(batch, model, image_processor, do_min_max)


def render(image: Image.Image, soft_map: np.ndarray, options: ResultOptions) -> Image.Image:
    """Make a mask or a cut-out of an image and its soft map, an array (H, W) with values in [0, 1]."""
    kept = soft_map if options.threshold is None else soft_map >= options.threshold
    if options.matting:
        image, kept = _refine_edge(image, kept)
    mask = mask_image(kept)
    return mask if options.mask_only else cut_out(image, mask, background=options.background)


def _refine_edge(image: Image.Image, soft_map: np.ndarray) -> tuple[Image.Image, np.ndarray]:
    """Refine the edge of a map, and take the background's colour out of the image's pixels there.

    What is partly transparent already keeps its colours: they hold no background.
    """
    from .matting import refine_alpha

    photo = to_rgb(image)
    alpha, colours = refine_alpha(photo, soft_map)
    refined = Image.fromarray(colours)
    if image.has_transparency_data:
        own = image.convert("RGBA")
        opacity = own.getchannel("A")
        refined = Image.composite(refined, own.convert("RGB"), opacity.point([0] * 255 + [255]))
        refined.putalpha(opacity)
    refined.info = dict(photo.info)
    return refined, alpha


def remove_backgrounds(
    jobs: Iterable[Job],
    model: Any,
    image_processor: Any,
    *,
    options: ResultOptions | None = None,
    batch_size: int = 1,
    overwrite: bool = False,
    workers: int | None = None,
) -> Iterator[Result]:
    """Carry out jobs and yield a result for each, in order; a job that fails does not stop the others.

    While the network works on one batch, other threads decode the next images and encode the last ones. The number of
    images in memory is bounded by the batch size and the number of workers. When the consumer stops, also by an
    interrupt, files that are being written are finished and nothing else is begun.

    Args:
        jobs: As from [`u2net_hf.outputs.plan_outputs`].
        model: A [`U2NetForImageSegmentation`] in evaluation mode.
        image_processor: The image processor that belongs to it.
        options: What to write; by default the cut-out.
        batch_size: How many images go through the network at once.
        overwrite: Whether to do jobs again whose destination exists; else they are skipped.
        workers: Threads that decode and encode; by default up to four, one per core.

    Raises:
        ValueError: If `batch_size` is below 1.
    """
    workers = workers or min(4, os.cpu_count() or 1)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="images")
    try:
        decoded = _map_ahead(pool, partial(_decode, overwrite=overwrite), jobs, workers)
        predicted = _predict(decoded, model, image_processor, batch_size)
        yield from _map_ahead(pool, partial(_encode, options=options or ResultOptions()), predicted, workers)
    finally:
        pool.shutdown(cancel_futures=True)


class _Decoded(NamedTuple):
    job: Job
    image: Image.Image


class _Predicted(NamedTuple):
    job: Job
    image: Image.Image
    soft_map: np.ndarray


def _decode(job: Job, overwrite: bool) -> _Decoded | Result:
    if not overwrite and job.destination.exists():
        return Result(job, "skipped")
    try:
        return _Decoded(job, open_image(job.source))
    except Exception as error:
        return _failed(job, error)


def _predict(
    items: Iterable[_Decoded | Result], model: Any, image_processor: Any, batch_size: int
) -> Iterator[_Predicted | Result]:
    for batch in _batches(items, batch_size):
        images = [item.image for item in batch if isinstance(item, _Decoded)]
        outcomes = iter(_maps_or_errors(images, model, image_processor))
        for item in batch:
            if isinstance(item, Result):
                yield item
            elif isinstance(outcome := next(outcomes), Exception):
                yield _failed(item.job, outcome)
            else:
                yield _Predicted(item.job, item.image, outcome)


def _encode(item: _Predicted | Result, options: ResultOptions) -> Result:
    if isinstance(item, Result):
        return item
    try:
        save_image(render(item.image, item.soft_map, options), item.job.destination)
    except Exception as error:
        return _failed(item.job, error)
    return Result(item.job, "done")


def _failed(job: Job, error: Exception) -> Result:
    if not isinstance(error, ImageError):
        error = ImageError(f"{job.source}: {type(error).__name__}: {error}")
    return Result(job, "failed", error)


def _maps_or_errors(images: list[Image.Image], model: Any, image_processor: Any) -> list[np.ndarray | Exception]:
    """Predict a batch; if that fails, for example for lack of memory, its images one by one."""
    try:
        return [*_predict_batch(images, model, image_processor, do_min_max=False)]
    except Exception as error:
        if len(images) == 1:
            return [error]
        return [outcome for image in images for outcome in _maps_or_errors([image], model, image_processor)]


def _predict_batch(
    images: Sequence[Image.Image], model: Any, image_processor: Any, do_min_max: bool
) -> list[np.ndarray]:
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


def _map_ahead(
    pool: ThreadPoolExecutor, function: Callable[[_Item], _Outcome], items: Iterable[_Item], ahead: int
) -> Iterator[_Outcome]:
    """Like `pool.map`, in order, but drawing at most `ahead` items more than have been asked for."""
    waiting: deque[Future[_Outcome]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _batches(items: Iterable[_Item], size: int) -> Iterator[list[_Item]]:
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
