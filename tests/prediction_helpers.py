"""Networks to predict with: a tiny one, and a fake one whose maps are known beforehand; and photos for them."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tiny_models import tiny_u2net_config
from u2net_hf.outputs import Job
from u2net_hf.u2net.image_processing_pil_u2net import U2NetImageProcessorPil
from u2net_hf.u2net.modeling_u2net import U2NetForImageSegmentation

Pair = tuple[Any, Any]


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    values = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values).convert(mode)


@pytest.fixture(scope="module")
def tiny() -> Pair:
    torch.manual_seed(0)
    return U2NetForImageSegmentation(tiny_u2net_config()).eval(), U2NetImageProcessorPil(
        size={"height": 32, "width": 32}
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny: Pair) -> Path:
    folder = tmp_path_factory.mktemp("tiny-u2net")
    for part in tiny:
        part.save_pretrained(folder)
    return folder


class BrightnessModel:
    """Stands for a model and its processor: each map is flat, at the brightness of the image's first pixel."""

    training = False
    device = torch.device("cpu")
    dtype = torch.float32

    def __init__(self, before: Callable[[list[float]], None] | None = None) -> None:
        self.before = before
        self.batches: list[list[float]] = []

    def __call__(self, pixel_values: Any = None, images: Any = None, return_tensors: str = "pt") -> Any:
        if images is not None:
            assert all(image.mode == "RGB" for image in images)
            return {"pixel_values": torch.tensor([image.getpixel((0, 0))[0] / 255 for image in images])}
        self.batches.append([round(value * 255) for value in pixel_values.tolist()])
        if self.before:
            self.before(self.batches[-1])
        return SimpleNamespace(logits=pixel_values)

    def post_process_saliency(
        self, outputs: Any, target_sizes: list[tuple[int, int]], do_min_max: bool
    ) -> list[torch.Tensor]:
        return [torch.full(size, value) for size, value in zip(target_sizes, outputs.logits.tolist(), strict=True)]


def brightness(before: Callable[[list[float]], None] | None = None) -> Pair:
    model = BrightnessModel(before)
    return model, model


def grey_photos(folder: Path, values: list[int]) -> list[Job]:
    """Flat photos of these values, and jobs for them."""
    folder.mkdir(exist_ok=True)
    for number, value in enumerate(values):
        Image.new("RGB", (20, 10), (value,) * 3).save(folder / f"{number}.png")
    return [Job(folder / f"{number}.png", folder / "out" / f"{number}.png") for number in range(len(values))]


def alpha(path: Path) -> int:
    with Image.open(path) as image:
        low, high = image.getchannel("A").getextrema()
    assert low == high
    return low
