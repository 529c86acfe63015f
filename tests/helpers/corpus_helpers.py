"""Photos, a tiny network, and what `remove --mask` makes of them, for the tests of `predict`."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image
from tiny_models import tiny_u2net_config

from u2net_hf import U2NetForImageSegmentation, U2NetImageProcessorPil
from u2net_hf.engines import load_engine
from u2net_hf.images.outputs import plan_outputs
from u2net_hf.models.u2net.render_u2net import RenderOptions
from u2net_hf.removal.removal import remove_backgrounds


def make_model(folder: Path, seed: int = 0) -> str:
    torch.manual_seed(seed)
    model = U2NetForImageSegmentation(tiny_u2net_config())
    torch.nn.init.normal_(model.outconv.weight, std=30)  # maps that are not 0.5 everywhere
    model.save_pretrained(folder)
    U2NetImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return str(folder)


def write_photos(folder: Path, number: int) -> Path:
    folder.mkdir()
    for name in range(number):
        values = np.random.default_rng(name).integers(0, 256, (20 + name, 30, 3), dtype=np.uint8)
        Image.fromarray(values).save(folder / f"{name}.png")
    return folder


def read_rows(target: Path) -> dict[str, dict[str, Any]]:
    """The rows of a target by name; each must be there once."""
    rows = [row for path in sorted((target / "data").glob("*.parquet")) for row in pq.read_table(path).to_pylist()]
    names = [row["name"] for row in rows]
    assert len(set(names)) == len(names)
    return dict(zip(names, rows, strict=True))


def remove_masks(photos: Path, model: str, batch_size: int = 1) -> dict[str, bytes]:
    """The files that `remove --mask` writes, by the photo's name."""
    out = photos.parent / f"remove-{batch_size}"
    jobs = plan_outputs([photos], out)
    engine = load_engine(model, dtype="auto")
    options = RenderOptions(mask=True)
    list(remove_backgrounds(jobs, engine, options=options, batch_size=batch_size, overwrite=True))
    return {job.source.stem: job.destination.read_bytes() for job in jobs if job.destination.exists()}
