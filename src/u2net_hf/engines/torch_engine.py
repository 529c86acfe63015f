"""PyTorch as an engine: a U²-Net fused for inference, or any model object with its image processor."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

from ..images.files import on_ground
from ..models.u2net.pixels_u2net import InputOptions, saliency
from ..utils.process import release_freed_memory
from ..utils.threads import map_ahead, worker_threads
from ..weights.loading import load_pretrained, load_whole_model, reading
from ..weights.published import resolve
from .cpu import cpu_computes_in
from .cuda_graph import RecordedNetwork
from .fused_u2net import FusedU2Net
from .interface import Batch, Engine, Outcome, PixelEngine, describe_input
from .model_files import find_model
from .names import EngineName
from .validation import check_model

if TYPE_CHECKING:
    from transformers import PreTrainedModel

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# Batches that a CPU works on at a time, of inputs of up to so many pixels: each holds the activations of an image.
MAX_STREAMS = 4
MAX_STREAM_PIXELS = 512 * 512


class TorchEngine(PixelEngine):
    """A U²-Net fused for inference.

    Args:
        network: The network, on its device.
        input_options: How images become pixel values.
        dtype: Type of the network's numbers, for the record.
    """

    name = EngineName.torch

    def __init__(self, network: FusedU2Net, input_options: InputOptions, dtype: torch.dtype = torch.float32) -> None:
        super().__init__(input_options, name_of(dtype))
        self.network = network
        self._logits = RecordedNetwork(network) if network.device.type == "cuda" else network

    @torch.inference_mode()
    def probabilities(self, pixel_values: np.ndarray) -> np.ndarray:
        """See [`PixelEngine`]."""
        logits = self._logits(torch.from_numpy(pixel_values).to(self.network.device))
        return saliency(logits)[:, 0].cpu().numpy()

    def map(self, predict: Callable[[Batch], Outcome], batches: Iterable[Batch]) -> Iterator[Outcome]:
        """See [`Engine`]: the threads of one image wait for each other in each layer, those of several do not."""
        batches = iter(batches)
        first = [*islice(batches, 2)]
        threads = torch.get_num_threads()
        streams = min(threads, MAX_STREAMS) if self._is_light() and len(first) > 1 else 1
        if streams == 1:
            yield from map(predict, chain(first, batches))
            return
        with worker_threads(streams, torch.set_num_threads, threads // streams) as pool:
            try:
                yield from map_ahead(pool, predict, chain(first, batches), streams - 1)
            finally:
                torch.set_num_threads(threads)  # what a thread sets holds for all that are begun later

    def _is_light(self) -> bool:
        """Whether several images may be in the network at a time."""
        size = self.input_options.size if self.input_options.do_resize else None
        return self.network.device.type == "cpu" and size is not None and size[0] * size[1] <= MAX_STREAM_PIXELS


class ProcessorEngine(Engine):
    """What engines share whose image processor makes a network's input of photos, and soft maps of its output."""

    image_processor: Any

    @property
    def variant(self) -> dict[str, Any]:
        """See [`Engine`]."""
        engine, dtype = self._runs_in()
        return {"engine": str(engine), "dtype": dtype, **describe_input(self.image_processor)}

    @torch.inference_mode()
    def __call__(
        self, images: Sequence[Image.Image], sizes: Sequence[tuple[int, int]] | None, do_min_max: bool
    ) -> list[np.ndarray]:
        """See [`Engine`]."""
        photos = [on_ground(image) for image in images]
        sizes = sizes or [(photo.height, photo.width) for photo in photos]  # of U-Nets, outputs alone do not tell
        outputs = self._run(self.image_processor(images=photos, return_tensors="pt")["pixel_values"])
        maps = self.image_processor.post_process_saliency(outputs, target_sizes=sizes, do_min_max=do_min_max)
        return [one.cpu().numpy() for one in maps]

    @abstractmethod
    def _runs_in(self) -> tuple[EngineName, str]:
        """What runs the network, and the type of its numbers."""

    @abstractmethod
    def _run(self, pixel_values: torch.Tensor) -> Any:
        """The network's output."""


class ModelEngine(ProcessorEngine):
    """A model object as it is, with its image processor: the way of `transformers`, for users who have both at hand.

    A U²-Net runs faster through `load_engine`. A call raises a `ValueError` if the model is in training mode.

    Args:
        model: A [`U2NetForImageSegmentation`], or another model whose image processor makes saliency maps.
        image_processor: The image processor that belongs to it.

    Raises:
        ValueError: If the image processor makes no saliency maps.
    """

    def __init__(self, model: Any, image_processor: Any) -> None:
        check_makes_maps(image_processor, type(model).__name__)
        self.model, self.image_processor = model, image_processor

    def _runs_in(self) -> tuple[EngineName, str]:
        return EngineName.torch, name_of(self.model.dtype)

    def _run(self, pixel_values: torch.Tensor) -> Any:
        if self.model.training:
            message = "the model is in training mode, where its maps depend on the batch: call model.eval() first"
            raise ValueError(message)
        return self.model(pixel_values=pixel_values.to(self.model.device, self.model.dtype))


