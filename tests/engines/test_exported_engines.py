"""ONNX Runtime and OpenVINO: the same maps as torch, from an export that is made once."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from export_helpers import save_unet
from huggingface_hub import constants
from prediction_helpers import Pair, noise

from u2net_hf.engines import load_engine
from u2net_hf.engines.interface import Engine
from u2net_hf.engines.predict import saliency_maps
from u2net_hf.engines.torch_engine import ModelEngine
from u2net_hf.onnx_export import export

pytest_plugins = ["prediction_helpers"]

pytest.importorskip("onnxruntime")
PHOTOS = [noise(50, 40), noise(31, 64), noise(7, 5)]


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> object:
    """Exports go to a cache of these tests."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "HF_HOME", str(home))
        yield home / "u2net_hf" / "exports"


@pytest.fixture(params=["onnxruntime", "openvino"])
def name(request: pytest.FixtureRequest) -> str:
    pytest.importorskip(request.param)
    return str(request.param)


def maps(engine: Engine, batch_size: int = 1) -> list[np.ndarray]:
    return [*saliency_maps(PHOTOS, engine, batch_size=batch_size)]


def test_the_maps_of_torch(name: str, folder: Path, tiny: Pair) -> None:
    engine = load_engine(folder, name)
    expected = maps(ModelEngine(*tiny))
    for batch_size in (1, 2):
        for one, other in zip(maps(engine, batch_size), expected, strict=True):
            assert one.dtype == np.float32
            np.testing.assert_allclose(one, other, atol=1e-4)
    assert engine.variant == {**ModelEngine(*tiny).variant, "engine": name}
    assert load_engine(folder, name, dtype="auto").variant == engine.variant


def test_bfloat16_in_openvino(folder: Path, tiny: Pair) -> None:
    openvino = pytest.importorskip("openvino")
    if os.environ.get("ONEDNN_MAX_CPU_ISA"):
        pytest.skip("OpenVINO asks the processor, whatever ONEDNN_MAX_CPU_ISA allows oneDNN to use of it")
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        with pytest.raises(ValueError, match="does not compute in bfloat16: choose float32"):
            load_engine(folder, "openvino", dtype="bfloat16")
        return
    engine = load_engine(folder, "openvino", dtype="bfloat16")
    assert engine.variant["dtype"] == "bfloat16"
    np.testing.assert_allclose(maps(engine)[0], maps(ModelEngine(*tiny))[0], atol=0.02)


def test_int8_is_near(name: str, folder: Path, tiny: Pair) -> None:
    engine = load_engine(folder, name, dtype="int8")
    assert engine.variant["dtype"] == "int8"
    differences = [abs(one - other).mean() for one, other in zip(maps(engine), maps(ModelEngine(*tiny)), strict=True)]
    assert 0 < max(differences) < 0.03


def test_the_export_is_made_once_and_again_for_other_weights(
    folder: Path, tiny: Pair, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    monkeypatch.setattr(export, "export_graph", lambda source, path, dtype: (calls.append(source), path.touch()))
    monkeypatch.setattr("u2net_hf.engines.onnxruntime_engine.open_graph", lambda *arguments: arguments)
    for part in tiny:
        part.save_pretrained(tmp_path)
    first = load_engine(tmp_path, "onnxruntime").graph[0]  # type: ignore[attr-defined]
    assert load_engine(str(tmp_path), "onnxruntime").graph[0] == first  # type: ignore[attr-defined]
    assert calls == [str(tmp_path)]
    assert cache in first.parents
    weights = tmp_path / "model.safetensors"
    os.utime(weights, ns=(0, weights.stat().st_mtime_ns + 1))
    second = load_engine(tmp_path, "onnxruntime").graph[0]  # type: ignore[attr-defined]
    assert len(calls) == 2
    assert [second] == [*first.parent.glob("*.onnx")]  # the old one is gone


def test_a_failed_export_leaves_nothing(
    tiny: Pair, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in tiny:
        part.save_pretrained(tmp_path)
    before = {*cache.rglob("*.onnx")}
    with monkeypatch.context() as patch:
        patch.setattr(export, "_compare", lambda *arguments: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            load_engine(tmp_path, "onnxruntime")
    assert {*cache.rglob("*.onnx")} == before
    assert not [*cache.rglob("*.tmp")]
    assert maps(load_engine(tmp_path, "onnxruntime"))


def test_an_exported_folder(name: str, folder: Path, tiny: Pair, tmp_path: Path) -> None:
    exported = tmp_path / "exported"
    export.export_onnx(folder, exported, dtypes=["float32"])
    np.testing.assert_allclose(maps(load_engine(exported, name))[0], maps(ModelEngine(*tiny))[0], atol=1e-4)
    with pytest.raises(ValueError, match=r"holds no model_quantized\.onnx: export it with --dtype int8"):
        load_engine(exported, name, dtype="int8")


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", None])
def test_a_damaged_graph_is_named(name: str, content: bytes | None, folder: Path, tmp_path: Path) -> None:
    exported = tmp_path / "exported"
    export.export_onnx(folder, exported, dtypes=["float32"])
    file = exported / "onnx" / "model.onnx"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(ValueError, match=r"model\.onnx cannot be read; it is damaged, or of another kind: ") as caught:
        load_engine(exported, name)
    assert "\n" not in str(caught.value)


def test_a_graph_of_another_network_is_named(name: str, tmp_path: Path) -> None:
    source = save_unet(tmp_path / "unet")
    export.export_onnx(source, tmp_path / "exported", dtypes=["float32"])
    with pytest.raises(ValueError, match=r"is no exported U²-Net: .*found pixel_values to logits"):
        load_engine(tmp_path / "exported", name)


def test_what_cannot_be_run_is_said(name: str, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"{name} runs on the CPU here, not on 'cuda'"):
        load_engine(folder, name, device="cuda")
    with pytest.raises(ValueError, match=f"dtype of the engine {name} must be auto, float32"):
        load_engine(folder, name, dtype="q4")
    (tmp_path / "config.json").write_text('{"model_type": "dpt"}', encoding="utf-8")
    with pytest.raises(ValueError, match="is no U²-Net; only the engine torch can run it"):
        load_engine(tmp_path, name)


def test_an_engine_that_is_unknown_or_not_installed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="engine must be one of auto, torch, onnxruntime, openvino, got 'caffe'"):
        load_engine(folder, "caffe")
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    monkeypatch.delitem(__import__("sys").modules, "u2net_hf.engines.openvino_engine", raising=False)
    with pytest.raises(RuntimeError, match=r"openvino is not installed: pip install 'u2net-hf\[openvino\]'"):
        load_engine(folder, "openvino")


def test_signals_are_handled_when_engines_of_openvino_have_gone(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    script = f"""
import gc, os, signal
from u2net_hf import load_engine
signal.signal(signal.SIGUSR1, lambda *_: print("handled"))
first, second = (load_engine({str(folder)!r}, "openvino") for _ in range(2))
for engine in (first, second):
    engine.probabilities(__import__("numpy").zeros((1, 3, 32, 32), "float32"))
del engine, first
gc.collect()
del second
gc.collect()
os.kill(os.getpid(), signal.SIGUSR1)
"""
    environment = os.environ | {"HF_HOME": str(tmp_path)}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr
