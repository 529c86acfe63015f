"""Which engine `auto` takes, by what is asked and what is there."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from export_helpers import save_unet
from huggingface_hub import constants
from prediction_helpers import noise

from u2net_hf.engines import choice, load_engine
from u2net_hf.engines.choice import FEW_PHOTOS, choose_engine
from u2net_hf.engines.fused_unet import FusedUNet
from u2net_hf.engines.predict import saliency_maps
from u2net_hf.engines.unet_engine import load_tile_network

pytest_plugins = ["prediction_helpers"]


def install(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    monkeypatch.setattr(choice, "find_spec", lambda name: name in names or None)


def test_without_other_engines_it_is_torch(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    assert choose_engine([folder], "float32", num_photos=1)[0] == "torch"


@pytest.mark.parametrize(
    ("installed", "expected"),
    [(("onnxruntime", "openvino"), "openvino"), (("onnxruntime",), "onnxruntime"), ((), "onnxruntime")],
)
def test_int8(installed: tuple[str, ...], expected: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, *installed)
    assert choose_engine([folder], "int8")[0] == expected


def test_an_exported_folder_and_a_model_with_graphs_beside_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path))
    install(monkeypatch, "onnxruntime")
    beside = tmp_path / "beside"
    shutil.copytree(folder, beside)
    (beside / "onnx").mkdir()
    (beside / "onnx" / "model.onnx").touch()
    assert choose_engine([beside], num_photos=1)[0] == "torch"  # the engines export it anew, with their own options
    (beside / "model.safetensors").unlink()
    assert choose_engine([beside], num_photos=1)[0] == "onnxruntime"


def test_a_u_net_runs_in_torch(tmp_path: Path) -> None:
    engine = load_engine(save_unet(tmp_path / "unet"), "auto", dtype="float32", device="cpu")
    assert engine.variant["engine"] == "torch"
    assert isinstance(load_tile_network(tmp_path / "unet", "auto", "cpu"), FusedUNet)


def test_few_photos_of_an_exported_network(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path))
    assert choose_engine([folder], num_photos=1)[0] == "torch"  # the export would take longer
    expected = load_engine(folder, "onnxruntime")
    assert choose_engine([folder], num_photos=FEW_PHOTOS) == choose_engine([str(folder)], "float32", "cpu", 1)
    assert choose_engine([folder], num_photos=1)[0] == "onnxruntime"
    others = [({}, None), ({}, FEW_PHOTOS + 1), ({"dtype": "bfloat16"}, 1), ({"device": "cuda"}, 1)]
    for options, number in others:
        assert choose_engine([folder], num_photos=number, **options)[0] == "torch"
    found, other = (
        next(iter(saliency_maps([noise(40, 30)], engine)))
        for engine in (expected, load_engine(folder, "auto", dtype="float32", device="cpu"))
    )
    np.testing.assert_allclose(found, other, atol=1e-4)