def load(name_or_path: str | Path, device: str | None, dtype: str, trust_remote_code: bool) -> Engine:
    """Load a network for PyTorch; the arguments and errors are those of [`u2net_hf.engines.load_engine`]."""
    place = usable_device(device)
    number_type = choose_dtype(dtype, place)
    files = find_model(name_or_path)
    if not files.has_fused_form:  # its image processor knows what it needs
        model = load_model(name_or_path, device=device, dtype=number_type, trust_remote_code=trust_remote_code)
        return ModelEngine(*model)
    check_model(files)
    if files.is_complete:
        with reading(files.weights):
            config, state_dict = files.config, load_file(files.weights)
    else:  # several files, another format than SafeTensors, or a configuration that leaves defaults out
        whole = load_model(name_or_path, device="cpu")[0]
        config, state_dict = whole.config.to_dict(), whole.state_dict()
    network = FusedU2Net.from_state_dict(config, state_dict, number_type, place)
    del state_dict
    release_freed_memory()  # the weights as they were read: in small blocks, of no use for activations
    return TorchEngine(network, files.input_options, number_type)


def load_model(
    name_or_path: str | Path,
    *,
    device: str | None = None,
    dtype: torch.dtype | None = None,
    trust_remote_code: bool = False,
) -> tuple[PreTrainedModel, Any]:
    """Load a model object for salient object detection and its image processor, through transformers.

    Args:
        name_or_path: A published name ("u2netp"), a folder written by `save_pretrained`, or a Hub id.
        device: Where the model runs ("cpu", "cuda:1", ...); by default the accelerator if there is one.
        dtype: Type of the weights; by default as they were saved.
        trust_remote_code: Whether code that comes with the model may be run. It is never asked for.

    Returns:
        The model, in evaluation mode, and its image processor.

    Raises:
        ValueError: If the device cannot be used, or the model is damaged, needs code of its own or makes no saliency
            maps.
        OSError: If there is no such model.
    """
    place, source = usable_device(device), resolve(name_or_path)
    from transformers import AutoImageProcessor, AutoModelForImageSegmentation

    image_processor = load_pretrained(AutoImageProcessor, source, trust_remote_code=trust_remote_code)
    check_makes_maps(image_processor, name_or_path)
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code} | ({} if dtype is None else {"dtype": dtype})
    model = load_whole_model(AutoModelForImageSegmentation, source, **options)
    return model.eval().to(place), image_processor


def check_makes_maps(image_processor: Any, name: str | Path) -> None:
    """Refuse an image processor of another kind, which came with the model of this name, by a `ValueError`."""
    if not hasattr(image_processor, "post_process_saliency"):
        kind = type(image_processor).__name__
        raise ValueError(f"{name}: its {kind} makes no saliency maps; choose a U²-Net, for example u2netp")


def usable_device(device: str | None) -> torch.device:
    """The device of this name, or by default the accelerator if there is one.

    Of several processes on a machine (`LOCAL_RANK`, as `torchrun` sets it) each gets its own accelerator.

    Raises:
        ValueError: If it cannot be used.
    """
    if device is None:
        accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        if accelerator and (local_rank := os.environ.get("LOCAL_RANK")):
            return torch.device(accelerator.type, int(local_rank) % torch.accelerator.device_count())
        return accelerator or torch.device("cpu")
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:  # AssertionError: torch was built without CUDA
        reason = str(error).splitlines()[0]
        raise ValueError(f"device {device!r} cannot be used here ({reason}); cpu always can") from error


def name_of(dtype: torch.dtype) -> str:
    """ "float32" of `torch.float32`."""
    return str(dtype).removeprefix("torch.")


def choose_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """The type of this name; of "auto", bfloat16 where the device has instructions for it, else float32.

    Raises:
        ValueError: If torch computes in no such type, or this processor only emulates it.
    """
    if dtype == "auto":
        supported = {
            "cpu": lambda: cpu_computes_in("bfloat16"),
            "cuda": lambda: torch.cuda.is_bf16_supported(including_emulation=False),
        }
        return torch.bfloat16 if supported.get(device.type, lambda: False)() else torch.float32
    if dtype not in DTYPES:
        hint = "; int8 is for the engines onnxruntime and openvino" if dtype == "int8" else ""
        raise ValueError(f"dtype of the engine torch must be auto, {', '.join(DTYPES)}, got {dtype!r}{hint}")
    if device.type == "cpu" and dtype != "float32" and cpu_computes_in(dtype) is False:
        raise ValueError(f"this processor only emulates {dtype}, slower than float32: choose float32 or auto")
    return DTYPES[dtype]
