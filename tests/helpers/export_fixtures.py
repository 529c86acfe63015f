"""An export that several tests look at; a test file asks for it by `pytest_plugins = ["export_fixtures"]`."""

from pathlib import Path

import pytest
import torch
from export_helpers import drawn_photo, save_u2net

from u2net_hf.onnx_export.export import export_onnx


@pytest.fixture(scope="module")
def u2net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    return save_u2net(tmp_path_factory.mktemp("u2net"))


@pytest.fixture(scope="module")
def photo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for number in range(3):
        drawn_photo(90 + 20 * number, 80).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def exported(u2net: Path, photo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All three types of the same small U²-Net with live BatchNorms."""
    folder = tmp_path_factory.mktemp("exported") / "parents" / "u2net"
    graphs = export_onnx(u2net, folder, calibration_images=photo_folder)
    assert [graph.dtype for graph in graphs] == ["float32", "float16", "int8"]
    for graph, name in zip(graphs, ["model.onnx", "model_fp16.onnx", "model_quantized.onnx"], strict=True):
        assert graph.path == folder / "onnx" / name
        assert graph.num_bytes == graph.path.stat().st_size
    assert graphs[0].mean_difference < graphs[1].mean_difference < graphs[2].mean_difference
    return folder
