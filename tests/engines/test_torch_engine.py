"""The engine torch: what it loads and from where, and what it refuses."""

import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from prediction_helpers import Pair, noise
from tiny_models import tiny_u2net_config, tiny_unet_config
from transformers import PreTrainedModel, SegformerConfig, SegformerImageProcessorPil

from u2net_hf import UNetForSemanticSegmentation, UNetImageProcessorPil
from u2net_hf.engines import load_engine, torch_engine
from u2net_hf.engines.predict import saliency_maps
from u2net_hf.engines.torch_engine import ModelEngine, TorchEngine, choose_dtype, load_model, usable_device
from u2net_hf.engines.unet_engine import UNetEngine
from u2net_hf.models.u2net.image_processing_u2net import U2NetImageProcessorPil
from u2net_hf.models.u2net.modeling_u2net import U2NetForImageSegmentation

pytest_plugins = ["prediction_helpers"]


def one_map(engine: object) -> np.ndarray:
    (saliency,) = saliency_maps([noise(40, 30)], engine)  # type: ignore[arg-type]
    return saliency


def test_a_folder(folder: Path, tiny: Pair) -> None:
    engine = load_engine(folder, device="cpu")
    assert isinstance(engine, TorchEngine)
    np.testing.assert_allclose(one_map(engine), one_map(ModelEngine(*tiny)), atol=1e-5)
    assert engine.variant == {
        "engine": "torch",
        "dtype": "float32",
        "size": "32x32",
        "do_antialias": True,
        "do_scale_by_max": True,
    }
    assert ModelEngine(*tiny).variant == engine.variant


@pytest.mark.parametrize("form", ["sharded", "pytorch_model.bin"])
def test_weights_in_other_files(form: str, folder: Path, tiny: Pair, tmp_path: Path) -> None:
    model: PreTrainedModel
    model, image_processor = tiny
    image_processor.save_pretrained(tmp_path)
    if form == "sharded":
        model.save_pretrained(tmp_path, max_shard_size="20KB")
        assert len([*tmp_path.glob("*.safetensors")]) > 1
    else:
        model.config.save_pretrained(tmp_path)
        torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    np.testing.assert_array_equal(one_map(load_engine(tmp_path)), one_map(load_engine(folder)))


