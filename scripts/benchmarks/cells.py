"""A microscope image of one megapixel to numbered objects, beside scikit-image's threshold and watershed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from u2net_hf.engines.cpu import cpu_computes_in
from u2net_hf.utils.process import keep_freed_memory

from .options import CORES, PAGE, Output, Rounds, Threads, check_cap
from .report import EMULATED, note_cap, save
from .timing import Side, Work, compare

SIDE = 1024
PICTURE = Path(__file__).parents[2] / "docs" / "images" / "nuclei_fluorescence.png"
ENGINES = (
    ("torch", "float32"),
    ("torch", "bfloat16"),
    ("onnxruntime", "float32"),
    ("openvino", "float32"),
    ("openvino", "bfloat16"),
)
NOTE = f"""A picture of docs/images, mirrored to {SIDE}x{SIDE} pixels; the model is loaded, and nothing is written.
What Otsu and a watershed find is worth less: see cells.md."""


def run(rounds: Rounds = 5, threads: Threads = CORES, output: Output = PAGE) -> None:
    """A microscope image of a megapixel to objects, beside scikit-image."""
    check_cap()
    sides = [Side("scikit-image, Otsu + watershed on the distance map", build_otsu, (threads,))]
    notes = [NOTE, *note_cap()] + ([EMULATED] if cpu_computes_in("bfloat16") is False else [])
    for engine, dtype in ENGINES:
        if dtype == "float32" or cpu_computes_in(dtype) is not False:
            sides.append(Side(f"nuclei, {engine}, {dtype}", build_ours, (threads, engine, dtype)))
    rows = [compare(f"{SIDE}x{SIDE} pixels to labels and table", sides, rounds, 1)]
    save(output, "cells", "Microscope images to objects", rows, notes)


def draw_image() -> NDArray[np.uint8]:
    """The picture as it is and mirrored, side by side, until it is large enough."""
    pixels = np.asarray(Image.open(PICTURE).convert("L"))
    missing = [(0, max(SIDE - length, 0)) for length in pixels.shape]
    return np.pad(pixels, missing, mode="symmetric")[:SIDE, :SIDE]


def build_otsu(threads: int) -> Work:
    """The rival."""
    from u2net_hf.cli.evaluate_cells import otsu_watershed

    image = draw_image()
    return lambda: otsu_watershed(image)


def build_ours(threads: int, engine: str, dtype: str) -> Work:
    """`segment_image`."""
    from u2net_hf.segmentation.network import load_network
    from u2net_hf.segmentation.segmentation import segment_image

    keep_freed_memory()
    torch.set_num_threads(threads)
    network, image = load_network("nuclei", engine=engine, dtype=dtype), draw_image()
    return lambda: segment_image(image, network)
