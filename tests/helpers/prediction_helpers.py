"""A tiny network to predict with, and photos for it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_models import tiny_u2net_config

from u2net_hf.images.outputs import Job
from u2net_hf.models.u2net.image_processing_u2net import U2NetImageProcessorPil
from u2net_hf.models.u2net.modeling_u2net import U2NetForImageSegmentation

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


def gray_photos(folder: Path, values: list[int]) -> list[Job]:
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
