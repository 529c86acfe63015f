"""The networks on a GPU: plain, fused, compiled, and replayed as a CUDA graph, in each type of numbers."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from PIL import Image
from skimage import data

from u2net_hf.engines.cuda_graph import RecordedNetwork
from u2net_hf.engines.fused_u2net import FusedU2Net
from u2net_hf.engines.model_files import find_model
from u2net_hf.models.u2net.modeling_u2net import U2NetForImageSegmentation
from u2net_hf.models.u2net.pixels_u2net import to_pixel_values
from u2net_hf.weights.published import resolve

from .options import BATCHES, NETWORKS, PAGE, Batches, Output, Rounds
from .photos import NAMES as PHOTOS
from .report import save

TITLES = NETWORKS | {"isnet": "IS-Net"}
DTYPES = ("float32", "bfloat16", "float16")
NOTE = (
    "Random pixel values; float32 with TensorFloat-32, as is usual there. The engine runs the fused network, as a\n"
    "CUDA graph from the second image of a shape on. The memory is the GPU's; a graph holds as much all the time."
)
Network = Callable[[torch.Tensor], torch.Tensor]
Call = Callable[[], torch.Tensor]


def run(
    rounds: Rounds = 30,
    networks: Annotated[list[str], typer.Option("--network", help="Published names, or folders.")] = [*TITLES],  # noqa: B006
    batches: Batches = BATCHES,
    compiled: Annotated[bool, typer.Option(help="Whether to measure torch.compile too, which takes minutes.")] = True,
    output: Output = PAGE,
) -> None:
    """The networks on a GPU."""
    if not torch.cuda.is_available():
        print("The network on a GPU: not measured, there is none here.")
        return
    rows, differences = [], []
    for network in networks:
        for batch in batches:
            rows.append(measure(network, batch, rounds, prepare(network, batch, compiled and batch == batches[0])))
        differences += compare_with_float64(network)
    write(output, rows, differences)


def write(output: Path, rows: list[dict[str, Any]], differences: list[str]) -> None:
    """Put the rows into the page, in a part of its own for this GPU."""
    table = "\n".join(["| difference from float64 on photos | mean | largest |", "|---|---:|---:|", *differences])
    part = f"CUDA: {torch.cuda.get_device_name()}"
    save(output, "cuda", "The network on a GPU", rows, [NOTE, table], part)


def prepare(network: str, batch: int, compiled: bool, device: str = "cuda") -> dict[str, Call]:
    """All ways to run a network on random images, each run once; `compiled`: also through torch.compile."""
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.benchmark = True
    size = find_model(network).input_options.size
    images = torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(0)).to(device)
    calls: dict[str, Call] = {}
    for name in DTYPES:
        plain, fused = build_networks(network, getattr(torch, name), device)
        typed = images.to(getattr(torch, name), memory_format=torch.channels_last)
        calls[f"plain, {name}"] = partial(plain, typed)
        calls[f"fused, {name}"] = partial(fused, images)
        if device == "cuda":
            calls[f"fused, CUDA graph, {name}"] = partial(RecordedNetwork(fused), images)
        if compiled and name == "bfloat16":
            calls[f"fused, torch.compile, {name}"] = partial(torch.compile(fused), images)
    for call in calls.values():
        for _ in range(2):  # the second is recorded
            call()
    return calls


def build_networks(network: str, dtype: torch.dtype, device: str) -> tuple[Network, Network]:
    """The plain network's logits, in channels_last, and the fused network."""
    model = U2NetForImageSegmentation.from_pretrained(resolve(network), dtype=torch.float32).eval()
    fused = FusedU2Net.from_state_dict(model.config.to_dict(), model.state_dict(), dtype, device)
    model.to(device, dtype, memory_format=torch.channels_last)

    @torch.inference_mode()
    def plain(images: torch.Tensor) -> torch.Tensor:
        return model(images).logits

    return plain, fused


def measure(network: str, batch: int, rounds: int, calls: dict[str, Call]) -> dict[str, Any]:
    """Time all ways in turns; the result is that of [`benchmarks.timing.compare`], for one image."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            torch.cuda.synchronize()
            wall, cpu = time.perf_counter(), time.process_time()
            call()
            torch.cuda.synchronize()
            times[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    sides: list[dict[str, Any]] = []
    for name, taken in times.items():
        wall_ms, cpu_ms = ([seconds / batch * 1e3 for seconds in column] for column in zip(*taken, strict=True))
        median = statistics.median(wall_ms)
        side = {"name": name, "median_ms": median, "min_ms": min(wall_ms), "max_ms": max(wall_ms)}
        side |= {"cpu_ms": statistics.median(cpu_ms), "ratio": (sides[0]["median_ms"] if sides else median) / median}
        sides.append(side | {"peak_mb": None if "graph" in name else _peak_mb(calls[name])})
    height, width = find_model(network).input_options.size
    title = _title(network)
    work = f"{title}, {height}x{width}, " + ("1 image" if batch == 1 else f"batch {batch}")
    return {"work": work, "items": batch, "rounds": rounds, "sides": sides}


def _peak_mb(call: Call) -> float:
    """The memory that a call takes beside the weights."""
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    return (torch.cuda.max_memory_allocated() - before) / 1024**2


@torch.inference_mode()
def compare_with_float64(network: str, device: str = "cuda") -> list[str]:
    """How far the probabilities of each way are from the plain network in float64 on photos: rows of a table."""
    options = find_model(network).input_options
    photos = [to_pixel_values(Image.fromarray(getattr(data, name)()), options) for name in PHOTOS]
    images = torch.stack([torch.from_numpy(photo) for photo in photos]).to(device)
    expected = build_networks(network, torch.float64, device)[0](images.double()).sigmoid()
    rows = []
    for name in DTYPES:
        dtype = getattr(torch, name)
        plain, fused = build_networks(network, dtype, device)
        for way, logits in (("plain", plain(images.to(dtype))), ("fused", fused(images))):
            difference = (logits.double().sigmoid() - expected).abs()
            title = _title(network)
            rows.append(f"| {title}, {way}, {name} | {difference.mean():.1e} | {difference.max():.1e} |")
    return rows


def _title(network: str) -> str:
    name = Path(network).name
    return TITLES.get(name, name)
