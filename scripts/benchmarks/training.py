"""A step of training, beside the authors' way, and the loader alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from PIL import Image

from u2net_hf.engines.cpu import cpu_computes_in
from u2net_hf.models.u2net.configuration_u2net import U2NetConfig
from u2net_hf.utils.process import keep_freed_memory

from .options import CORES, NETWORKS, PAGE, Networks, Output, Rounds, Threads, check_networks
from .report import save
from .timing import Side, Work, compare

CROP = 288
CONFIGS: dict[str, Callable[[], U2NetConfig]] = {"u2netp": U2NetConfig.small, "u2net": U2NetConfig}
LOADED = 24


def run(
    rounds: Rounds = 3,
    steps: Annotated[int, typer.Option(min=1, help="Steps in one turn.")] = 1,
    threads: Threads = CORES,
    networks: Networks = [*NETWORKS],  # noqa: B006
    batch: Annotated[int, typer.Option(min=1, help="Images in one step.")] = 12,
    data: Annotated[Path | None, typer.Option(help="Folder with images and masks.")] = None,
    output: Output = PAGE,
) -> None:
    """A step of training, and with --data the loader, beside the authors' way."""
    check_networks(networks)
    rows = []
    dtype = "float32" if cpu_computes_in("bfloat16") is False else "bfloat16"
    for network in networks:
        arguments = (network, batch, steps, threads)
        sides = [
            Side("the authors' way: float32, Adam", build_step, arguments),
            Side(f"ours: {dtype}, channels_last, fused Adam, freed memory kept", build_step, (*arguments, True)),
            Side("the same with gradient checkpointing", build_step, (*arguments, True, True)),
        ]
        rows.append(compare(f"{NETWORKS[network]}, {CROP}x{CROP}, batch {batch}", sides, rounds, batch * steps))
    note = f"Random images and masks, forward, backward and optimizer; {threads} threads. Images/s = 1000 / ms."
    save(output, "training", "A step of training", rows, [note])
    if data is not None:
        sides = [
            Side("scikit-image, as the authors' code", build_authors_loader, (str(data),)),
            Side("ours: Pillow", build_our_loader, (str(data),)),
        ]
        loaded = compare(f"{LOADED} photos with masks to crops of {CROP}x{CROP}, one process", sides, rounds, LOADED)
        save(output, "loader", "The loader of a training", [loaded], ["Images/s = 1000 / ms."])


def build_step(
    network: str, batch: int, steps: int, threads: int, fast: bool = False, checkpointing: bool = False
) -> Work:
    """The plain network in float32, as the released training script runs it; `fast`: as ours with its options."""
    from u2net_hf.models.u2net.modeling_u2net import U2NetForImageSegmentation

    if fast:
        keep_freed_memory()
    torch.manual_seed(0)
    torch.set_num_threads(threads)
    model: Any = U2NetForImageSegmentation(CONFIGS[network]()).train()
    images, masks = torch.randn(batch, 3, CROP, CROP), torch.rand(batch, CROP, CROP).round()
    if fast:
        model.to(memory_format=torch.channels_last)
        images = images.contiguous(memory_format=torch.channels_last)
    if checkpointing:
        model.activation_checkpointing_enable()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=fast)

    def train() -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=fast and cpu_computes_in("bfloat16") is not False):
                loss = model(images, labels=masks).loss
            loss.backward()
            optimizer.step()

    return train


def _files(data: str) -> list[tuple[Path, Path]]:
    images = sorted((Path(data) / "images").iterdir())[:LOADED]
    return [(image, Path(data) / "masks" / f"{image.stem}.png") for image in images]


def build_authors_loader(data: str) -> Work:
    """`RescaleT(320)`, `RandomCrop(288)` and `ToTensorLab` of the released code."""
    from skimage import io, transform

    def samples() -> Iterator[np.ndarray]:
        for image_file, mask_file in _files(data):
            image, mask = io.imread(image_file), io.imread(mask_file)
            image = transform.resize(image, (320, 320), mode="constant")
            mask = transform.resize(mask[..., None], (320, 320), mode="constant", order=0, preserve_range=True)
            top, left = np.random.randint(0, 320 - CROP, 2)
            image, mask = (array[top : top + CROP, left : left + CROP] for array in (image, mask))
            image = (image / image.max() - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
            yield image.transpose(2, 0, 1).astype(np.float32)
            yield (mask / max(mask.max(), 1e-6)).transpose(2, 0, 1).astype(np.float32)

    return lambda: sum(1 for _ in samples())


def build_our_loader(data: str) -> Work:
    """What `scripts/train_sod.py` makes of a photo and its mask."""
    from u2net_hf.data.recipes import authors_recipe
    from u2net_hf.models.u2net.image_processing_u2net import U2NetImageProcessorPil
    from u2net_hf.training.loader import MakeSaliencySample

    make_sample = MakeSaliencySample(U2NetImageProcessorPil(), authors_recipe(320), seed=0)

    def load() -> None:
        for index, (image_file, mask_file) in enumerate(_files(data)):
            image, mask = Image.open(image_file).convert("RGB"), Image.open(mask_file).convert("L")
            make_sample({"image": image, "mask": mask, "name": image_file.stem}, 0, index)

    return load
