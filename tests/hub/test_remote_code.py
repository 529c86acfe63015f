"""Saved and pushed models in a process that cannot import the package, and crafted folders in one that can."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hub_server import Hub
from PIL import Image
from tiny_models import tiny_u2net_config, tiny_unet_config
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForImageSegmentation,
    AutoModelForSemanticSegmentation,
    PreTrainedModel,
    pipeline,
)
from without_package import NO_PACKAGE

from u2net_hf import (
    U2NetForImageSegmentation,
    U2NetImageProcessorPil,
    UNetForSemanticSegmentation,
    UNetImageProcessorPil,
)
from u2net_hf.weights.published import ISNET_INPUT

pytest_plugins = ["hub_fixtures"]

PROGRAM = (
    NO_PACKAGE
    + """
import numpy as np
import torch
from PIL import Image
from transformers import AutoConfig, AutoImageProcessor, pipeline
from transformers import AutoModel, AutoModelForImageSegmentation, AutoModelForSemanticSegmentation

torch.set_num_threads(1)
output, photo, *names = sys.argv[1:]
trust = {"trust_remote_code": True}
seen = {}

for auto in (AutoConfig, AutoModel, AutoImageProcessor):
    try:
        auto.from_pretrained(names[-1], trust_remote_code=False)
    except ValueError as error:
        assert "trust_remote_code" in str(error), error
    else:
        raise AssertionError(f"{auto} has loaded code without trust")

def look(name, key):
    seen[f"{key} config"] = type(AutoConfig.from_pretrained(name, **trust)).__module__
    inputs = AutoImageProcessor.from_pretrained(name, **trust)(Image.open(photo), return_tensors="pt")
    seen[f"{key} pixel_values"] = inputs["pixel_values"].numpy()
    for backend in ("pil", "torchvision"):
        seen[f"{key} {backend}"] = type(AutoImageProcessor.from_pretrained(name, backend=backend, **trust)).__name__
    for auto in (AutoModel, AutoModelForImageSegmentation, AutoModelForSemanticSegmentation):
        model = auto.from_pretrained(name, **trust)
        with torch.inference_mode():
            seen[f"{key} {auto.__name__}"] = model(**inputs).logits.numpy()
    entries = pipeline("image-segmentation", model=name, **trust)(photo)
    seen[f"{key} image-segmentation"] = np.stack([np.asarray(entry["mask"]) for entry in entries])
    remover = pipeline("background-removal", model=name, **trust)
    seen[f"{key} background-removal"] = np.asarray(remover(photo))
    return remover

for name in names:
    remover = look(name, name)
    if "u2net" in name:
        try:
            remover.model.fuse()
        except ImportError as error:
            assert "needs the package u2net_hf" in str(error), error
        else:
            raise AssertionError("fused without the package")
