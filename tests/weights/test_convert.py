"""Tests of `u2net_hf.weights.convert` on tiny networks; the published weights are in `test_published_weights.py`."""

from __future__ import annotations

import io
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from random_networks import TINY, maps, random_model
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from u2net_hf.models.u2net.configuration_u2net import U2NetConfig
from u2net_hf.models.u2net.image_processing_u2net import U2NetImageProcessorPil
from u2net_hf.models.u2net.modeling_u2net import U2NetForImageSegmentation
from u2net_hf.weights.convert import convert_checkpoint, infer_config, read_checkpoint


@pytest.fixture(scope="module")
def model() -> U2NetForImageSegmentation:
    torch.manual_seed(0)
    return random_model()


# --- The architecture, from names and shapes


@pytest.mark.parametrize("config", [U2NetConfig(), U2NetConfig.small(), U2NetConfig(out_channels=4, num_channels=1)])
@pytest.mark.parametrize("use_batch_norm", [True, False])
def test_the_authors_architectures_are_inferred(config: U2NetConfig, use_batch_norm: bool) -> None:
    config.use_batch_norm = use_batch_norm
    with torch.device("meta"):
        state_dict = U2NetForImageSegmentation(config).state_dict()
    assert infer_config(state_dict).to_dict() == config.to_dict()


def test_dilated_stages_are_those_of_the_paper_unless_told(model: U2NetForImageSegmentation) -> None:
    def blocks(config: U2NetConfig) -> list[Any]:
        return [stage[0] for stage in (*config.encoder_stages, *config.decoder_stages)]

    assert blocks(infer_config(model.state_dict())) == [
        *("RSU-4", "RSU-3", "RSU-4F", "RSU-3F"),
        *("RSU-4F", "RSU-2", "RSU-5"),
    ]
    told = infer_config(model.state_dict(), dilated_stages=["stage1"])
    assert blocks(told) == ["RSU-4F", "RSU-3", "RSU-4", "RSU-3", "RSU-4", "RSU-2", "RSU-5"]


# --- .pth


@pytest.mark.parametrize(
    ("wrap", "options"),
    [
        pytest.param(lambda state: state, {}, id="plain"),
        pytest.param(lambda state: state, {"_use_new_zipfile_serialization": False}, id="before PyTorch 1.6"),
        pytest.param(
            lambda state: {f"module.{name}": tensor for name, tensor in state.items()}, {}, id="DataParallel"
        ),
        pytest.param(lambda state: {"state_dict": state, "epoch": 3}, {}, id="state_dict"),
        pytest.param(lambda state: {"model": {f"module.{n}": t for n, t in state.items()}}, {}, id="model, module"),
        pytest.param(lambda state: {f"_orig_mod.{n}": t for n, t in state.items()}, {}, id="compiled"),
        pytest.param(
            lambda state: {n.replace("stage1.", "stage1._orig_mod."): t for n, t in state.items()},
            {},
            id="one compiled",
        ),
        pytest.param(lambda state: {"epoch": 3, "model_state_dict": state}, {}, id="model_state_dict"),
        pytest.param(
            lambda state: {"state_dict": {f"net.module._orig_mod.{n}": t for n, t in state.items()}},
            {},
            id="Lightning",
        ),
        pytest.param(
            lambda state: {"model": {"state_dict": {f"model.{n}": t for n, t in state.items()}}}, {}, id="nested"
        ),
        pytest.param(
            lambda state: {n: t for n, t in state.items() if "num_batches" not in n}, {}, id="before PyTorch 0.4.1"
        ),
    ],
)
def test_pth(
    wrap: Callable[[Any], Any], options: dict[str, Any], model: U2NetForImageSegmentation, tmp_path: Path
) -> None:
    torch.save(wrap(model.state_dict()), tmp_path / "tiny.pth", **options)
    config, state_dict = read_checkpoint(tmp_path / "tiny.pth")
    assert config.encoder_stages == TINY["encoder_stages"]
    assert config.decoder_stages == TINY["decoder_stages"]
    assert state_dict.keys() == model.state_dict().keys()
    assert all(torch.equal(state_dict[name], tensor) for name, tensor in model.state_dict().items())


