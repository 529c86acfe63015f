"""The network alone, on pixel values: PyTorch fused and plain, and other engines, beside ONNX Runtime."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import numpy as np
import torch
import typer

from u2net_hf.engines import fused_u2net
from u2net_hf.engines.cpu import cpu_computes_in
from u2net_hf.engines.fused_u2net import FusedU2Net
from u2net_hf.engines.interface import PixelEngine
from u2net_hf.utils.process import keep_freed_memory
from u2net_hf.weights.published import pull, pull_onnx

from .options import BATCHES, CORES, NETWORKS, PAGE, Batches, Networks, Output, Rounds, Threads, check_networks
from .report import EMULATED, is_cap_partial, note_cap, save
from .timing import Side, Work, compare

SIZE = 320
OTHER_ENGINES = (("onnxruntime", "int8"), ("openvino", "float32"), ("openvino", "bfloat16"), ("openvino", "int8"))
NOTE = """Random pixel values of {size}x{size}, {threads} threads. In bfloat16 the few layers whose large folded biases
nearly cancel stay in float32; in int8 these, the side maps and the scaling do. The fused network and the published
file compute a batch image by image."""
RIVAL = "ONNX Runtime, the published file as rembg runs it: all 7 maps, one image at a time"


def run(
    rounds: Rounds = 7,
    threads: Threads = CORES,
    networks: Networks = [*NETWORKS],  # noqa: B006
    batches: Batches = BATCHES,
    engines: Annotated[bool, typer.Option(help="Whether to measure the other engines too.")] = True,
    output: Output = PAGE,
) -> None:
    """The network alone, beside ONNX Runtime on the published file."""
    check_networks(networks)
    rows, notes = [], [NOTE.format(size=SIZE, threads=threads)]
    notes += note_cap()
    notes += [EMULATED] if cpu_computes_in("bfloat16") is False else []
    for network in networks:
        for batch in batches:
            sides = _sides(network, batch, threads)
            if engines and batch == 1 and not is_cap_partial():
                more, missing = _engine_sides(network, threads)
                sides, notes = sides + more, notes + missing
            work = f"{NETWORKS[network]}, {SIZE}x{SIZE}, " + ("1 image" if batch == 1 else f"batch {batch}")
            rows.append(compare(work, sides, rounds, batch))
    save(output, "model", "The network alone", rows, notes)


def _sides(network: str, batch: int, threads: int) -> list[Side]:
    pull(network)  # before any clock runs
    arguments = (network, batch, threads)
    sides = []
    if not is_cap_partial():
        pull_onnx(network)
        sides.append(Side(RIVAL, build_onnxruntime, arguments))
        if batch == 1:
            name = "PyTorch as the authors' script: plain, all 7 maps, gradients on"
            sides.append(Side(name, build_authors_way, arguments))
    sides.append(Side("PyTorch, plain, channels_last, float32", build_plain, arguments))
    for dtype in ("float32", "bfloat16"):
        if dtype == "float32" or cpu_computes_in(dtype) is not False:
            sides.append(Side(f"PyTorch, fused, {dtype}", build_fused, (*arguments, dtype)))
            if batch > 1:
                name = f"PyTorch, fused, {dtype}, several images at a time"
                sides.append(Side(name, build_as_in_folders, (*arguments, dtype)))
    if batch == 1:  # what these pieces of the fused network earn
        pieces = {"maps enlarged, then convolved": "MIN_WORK"}
        if network != "u2netp":  # whose layers have too few channels
            pieces["without Winograd's convolution"] = "MIN_CHANNELS"
        for piece, threshold in pieces.items():
            sides.append(Side(f"the same in float32, {piece}", build_without, (*arguments, threshold)))
    return sides


def _engine_sides(network: str, threads: int) -> tuple[list[Side], list[str]]:
    """The other engines that run here, and what is to say of those that do not."""
    sides, missing = [], []
    for engine, dtype in OTHER_ENGINES:
        try:
            build_engine(network, threads, engine, dtype)  # exports the network, where that is still to be done
        except (ImportError, OSError, ValueError) as error:
            missing.append(f"{NETWORKS[network]} on {engine} in {dtype}: not measured ({error}).")
            continue
        sides.append(Side(f"{engine}, {dtype}", build_engine, (network, threads, engine, dtype)))
    return sides, missing


def _pixel_values(batch: int) -> torch.Tensor:
    return torch.randn(batch, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))


def build_onnxruntime(network: str, batch: int, threads: int) -> Work:
    """The published ONNX file, whose batch is one image, with rembg's settings."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(pull_onnx(network), options, providers=["CPUExecutionProvider"])
    name, images = session.get_inputs()[0].name, np.split(_pixel_values(batch).numpy(), batch)
    return lambda: [session.run(None, {name: image}) for image in images]


