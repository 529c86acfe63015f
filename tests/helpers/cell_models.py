"""Cells drawn by formulas, and a U-Net that finds what is bright, by weights made by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from tiny_models import tiny_unet_config

from u2net_hf import UNetForSemanticSegmentation, UNetImageProcessorPil


def bright_finder(
    folder: Path, *, context: float = 0.0, padding: str = "same", num_channels: int = 1, **options: Any
) -> Path:
    """Save a model of random weights but for one way through, whose logit is 20 times a pixel's input.

    Args:
        folder: Where to.
        context: Weight of the other ways, which see as far as a U-Net does.
        padding: Of the convolutions.
        num_channels: Of the input, which are averaged.
        options: Of the image processor.
    """
    torch.manual_seed(0)
    config = tiny_unet_config(use_batch_norm=False, padding=padding, num_channels=num_channels, num_labels=2)
    model = UNetForSemanticSegmentation(config)
    with torch.no_grad():
        first, last = model.contracting_path[0].convolutions, model.expansive_path[-1].convolutions
        for convolution in (first.conv1, first.conv2, last.conv1, last.conv2):
            convolution.weight[0] = 0
            convolution.weight[0, 0, 1, 1] = 1
            convolution.bias[0] = 0
        first.conv1.weight[0, :, 1, 1] = 1 / num_channels
        first.conv1.bias[0] = 1  # inputs from -1 to 1 pass the ReLU
        model.classifier.weight[0] = 0
        model.classifier.weight[1] = context * torch.randn_like(model.classifier.weight[1])
        model.classifier.weight[1, 0], model.classifier.bias[1] = 20, -20
    model.save_pretrained(folder)
    options = {"percentiles": [0, 100], "instances": {"smoothing": 0.5, "min_area": 3}} | options
    UNetImageProcessorPil.from_config(config, **options).save_pretrained(folder)
    return folder


def bright_cells(
    seed: int, height: int = 90, width: int = 120, dtype: Any = np.uint8, top: float = 200
) -> tuple[NDArray[Any], NDArray[Any]]:
    """A dark image with bright cells apart from each other, and their labels."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    bright = np.zeros((height, width), bool)
    for row in range(10, height - 8, 20):
        for column in range(10, width - 8, 20):
            if rng.random() < 0.8:
                radius = rng.uniform(4, 7)
                bright |= np.hypot(rows - row, columns - column) < radius
    image = np.where(bright, top, top / 20) * rng.uniform(0.95, 1, bright.shape)
    image[0, 0], image[-1, -1] = 0, top
    return image.astype(dtype), ndimage.label(bright)[0]


def same_objects(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Whether two label maps differ in their numbers only."""
    pairs = np.unique(np.stack([one.ravel(), other.ravel()]).astype(np.int64), axis=1)
    return len(set(pairs[0])) == len(set(pairs[1])) == pairs.shape[1] and bool((pairs[:, 0] == 0).all())


def crowded_cells(seed: int, height: int, width: int, spacing: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What a network might say of cells that touch: the probability of a cell, and the depth in it, with noise."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    depth = np.zeros((height, width))
    for _ in range(height * width // spacing**2):
        row, column = rng.uniform(0, (height, width))
        radii = rng.uniform(0.3, 0.8, 2) * spacing
        distance = np.hypot((rows - row) / radii[0], (columns - column) / radii[1])
        depth = np.maximum(depth, rng.uniform(0.7, 1) * np.clip(1.2 - distance, 0, 1))
    depth = np.clip(depth + rng.normal(0, 0.02, depth.shape), 0, 1)
    return np.clip(2.5 * depth, 0, 1).astype(np.float32), depth.astype(np.float32)