def test_pth_in_half_precision_becomes_float32(model: U2NetForImageSegmentation, tmp_path: Path) -> None:
    torch.save({name: tensor.half() for name, tensor in model.state_dict().items()}, tmp_path / "tiny.pth")
    _, state_dict = read_checkpoint(tmp_path / "tiny.pth")
    assert {tensor.dtype for tensor in state_dict.values()} == {torch.float32}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("side3.bias"), r"Missing: side3\.bias\."),
        (lambda s: s.pop("stage2.rebnconvin.conv_s1.weight"), r"Missing: stage2\.rebnconvin\.conv_s1\.weight"),
        (lambda s: s.pop("stage1.rebnconv2.bn_s1.weight"), r"Missing: stage1\.rebnconv2\.bn_s1\.weight"),
        (lambda s: s.update({"head.weight": torch.ones(1)}), r"Unexpected: head\.weight\."),
        (
            lambda s: s.update({"stage1.rebnconv2.conv_s1.weight": torch.ones(3, 4, 3, 3)}),
            r"Wrong shape: stage1\.rebnconv2\.conv_s1\.weight is \(3, 4, 3, 3\), expected \(3, 3, 3, 3\)",
        ),
        (lambda s: s.update({"side1.weight": torch.ones(1)}), r"Wrong shape: side1\.weight is \(1,\)"),
        (lambda s: s.update({"epoch": 3, 7: 8}), r"not tensors are epoch, 7"),
        (lambda s: s.update({f"net.{n}": t for n, t in [*s.items()]}), r"Several networks are in it, as net\.outconv"),
        (
            lambda s: s.update(
                {n: s.pop(n).half() for n in [*s]} | {"side1.bias": torch.zeros(1).expand(10**5, 10**6)}
            ),
            r"Fewer numbers are in it than its shapes say: side1\.bias",
        ),
        (
            lambda s: s.update({"stage1.rebnconv100000000.conv_s1.weight": torch.ones(3, 3, 3, 3)}),
            r"has the stage \['RSU-100000000'.*height 7, at most 32",
        ),
    ],
)
def test_pth_that_does_not_fit_is_refused_by_name(
    change: Callable[[dict[str, Any]], Any], message: str, model: U2NetForImageSegmentation, tmp_path: Path
) -> None:
    state_dict = dict(model.state_dict())
    change(state_dict)
    torch.save(state_dict, tmp_path / "tiny.pth")
    with pytest.raises(ValueError, match=rf"tiny\.pth does not hold the weights of a U²-Net\. .*{message}"):
        read_checkpoint(tmp_path / "tiny.pth")


def test_other_networks_and_files_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "other.pth"
    torch.save(nn.Linear(2, 3).state_dict(), file)
    with pytest.raises(ValueError, match=r"Expected names such as stage1\..*, found bias, weight\."):
        read_checkpoint(file)
    torch.save({"backbone.stage1.rebnconvin.conv_s1.weight": torch.ones(1)}, file)
    with pytest.raises(ValueError, match=r"They begin with 'backbone\.': save them without it"):
        read_checkpoint(file)
    torch.save([torch.ones(2)], file)
    with pytest.raises(ValueError, match="Expected a dictionary of tensors, found list"):
        read_checkpoint(file)
    for content in (b"", b"<html>404</html>"):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=r"other\.pth .* plain state dict"):
            read_checkpoint(file)
    with pytest.raises(FileNotFoundError, match=r"none\.pth"):
        read_checkpoint(tmp_path / "none.pth")