# What was loaded without the package is as complete when it is saved again.
again = output + ".again"
remover.save_pretrained(again)
look(again, "again")
np.savez(output, **seen)
"""
)


def u2net() -> tuple[PreTrainedModel, U2NetImageProcessorPil]:
    torch.manual_seed(5)
    processor = U2NetImageProcessorPil(size={"height": 24, "width": 20}, do_antialias=False)
    return U2NetForImageSegmentation(tiny_u2net_config()).eval(), processor


def isnet() -> tuple[PreTrainedModel, U2NetImageProcessorPil]:
    torch.manual_seed(8)
    processor = U2NetImageProcessorPil(**ISNET_INPUT | {"size": {"height": 22, "width": 27}})
    config = tiny_u2net_config(stem_channels=3, fuse_side_maps=False)
    return U2NetForImageSegmentation(config).eval(), processor


def unet() -> tuple[PreTrainedModel, UNetImageProcessorPil]:
    torch.manual_seed(6)
    config = tiny_unet_config(padding="valid", num_channels=1)
    return UNetForSemanticSegmentation(config).eval(), UNetImageProcessorPil.from_config(config)


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    Image.fromarray(np.random.default_rng(7).integers(0, 256, (31, 42, 3), dtype=np.uint8)).save(path)
    return path


def expected(model: PreTrainedModel, processor: U2NetImageProcessorPil, photo: Path) -> dict[str, np.ndarray]:
    inputs = processor(Image.open(photo), return_tensors="pt")
    with torch.inference_mode():
        outputs = model(**inputs)
    labels = processor.post_process_semantic_segmentation(outputs, [(31, 42)])[0]
    saliency = processor.post_process_saliency(outputs, [(31, 42)])[0]
    alpha = np.rint(saliency.numpy() * 255).astype(np.uint8)
    return {
        "pixel_values": inputs["pixel_values"].numpy(),
        "AutoModel": outputs.logits.numpy(),
        "AutoModelForImageSegmentation": outputs.logits.numpy(),
        "AutoModelForSemanticSegmentation": outputs.logits.numpy(),
        "image-segmentation": np.stack([255 * (labels == label) for label in labels.unique()]).astype(np.uint8),
        "background-removal": np.dstack([np.asarray(Image.open(photo)), alpha]),
    }


def test_without_the_package_all_is_bit_equal(connected_hub: Hub, photo: Path, tmp_path: Path) -> None:
    """From a folder and from the Hub. U-Net, whose home task is another, gets the cut-out from the saved pipeline."""
    torch.set_num_threads(1)
    model, processor = u2net()
    for save in (model.save_pretrained, processor.save_pretrained):
        save(tmp_path / "u2net")
    model.push_to_hub("me/u2net")
    processor.push_to_hub("me/u2net")
    other_model, other_processor = unet()
    remover = pipeline("background-removal", model=other_model, image_processor=other_processor)
    remover.save_pretrained(tmp_path / "unet-v1.0")
    remover.push_to_hub("me/unet")

    isnet_model, isnet_processor = isnet()
    for save in (isnet_model.save_pretrained, isnet_processor.save_pretrained):
        save(tmp_path / "u2net-isnet")

    names = [
        "me/unet",
        str(tmp_path / "unet-v1.0"),
        "me/u2net",
        str(tmp_path / "u2net-isnet"),
        str(tmp_path / "u2net"),
    ]
    environment = os.environ | connected_hub.environment(tmp_path / "home")
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "seen.npz"), str(photo), *names]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    assert "not supported" not in done.stderr

    seen = np.load(tmp_path / "seen.npz")
    u2net_values, unet_values = expected(model, processor, photo), expected(other_model, other_processor, photo)
    isnet_values = expected(isnet_model, isnet_processor, photo)
    for name in [*names, "again"]:
        prefix, values = ("UNet", unet_values) if "unet" in Path(name).name else ("U2Net", u2net_values)
        values = isnet_values if "isnet" in Path(name).name else values
        assert str(seen[f"{name} config"]).startswith("transformers_modules.")
        assert str(seen[f"{name} pil"]) == f"{prefix}ImageProcessorPil"
        assert str(seen[f"{name} torchvision"]) == f"{prefix}ImageProcessor"
        for key, value in values.items():
            assert seen[f"{name} {key}"].dtype == value.dtype
            np.testing.assert_array_equal(seen[f"{name} {key}"], value, err_msg=f"{name} {key}")


@pytest.mark.parametrize("make", [u2net, isnet, unet])
def test_a_published_folder_is_lean(tmp_path: Path, make: Callable) -> None:
    """Little to trust: few files, and nothing optimized in them."""
    model, processor = make()
    pipeline("background-removal", model=model, image_processor=processor).save_pretrained(tmp_path)
    files = sorted(tmp_path.glob("*.py"))
    assert 5 <= len(files) <= 8 + 2 * (make is unet), files  # U-Net takes the pipeline of U²-Net along
    for file in files:
        source = file.read_text()
        assert "torch.ops" not in source, file
        assert "mkldnn" not in source, file


def test_each_part_alone_brings_its_code(tmp_path: Path) -> None:
    model, processor = u2net()
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "processor")
    assert {file.name for file in (tmp_path / "processor").glob("*.py")} == {
        "image_processing_u2net.py",
        "pixels_u2net.py",
    }
    assert {"modeling_u2net.py", "configuration_u2net.py", "stages_u2net.py", "pipeline_u2net.py"} <= {
        file.name for file in (tmp_path / "model").glob("*.py")
    }


@pytest.fixture
def no_questions(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nobody is asked whether to trust code. (An error raised by `input` would be swallowed by `pipeline`.)"""
    questions: list[str] = []
    monkeypatch.setattr("builtins.input", lambda question="": questions.append(question) or "n")
    yield
    assert questions == []


@pytest.mark.usefixtures("no_questions")
@pytest.mark.parametrize("make", [u2net, unet])
def test_with_the_package_nobody_is_asked_to_trust(connected_hub: Hub, photo: Path, make: Callable) -> None:
    model, processor = make()
    pipeline("background-removal", model=model, image_processor=processor).push_to_hub("me/net")
    connected_hub.requests.clear()
    for auto in (AutoConfig, AutoModel, AutoModelForImageSegmentation, AutoModelForSemanticSegmentation):
        assert type(auto.from_pretrained("me/net")).__module__.startswith("u2net_hf.")
    assert type(AutoImageProcessor.from_pretrained("me/net", backend="pil")) is type(processor)
    for task in ("image-segmentation", "background-removal"):
        for trust in (None, True):
            assert pipeline(task, model="me/net", trust_remote_code=trust)(str(photo))
    assert not [request for request in connected_hub.requests if request.endswith(".py")]


@pytest.mark.usefixtures("no_questions")
@pytest.mark.parametrize("where", ["evil.Evil", "them/evil--evil.Evil", "../evil.Evil"])
def test_crafted_code_references_run_nothing(connected_hub: Hub, photo: Path, tmp_path: Path, where: str) -> None:
    """With the package imported, even a user who trusts the folder gets the package's classes."""
    folder = tmp_path / "folder"
    model, processor = u2net()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    marker = tmp_path / "executed"
    for place in (folder, tmp_path):
        (place / "evil.py").write_text(f"open({str(marker)!r}, 'w')\nclass Evil: pass\n")
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = dict.fromkeys(config["auto_map"], where)
    config["custom_pipelines"]["background-removal"]["impl"] = where
    (folder / "config.json").write_text(json.dumps(config))
    options = json.loads((folder / "preprocessor_config.json").read_text())
    options["auto_map"] = {"AutoImageProcessor": [where, where]}
    (folder / "preprocessor_config.json").write_text(json.dumps(options))

    for trust in (None, True):
        for auto in (AutoModel, AutoModelForImageSegmentation, AutoModelForSemanticSegmentation):
            assert type(auto.from_pretrained(folder, trust_remote_code=trust)) is U2NetForImageSegmentation
        loaded = AutoImageProcessor.from_pretrained(folder, trust_remote_code=trust, backend="pil")
        assert type(loaded) is U2NetImageProcessorPil
        remover = pipeline("background-removal", model=str(folder), trust_remote_code=trust)
        remover(str(photo))
    remover.save_pretrained(tmp_path / "again")
    assert "evil" not in "".join(path.read_text() for path in (tmp_path / "again").glob("*.json")).lower()
    assert not marker.exists()
    assert connected_hub.requests == []