def build_plain(network: str, batch: int, threads: int) -> Work:
    """The network as transformers loads it, in the memory format that suits CPUs best, without gradients."""
    from u2net_hf.models.u2net.modeling_u2net import U2NetForImageSegmentation

    torch.set_num_threads(threads)
    model = U2NetForImageSegmentation.from_pretrained(pull(network)).eval()
    model.to(memory_format=torch.channels_last)
    images = _pixel_values(batch).contiguous(memory_format=torch.channels_last)

    @torch.inference_mode()
    def predict() -> torch.Tensor:
        return model(images).logits.sigmoid()

    return predict


def build_authors_way(network: str, batch: int, threads: int) -> Work:
    """The network with live BatchNorms, called as the released script calls it."""
    from u2net_hf.models.u2net.modeling_u2net import U2NetForImageSegmentation
    from u2net_hf.weights.convert import restore_batch_norm

    torch.set_num_threads(threads)
    model, images = U2NetForImageSegmentation.from_pretrained(pull(network)), _pixel_values(batch)
    model = restore_batch_norm(model, [images[:1]]).eval()

    def predict() -> list[torch.Tensor]:
        outputs = model(images, output_side_logits=True)
        return [logits.sigmoid() for logits in (outputs.logits, *outputs.side_logits)]

    return predict


def build_fused(network: str, batch: int, threads: int, dtype: str) -> Work:
    """The fused network, as the commands of this package run it."""
    from safetensors.torch import load_file

    keep_freed_memory()
    torch.set_num_threads(threads)
    folder, images = pull(network), _pixel_values(batch)
    config = json.loads((folder / "config.json").read_text())
    weights = load_file(folder / "model.safetensors")
    model = FusedU2Net.from_state_dict(config, weights, getattr(torch, dtype))
    return lambda: model(images).sigmoid()


def build_as_in_folders(network: str, batch: int, threads: int, dtype: str) -> Work:
    """The fused network as it does the photos of a folder, with a share of the threads for each."""
    from u2net_hf.engines import load_engine

    keep_freed_memory()
    torch.set_num_threads(threads)
    engine, images = load_engine(network, device="cpu", dtype=dtype), np.split(_pixel_values(batch).numpy(), batch)
    assert isinstance(engine, PixelEngine)
    return lambda: [*engine.map(engine.probabilities, images)]


def build_without(network: str, batch: int, threads: int, threshold: str) -> Work:
    """The fused network without one of its pieces, whose threshold nothing reaches."""
    setattr(fused_u2net, threshold, sys.maxsize)
    return build_fused(network, batch, threads, "float32")


def build_engine(network: str, threads: int, engine: str, dtype: str) -> Work:
    """An engine of this package on one image."""
    from u2net_hf.engines import load_engine

    torch.set_num_threads(threads)
    loaded, images = load_engine(network, engine, dtype=dtype), _pixel_values(1).numpy()
    if not hasattr(loaded, "probabilities"):
        raise ValueError(f"{engine} takes no pixel values")
    return lambda: loaded.probabilities(images)