def test_dictionaries_in_themselves_and_tensors_without_values_are_refused(tmp_path: Path) -> None:
    cycle: dict[str, Any] = {}
    cycle["state_dict"] = cycle
    torch.save(cycle, tmp_path / "cycle.pth")
    with pytest.raises(ValueError, match=r"cycle\.pth .* not tensors are state_dict"):
        read_checkpoint(tmp_path / "cycle.pth")
    torch.save({"stage1.rebnconvin.conv_s1.weight": torch.ones(2, device="meta")}, tmp_path / "meta.pth")
    with pytest.raises(ValueError, match=r"meta\.pth .* Fewer numbers are in it than its shapes say"):
        read_checkpoint(tmp_path / "meta.pth")


@pytest.mark.parametrize("change", [lambda t: t * float("nan"), lambda t: t.to(torch.complex64), lambda t: t.int()])
def test_weights_that_are_no_finite_numbers_are_refused(
    change: Callable[[torch.Tensor], torch.Tensor], model: U2NetForImageSegmentation, tmp_path: Path
) -> None:
    name = "stage1.rebnconvin.conv_s1.weight"
    torch.save(model.state_dict() | {name: change(model.state_dict()[name])}, tmp_path / "odd.pth")
    with pytest.raises(ValueError, match=rf"odd\.pth .* Not finite numbers: {re.escape(name)}\.$"):
        read_checkpoint(tmp_path / "odd.pth")


