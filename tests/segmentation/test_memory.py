"""What a large page needs is bounded by the tile and its label image: numpy's own allocations are counted."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import tifffile
from cell_models import bright_cells

from u2net_hf.segmentation import blocks, network, planes, sources
from u2net_hf.segmentation.jobs import Job, Outputs, segment_file
from u2net_hf.segmentation.network import load_network
from u2net_hf.segmentation.segmentation import PageOptions


def test_memory_is_bounded(finder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page three times as high takes no more than its label image more."""
    monkeypatch.setattr(planes, "STRIP", 50_000)
    monkeypatch.setattr(network, "TILE_SIZE", 256)
    monkeypatch.setattr(sources, "IN_MEMORY", 0)
    monkeypatch.setitem(blocks.separate_in_blocks.__kwdefaults__, "core", 200)
    monkeypatch.setitem(blocks.separate_in_blocks.__kwdefaults__, "margin", 20)
    part, cells = bright_cells(0, 100, 100, np.uint16, 4000)
    loaded = load_network(finder)
    peaks = {}
    for height in (1, 6, 18):  # the first one loads what is loaded once
        job = Job(tmp_path / f"{height}.tif", tmp_path / f"{height}.labels.tif")
        tifffile.imwrite(job.source, np.tile(part, (height, 6)), compression="zlib", rowsperstrip=100)
        tracemalloc.start()
        segment_file(job, loaded, options=PageOptions(), outputs=Outputs(table=True, probabilities=True))
        peaks[height] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert tifffile.imread(job.destination).max() == height * 6 * cells.max()
    assert peaks[18] - peaks[6] < 4 * (18 - 6) * 6 * part.size
