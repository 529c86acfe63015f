"""Which batches fit into a GPU's memory when U²-Net or IS-Net trains: a table of input sizes and options.

    python scripts/training_memory.py --config isnet -o outputs/memory.json

Runs two training steps for each size, with and without bfloat16 and gradient checkpointing, on random images in
batches that grow until the largest memory is full; writes what was measured as JSON and prints the table.
"""

from __future__ import annotations

import itertools
import json
import time
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from u2net_hf import U2NetConfig, U2NetForImageSegmentation
from u2net_hf.utils.console import run_script
from u2net_hf.utils.files import write_atomically

CONFIGS: dict[str, Any] = {"u2netp": U2NetConfig.small, "u2net": U2NetConfig, "isnet": U2NetConfig.isnet}
BATCHES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
GIB = 2**30
# What a process holds on a GPU before its first tensor, which the allocator does not count.
CONTEXT = 0.6 * GIB
Measured = dict[str, Any]


def main(
    config: Annotated[str, typer.Option(help=f"Network: {', '.join(CONFIGS)}.")] = "isnet",
    size: Annotated[list[int], typer.Option(help="Side of the network's input.")] = [512, 768, 1024],  # noqa: B006
    memory: Annotated[list[int], typer.Option(help="Memory of a GPU in GiB.")] = [8, 16, 24],  # noqa: B006
    output: Annotated[Path, typer.Option("--output", "-o", help="JSON file.")] = Path("outputs/memory.json"),
) -> None:
    """Measure the peak memory of a training step, by size, type of the numbers, checkpointing and batch."""
    if config not in CONFIGS:
        raise ValueError(f"--config must be one of {', '.join(CONFIGS)}, got {config!r}")
    if not torch.cuda.is_available():
        raise ValueError("there is no CUDA GPU here to measure")
    measured: list[Measured] = []
    described = {"config": config, "device": torch.cuda.get_device_name(), "torch": torch.__version__}
    for side, bf16, checkpointing in itertools.product(size, (True, False), (False, True)):
        for batch in BATCHES:
            found = measure(config, side, batch, bf16, checkpointing, max(memory) * GIB)
            if found is None:
                break
            measured.append(found)
        write_atomically(output, json.dumps({**described, "steps": measured}, indent=1) + "\n")
    print(table(measured, memory))


def measure(config: str, side: int, batch: int, bf16: bool, checkpointing: bool, limit: int) -> Measured | None:
    """Peak memory in bytes and milliseconds of a step; `None` if it takes more than the limit, in bytes."""
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(min((limit - CONTEXT) / total, 1.0))
    torch.cuda.reset_peak_memory_stats()
    try:
        ms = _train(config, side, batch, bf16, checkpointing)
    except torch.cuda.OutOfMemoryError:
        return None
    peaks = {"allocated": torch.cuda.max_memory_allocated(), "reserved": torch.cuda.max_memory_reserved()}
    row: Measured = {"size": side, "batch": batch, "bf16": bf16, "checkpointing": checkpointing}
    return row | peaks | {"ms": round(ms, 1)}


def _train(config: str, side: int, batch: int, bf16: bool, checkpointing: bool) -> float:
    """Two steps as `train_sod.py --channels_last` takes them; milliseconds of the second."""
    model: Any = U2NetForImageSegmentation(CONFIGS[config]())
    model.to(device="cuda", memory_format=torch.channels_last).train()
    if checkpointing:
        model.activation_checkpointing_enable()
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    images = torch.randn(batch, 3, side, side, device="cuda").contiguous(memory_format=torch.channels_last)
    masks = torch.rand(batch, side, side, device="cuda").round()
    start = 0.0
    for _ in range(2):
        torch.cuda.synchronize()
        start = time.perf_counter()
        with torch.autocast("cuda", torch.bfloat16, enabled=bf16):
            loss = model(images, labels=masks).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        torch.cuda.synchronize()
    return (time.perf_counter() - start) * 1e3


def table(measured: list[Measured], memory: list[int]) -> str:
    """The largest batch that was seen to fit, by size and options, for each amount of memory in GiB, as Markdown."""
    lines = ["| input | numbers | checkpointing | " + " | ".join(f"{gib} GB" for gib in memory) + " |"]
    lines.append("|---|---|---|" + "---:|" * len(memory))
    for key in dict.fromkeys((row["size"], row["bf16"], row["checkpointing"]) for row in measured):
        rows = [row for row in measured if (row["size"], row["bf16"], row["checkpointing"]) == key]
        fits = [
            max((r["batch"] for r in rows if r["reserved"] + CONTEXT <= gib * GIB), default=None) for gib in memory
        ]
        side, bf16, checkpointing = key
        cells = [f"{side}x{side}", "bf16" if bf16 else "float32", "yes" if checkpointing else "no"]
        lines.append("| " + " | ".join([*cells, *("–" if fit is None else str(fit) for fit in fits)]) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    run_script(main, __doc__)