class Trap:
    """Unpickling this makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("options", [{}, {"_use_new_zipfile_serialization": False}])
def test_pickled_code_is_not_run(options: dict[str, Any], tmp_path: Path) -> None:
    torch.save({"state_dict": Trap(tmp_path / "caught")}, tmp_path / "trap.pth", **options)
    with pytest.raises(ValueError, match="pickled models are refused"):
        read_checkpoint(tmp_path / "trap.pth")
    assert not (tmp_path / "caught").exists()


# --- The folder


def test_convert_checkpoint_writes_what_save_pretrained_would(
    model: U2NetForImageSegmentation, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    torch.save(model.state_dict(), tmp_path / "tiny.pth")
    folder = convert_checkpoint(tmp_path / "tiny.pth", tmp_path / "made" / "tiny")
    assert capfd.readouterr() == ("", "")
    model.save_pretrained(tmp_path / "expected")
    U2NetImageProcessorPil().save_pretrained(tmp_path / "expected")
    assert {"config.json", "model.safetensors", "preprocessor_config.json"} <= set(os.listdir(folder))
    assert sorted(os.listdir(folder)) == sorted(os.listdir(tmp_path / "expected"))
    for file in folder.iterdir():
        if file.is_file() and file.suffix != ".safetensors":
            assert file.read_text() == (tmp_path / "expected" / file.name).read_text()
    weights, expected = (load_file(path / "model.safetensors") for path in (folder, tmp_path / "expected"))
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], tensor) for name, tensor in expected.items())
    assert (folder / "model.safetensors").stat().st_mode == (folder / "config.json").stat().st_mode
    assert sorted(os.listdir(tmp_path / "made")) == ["tiny"]

    loaded: Any
    info: dict[str, Any]
    loaded, info = U2NetForImageSegmentation.from_pretrained(folder, output_loading_info=True)  # type: ignore[misc]
    assert not any(info.values())
    image = torch.randn(1, 3, 40, 40)
    assert torch.equal(maps(loaded, image), maps(model, image))


def test_convert_checkpoint_keeps_labels_and_processor(tmp_path: Path) -> None:
    torch.save(random_model(out_channels=3).state_dict(), tmp_path / "tiny.pth")
    labels = {0: "background", 1: "shirt", 2: "skirt"}
    options: dict[str, Any] = {"size": {"height": 96, "width": 64}, "do_scale_by_max": False}
    processor = U2NetImageProcessorPil(**options)
    folder = convert_checkpoint(tmp_path / "tiny.pth", tmp_path / "tiny", id2label=labels, image_processor=processor)
    config = U2NetConfig.from_pretrained(folder)
    assert config.id2label == labels
    assert config.label2id == {"background": 0, "shirt": 1, "skirt": 2}
    loaded = U2NetImageProcessorPil.from_pretrained(folder)
    assert loaded.do_scale_by_max is False
    assert dict(loaded.size) == {"height": 96, "width": 64}
    with pytest.raises(ValueError, match="labels"):
        convert_checkpoint(tmp_path / "tiny.pth", tmp_path / "other", id2label={0: "background", 1: "shirt"})
    assert not (tmp_path / "other").exists()


def test_convert_checkpoint_does_not_write_over_files(model: U2NetForImageSegmentation, tmp_path: Path) -> None:
    torch.save(model.state_dict(), tmp_path / "tiny.pth")
    folder = tmp_path / "tiny"
    folder.mkdir()
    convert_checkpoint(tmp_path / "tiny.pth", folder)  # an empty folder is taken
    (folder / "config.json").write_text("mine")
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="is not empty"):
        convert_checkpoint(tmp_path / "tiny.pth", folder)
    assert (folder / "config.json").read_text() == "mine"
    convert_checkpoint(tmp_path / "tiny.pth", folder, overwrite=True)
    assert U2NetConfig.from_pretrained(folder).use_batch_norm
    assert (folder / "notes.txt").read_text() == "mine"
    with pytest.raises(FileExistsError, match="is a file"):
        convert_checkpoint(tmp_path / "tiny.pth", folder / "notes.txt", overwrite=True)
    assert sorted(os.listdir(tmp_path)) == ["tiny", "tiny.pth"]


def test_the_remains_of_a_killed_conversion_are_removed(
    model: U2NetForImageSegmentation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(model.state_dict(), tmp_path / "tiny.pth")
    with monkeypatch.context() as killed:
        killed.setattr(shutil, "rmtree", lambda *_, **__: None)  # nothing can be tidied up
        killed.setattr(U2NetForImageSegmentation, "save_pretrained", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            convert_checkpoint(tmp_path / "tiny.pth", tmp_path / "tiny")
    assert len([*tmp_path.glob(".tiny*")]) == 1
    convert_checkpoint(tmp_path / "tiny.pth", tmp_path / "tiny")
    assert sorted(os.listdir(tmp_path)) == ["tiny", "tiny.pth"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_convert_checkpoint_leaves_nothing_half_done(
    overwrite: bool, model: U2NetForImageSegmentation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    torch.save(model.state_dict(), tmp_path / "tiny.pth")
    if overwrite:
        convert_checkpoint(tmp_path / "tiny.pth", tmp_path / "tiny")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    monkeypatch.setattr(U2NetImageProcessorPil, "save_pretrained", full_disk)
    with pytest.raises(OSError, match="No space left"):
        convert_checkpoint(tmp_path / "tiny.pth", tmp_path / "tiny", overwrite=overwrite)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_full_disk_is_the_disks_fault(
    model: U2NetForImageSegmentation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*_: Any, **__: Any) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    torch.save(model.state_dict(), tmp_path / "tiny.pth")
    monkeypatch.setattr("transformers.modeling_utils.safe_save_file", full_disk)
    with pytest.raises(OSError, match=r"cannot be written to: I/O error: No space left"):
        convert_checkpoint(tmp_path / "tiny.pth", tmp_path / "tiny")
    assert sorted(os.listdir(tmp_path)) == ["tiny.pth"]


def test_official_names_go_back_without_conversion(model: U2NetForImageSegmentation, tmp_path: Path) -> None:
    """What a converted model saves with `torch.save` is a `.pth` again."""
    torch.save(model.state_dict(), tmp_path / "tiny.pth")
    folder = convert_checkpoint(tmp_path / "tiny.pth", tmp_path / "tiny")
    buffer = io.BytesIO()
    torch.save(U2NetForImageSegmentation.from_pretrained(folder).state_dict(), buffer)
    buffer.seek(0)
    assert torch.load(buffer, weights_only=True).keys() == model.state_dict().keys()
