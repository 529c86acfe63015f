"""Exported folders in transformers.js, which runs in Node.js here, with local files only."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from export_helpers import SIDE, drawn_photo, save_unet
from PIL import Image

from u2net_hf import (
    U2NetForImageSegmentation,
    U2NetImageProcessorPil,
    UNetForSemanticSegmentation,
    UNetImageProcessorPil,
)
from u2net_hf.hub.publish import publish_model
from u2net_hf.onnx_export.export import export_onnx

pytest.importorskip("onnxruntime")

pytest_plugins = ["export_fixtures"]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def node(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the test program and transformers.js, installed once and kept in pytest's cache."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("needs Node.js and npm")
    cache = getattr(request.config, "cache", None)
    folder = Path(cache.mkdir("transformers_js")) if cache else tmp_path_factory.mktemp("transformers_js")
    for file in (Path(__file__).parent / "transformers_js").iterdir():
        if file.is_file():
            shutil.copy(file, folder)
    # Scripts of packages are not run: that of onnxruntime-node would download libraries for GPUs.
    command = ["npm", "install", "--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund"]
    command += ["--loglevel=error", "--fetch-retries=1", "--fetch-retry-mintimeout=1000"]
    try:
        installed = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired:
        pytest.skip("npm could not install transformers.js within two minutes")
    if installed.returncode != 0:
        pytest.skip(f"npm could not install transformers.js: {installed.stderr[:200]}")
    return folder


def run_node(node: Path, task: str, folder: Path, photo: Path, output: Path, *dtype: str) -> None:
    command = ["node", "run.mjs", task, str(folder), str(photo), str(output), *dtype]
    done = subprocess.run(command, cwd=node, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # no warning either


def soft_map(u2net: Path, image: Image.Image) -> np.ndarray:
    model, processor = (c.from_pretrained(u2net) for c in (U2NetForImageSegmentation, U2NetImageProcessorPil))
    with torch.inference_mode():
        outputs = model(**processor(image, return_tensors="pt"))
    return processor.post_process_saliency(outputs, [(image.height, image.width)])[0].numpy()


@pytest.mark.parametrize(("dtype", "tolerance"), [("", 1.1 / 255), ("fp16", 0.03), ("q8", 0.3)])
def test_transformers_js_removes_a_background(
    node: Path, u2net: Path, exported: Path, tmp_path: Path, dtype: str, tolerance: float
) -> None:
    """A photo of the network's size is not resized: the mask is ours, but that it is cut off to 8 bits."""
    photo = drawn_photo(brightness=0.5)
    photo.save(tmp_path / "photo.png")
    run_node(node, "background-removal", exported, tmp_path / "photo.png", tmp_path, *filter(None, [dtype]))
    cut_out = Image.open(tmp_path / "cut-out.png")
    assert (cut_out.mode, cut_out.size) == ("RGBA", photo.size)
    np.testing.assert_array_equal(np.asarray(cut_out)[..., :3], np.asarray(photo))
    expected = soft_map(u2net, photo)
    assert expected.std() > 0.2
    np.testing.assert_allclose(np.asarray(cut_out)[..., 3] / 255, expected, atol=tolerance)


def test_the_snippet_of_a_card_runs(node: Path, u2net: Path, exported: Path, tmp_path: Path) -> None:
    """On the repository that the card describes, whose configuration is Python's."""
    publish_model(u2net, "me/net", license="mit", onnx=exported, dry_run=tmp_path / "net")
    card = (tmp_path / "net" / "README.md").read_text(encoding="utf-8")
    drawn_photo(brightness=0.5).save(tmp_path / "photo.jpg")
    (snippet,) = re.findall(r"^```js\n(.*?)^```", card, re.DOTALL | re.MULTILINE)
    local = f'import {{ env }} from "@huggingface/transformers";\nenv.localModelPath = "{tmp_path}";\n'
    for name, path in (("me/net", "net"), *((name, tmp_path / name) for name in ("photo.jpg", "cut-out.png"))):
        assert f'"{name}"' in snippet
        snippet = snippet.replace(f'"{name}"', f'"{path}"')
    (node / "card.mjs").write_text(f"{local}env.allowRemoteModels = false;\n{snippet}")
    done = subprocess.run(["node", "card.mjs"], cwd=node, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found = np.asarray(Image.open(tmp_path / "cut-out.png"))[..., 3] / 255
    np.testing.assert_allclose(found, soft_map(u2net, Image.open(tmp_path / "photo.jpg")), atol=0.02)


def resize_as_sharp(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear between four pixels, with the upper left ones on each other and black beyond the last ones."""
    for axis, size in enumerate((height, width)):
        points = np.arange(size) * image.shape[axis] / size
        low = points.astype(int)
        image = np.concatenate([image, 0 * image.take([0], axis)], axis)
        share = (points - low).reshape((-1,) + (1,) * (image.ndim - 1 - axis))
        image = image.take(low, axis) * (1 - share) + image.take(low + 1, axis) * share
    return image


def test_transformers_js_resizes_as_sharp_does(node: Path, u2net: Path, exported: Path, tmp_path: Path) -> None:
    photo = drawn_photo(150, 110)
    photo.save(tmp_path / "photo.png")
    run_node(node, "background-removal", exported, tmp_path / "photo.png", tmp_path)
    found = np.asarray(Image.open(tmp_path / "cut-out.png"))[..., 3]
    small = Image.fromarray(resize_as_sharp(np.asarray(photo), SIDE, SIDE).round().astype(np.uint8))
    expected = resize_as_sharp(np.floor(soft_map(u2net, small) * 255), 110, 150)
    assert abs(found - expected).max() < 8
    ours = soft_map(u2net, photo) * 255
    assert 10 * abs(found - expected).mean() < abs(found - ours).mean() < 0.05 * 255


def test_transformers_js_labels_the_pixels_with_a_unet(node: Path, tmp_path: Path) -> None:
    source = save_unet(tmp_path / "model", num_labels=3, id2label={0: "sky", 1: "sea", 2: "land"})
    export_onnx(source, tmp_path / "out", dtypes=["float32"])
    photo = drawn_photo(75, 50)
    photo.save(tmp_path / "photo.png")
    run_node(node, "image-segmentation", tmp_path / "out", tmp_path / "photo.png", tmp_path)
    model, processor = (c.from_pretrained(source) for c in (UNetForSemanticSegmentation, UNetImageProcessorPil))
    with torch.inference_mode():
        outputs = model(**processor(photo, return_tensors="pt"))
    expected = processor.post_process_semantic_segmentation(outputs, [(50, 75)])[0].numpy()
    assert {*np.unique(expected)} == {0, 1, 2}
    for index, label in model.config.id2label.items():
        found = np.asarray(Image.open(tmp_path / f"{label}.png").convert("L")) > 0
        assert (found == (expected == index)).mean() > 0.999