def test_a_configuration_that_leaves_defaults_out(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["num_channels"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    np.testing.assert_array_equal(one_map(load_engine(tmp_path)), one_map(load_engine(folder)))


def test_several_channels_are_salient_where_they_are_not_background(tmp_path: Path) -> None:
    model = U2NetForImageSegmentation(tiny_u2net_config(out_channels=3)).eval()
    image_processor = U2NetImageProcessorPil(size={"height": 32, "width": 32})
    model.save_pretrained(tmp_path)
    image_processor.save_pretrained(tmp_path)
    saliency = one_map(load_engine(tmp_path, device="cpu"))
    np.testing.assert_allclose(saliency, one_map(ModelEngine(model, image_processor)), atol=1e-5)


def test_a_u_net_runs_with_its_own_image_processor(tmp_path: Path) -> None:
    config = tiny_unet_config()
    model = UNetForSemanticSegmentation(config).eval()
    model.save_pretrained(tmp_path)
    UNetImageProcessorPil.from_config(config).save_pretrained(tmp_path)
    engine = load_engine(tmp_path, device="cpu")
    assert isinstance(engine, UNetEngine)
    processor = UNetImageProcessorPil.from_config(config)
    np.testing.assert_allclose(one_map(engine), one_map(ModelEngine(model, processor)), atol=1e-6)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision(dtype: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_engine, "cpu_computes_in", lambda asked: True)
    engine = load_engine(folder, device="cpu", dtype=dtype)
    assert engine.variant["dtype"] == dtype
    saliency = one_map(engine)
    assert saliency.dtype == np.float32
    np.testing.assert_allclose(saliency, one_map(load_engine(folder, device="cpu")), atol=0.01)


def test_auto_asks_the_processor(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for has_bfloat16, dtype in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(torch_engine, "cpu_computes_in", lambda dtype, answer=has_bfloat16: answer)
        assert load_engine(folder, device="cpu", dtype="auto").variant["dtype"] == dtype
    assert choose_dtype("auto", torch.device("meta")) == torch.float32


@pytest.mark.parametrize(("dtype", "hint"), [("int8", "onnxruntime and openvino"), ("half", "auto, float32")])
def test_unknown_dtypes(dtype: str, hint: str, folder: Path) -> None:
    with pytest.raises(ValueError, match=hint):
        load_engine(folder, dtype=dtype)


@pytest.mark.parametrize("device", ["toaster", "cuda:99"])
def test_bad_device(folder: Path, device: str) -> None:
    for load in (load_engine, load_model):
        with pytest.raises(ValueError, match=f"device '{device}' cannot be used here"):
            load(folder, device=device)


def test_default_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    assert usable_device(None).type == "cpu"
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("meta"))
    assert usable_device(None).type == "meta"


def test_another_kind_of_model(tmp_path: Path) -> None:
    SegformerConfig().save_pretrained(tmp_path)
    processor = SegformerImageProcessorPil()
    processor.save_pretrained(tmp_path)
    for load in (load_engine, load_model):
        with pytest.raises(ValueError, match="makes no saliency maps"):
            load(tmp_path)
    with pytest.raises(ValueError, match="makes no saliency maps"):
        ModelEngine(object(), processor)


def test_training_mode_is_refused() -> None:
    model = U2NetForImageSegmentation(tiny_u2net_config()).train()
    with pytest.raises(ValueError, match=r"model\.eval\(\)"):
        one_map(ModelEngine(model, U2NetImageProcessorPil()))


def test_a_model_object_in_evaluation_mode(folder: Path, tiny: Pair) -> None:
    model, image_processor = load_model(folder, device="cpu", dtype=torch.bfloat16)
    assert not model.training
    assert (model.device.type, model.dtype) == ("cpu", torch.bfloat16)
    np.testing.assert_allclose(one_map(ModelEngine(model, image_processor)), one_map(ModelEngine(*tiny)), atol=0.02)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_type_that_the_processor_only_emulates(dtype: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_engine, "cpu_computes_in", lambda asked: asked != dtype)
    with pytest.raises(ValueError, match=f"this processor only emulates {dtype}, slower than float32: choose float32"):
        load_engine(folder, dtype=dtype, device="cpu")
    monkeypatch.setattr(torch_engine, "cpu_computes_in", lambda asked: False)
    assert load_engine(folder, dtype="auto", device="cpu").variant["dtype"] == "float32"
    assert choose_dtype(dtype, torch.device("meta")) == getattr(torch, dtype)
    monkeypatch.setattr(torch_engine, "cpu_computes_in", lambda asked: None)  # a system that does not tell
    assert load_engine(folder, dtype=dtype, device="cpu").variant["dtype"] == dtype


@pytest.fixture
def four_threads() -> Iterator[None]:
    """As on four cores; the tests have one thread each."""
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(1)


@pytest.mark.usefixtures("four_threads")
class TestSeveralBatchesAtATime:
    def test_maps_and_order_are_those_of_one_at_a_time(self, folder: Path) -> None:
        engine = load_engine(folder, device="cpu")
        photos = [[noise(40, seed)] for seed in range(20, 30)]

        def predict(batch: list[Image.Image]) -> list[np.ndarray]:
            return engine(batch, None, False)

        np.testing.assert_array_equal([*engine.map(predict, photos)], [*map(predict, photos)])
        assert torch.get_num_threads() == 4

    def test_they_share_the_cores(self, folder: Path) -> None:
        meeting = threading.Barrier(4, timeout=60)

        def meet(batch: int) -> int:
            meeting.wait()
            return torch.get_num_threads()

        assert [*load_engine(folder, device="cpu").map(meet, range(8))] == [1] * 8

    def test_one_batch_has_all_cores(self, folder: Path) -> None:
        engine = load_engine(folder, device="cpu")
        assert [*engine.map(lambda batch: torch.get_num_threads(), range(1))] == [4]

    def test_large_inputs_are_done_one_at_a_time(self, tmp_path: Path, tiny: Pair) -> None:
        tiny[0].save_pretrained(tmp_path)
        U2NetImageProcessorPil(size={"height": 1024, "width": 1024}).save_pretrained(tmp_path)
        engine = load_engine(tmp_path, device="cpu")
        assert [*engine.map(lambda batch: torch.get_num_threads(), range(3))] == [4] * 3

    def test_few_batches_wait_in_memory(self, folder: Path) -> None:
        drawn: list[int] = []
        batches = (drawn.append(number) or number for number in range(100))
        results = load_engine(folder, device="cpu").map(abs, batches)
        assert next(results) == 0
        assert len(drawn) <= 6
        results.close()  # type: ignore[attr-defined]
        assert torch.get_num_threads() == 4

    def test_an_error_ends_them(self, folder: Path) -> None:
        with pytest.raises(ZeroDivisionError):
            [*load_engine(folder, device="cpu").map(lambda batch: 1 // (batch - 3), range(9))]
        assert torch.get_num_threads() == 4


@pytest.mark.usefixtures("four_threads")
def test_a_map_depends_on_the_number_of_threads_by_rounding_only() -> None:
    """A photo of a folder has the map that it has alone, though it gets fewer threads."""
    engine = load_engine("u2netp", device="cpu")
    assert isinstance(engine, TorchEngine)
    pixel_values = np.random.default_rng(0).standard_normal((1, 3, 320, 320), np.float32)
    by_four = engine.probabilities(pixel_values)
    for threads in (1, 2):
        torch.set_num_threads(threads)
        # On an AVX-512 and an AVX2 class 0 was measured; 9e-8 with a convolution to nine channels.
        np.testing.assert_allclose(engine.probabilities(pixel_values), by_four, rtol=0, atol=1e-6)
