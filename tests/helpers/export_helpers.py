"""Small networks to export, photos for them, and ONNX Runtime to run what was exported."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from tiny_models import tiny_u2net_config, tiny_unet_config
from torch import nn
from transformers import PreTrainedModel

from u2net_hf import (
    U2NetForImageSegmentation,
    U2NetImageProcessorPil,
    UNetForSemanticSegmentation,
    UNetImageProcessorPil,
)
from u2net_hf.weights.published import ISNET_INPUT

SIDE = 64


def drawn_photo(width: int = SIDE, height: int = SIDE, brightness: float = 1.0) -> Image.Image:
    """A bright face before a gradient, drawn at four times the size so that it has soft edges."""
    gradient = np.mgrid[0 : 4 * height, 0 : 4 * width] * 90 / (4 * height)
    canvas = Image.fromarray(np.stack([gradient[0], gradient[1], 120 - gradient[0]], axis=-1).astype(np.uint8))
    draw = ImageDraw.Draw(canvas)
    draw.ellipse((0.8 * width, 0.6 * height, 3.0 * width, 3.4 * height), fill=(255, 200, 80))
    draw.ellipse((1.3 * width, 1.4 * height, 1.7 * width, 1.8 * height), fill=(30, 60, 200))
    return canvas.resize((width, height), Image.Resampling.BOX).point(lambda value: value * brightness)


def trained_looking(model: PreTrainedModel, head: nn.Conv2d, processor: Any) -> PreTrainedModel:
    """Give a random model running statistics of its own and an output that spreads over many logits."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 1.5)
    model.eval()
    with torch.inference_mode():
        logits = model(**processor(images=drawn_photo(), return_tensors="pt")).logits
        std, mean = torch.std_mean(logits, dim=(0, 2, 3))
        head.weight.mul_((3 / std).reshape(-1, 1, 1, 1))
        head.bias.copy_((head.bias - mean) * 3 / std)
    return model


def save_u2net(folder: Path, do_antialias: bool = True, **config: Any) -> Path:
    processor = U2NetImageProcessorPil(size={"height": SIDE, "width": SIDE}, do_antialias=do_antialias)
    model = U2NetForImageSegmentation(tiny_u2net_config(**config))
    trained_looking(model, model.outconv, processor).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def save_isnet(folder: Path) -> Path:
    processor = U2NetImageProcessorPil(**ISNET_INPUT | {"size": {"height": SIDE, "width": SIDE}})
    model = U2NetForImageSegmentation(tiny_u2net_config(stem_channels=3, fuse_side_maps=False))
    trained_looking(model, model.side1, processor).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def save_unet(folder: Path, **config: Any) -> Path:
    model = UNetForSemanticSegmentation(tiny_unet_config(**config))
    processor = UNetImageProcessorPil.from_config(model.config)
    trained_looking(model, model.classifier, processor).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def run(file: Path, pixel_values: torch.Tensor) -> np.ndarray:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # threads that wait by spinning take minutes on a busy machine
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return session.run(None, {"pixel_values": pixel_values.numpy()})[0]
