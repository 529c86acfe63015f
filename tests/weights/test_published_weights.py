"""The published weights themselves: those of `u2netp`, 4 MB, are fetched into the user's cache.

Tests of them are skipped where that cannot be; `u2net` (165 MB) is tested where it has been fetched before. The
weights that only rembg's release has (`u2net_human_seg`, `silueta`, `u2net_cloth_seg`) were not at hand when this was
written: only the way to them is tested.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from huggingface_hub import constants
from onnx import numpy_helper
from PIL import Image

from u2net_hf.models.u2net.configuration_u2net import U2NetConfig
from u2net_hf.models.u2net.image_processing_u2net import U2NetImageProcessorPil
from u2net_hf.models.u2net.modeling_u2net import U2NetForImageSegmentation
from u2net_hf.weights.published import (
    PUBLISHED,
    CheckpointError,
    pull,
    pull_onnx,
)


@pytest.fixture(params=["u2netp", pytest.param("u2net", marks=pytest.mark.slow)])
def published(request: pytest.FixtureRequest) -> str:
    """A name whose real weights are in the cache now."""
    name = request.param
    if name == "u2net" and not (Path(constants.HF_HOME) / "u2net_hf" / "u2net.onnx").is_file():
        pytest.skip('needs u2net_hf.weights.published.pull_onnx("u2net") once: 165 MB')
    try:
        pull_onnx(name)
        pull(name)  # of u2netp what is shipped
    except CheckpointError as error:
        pytest.skip(f"needs the published weights: {error}")
    return name


def test_shipped_weights_are_those_of_the_onnx_to_the_bit(tmp_path: Path) -> None:
    try:
        fetched = pull("u2netp", cache_dir=tmp_path, force=True)
    except CheckpointError as error:
        pytest.skip(f"needs the published weights: {error}")
    shipped = pull("u2netp")
    assert fetched != shipped
    assert (fetched / "model.safetensors").read_bytes() == (shipped / "model.safetensors").read_bytes()
    for load in (U2NetConfig.from_pretrained, U2NetImageProcessorPil.from_pretrained):
        one, other = (load(folder).to_dict() for folder in (fetched, shipped))
        assert one == other


def photo(size: tuple[int, int]) -> np.ndarray:
    """A bright disc before a ramp, as the processor would give it: `(1, 3, H, W)`."""
    height, width = size
    y, x = np.mgrid[:height, :width] / max(size)
    disc = (x - 0.5) ** 2 + (y - 0.4) ** 2 < 0.06
    image = np.stack([np.where(disc, 0.9 - 0.3 * x, 0.2 + 0.3 * y), np.where(disc, 0.3, x), 0.5 * y + 0.2 * disc])
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    return ((image / image.max() - mean[:, None, None]) / std[:, None, None])[None]


def probabilities(model: U2NetForImageSegmentation, pixel_values: np.ndarray) -> list[np.ndarray]:
    with torch.inference_mode():
        outputs = model(torch.from_numpy(pixel_values), output_side_logits=True)
    return [tensor.sigmoid().numpy() for tensor in (outputs.logits, *outputs.side_logits)]


def test_published_architecture(published: str) -> None:
    model = U2NetForImageSegmentation.from_pretrained(pull(published))
    expected = {"u2net": U2NetConfig(), "u2netp": U2NetConfig.small()}[published]
    for field in ("encoder_stages", "decoder_stages", "num_channels", "out_channels"):
        assert getattr(model.config, field) == getattr(expected, field)
    assert model.config.use_batch_norm is False
    assert model.num_parameters() == PUBLISHED[published].num_parameters


@pytest.mark.parametrize("size", [(64, 64), (65, 50)])
def test_published_maps_are_those_of_the_onnx_in_double_precision(published: str, size: tuple[int, int]) -> None:
    """All seven maps, at any size, against onnx's own reference implementation."""
    pytest.importorskip("onnx", "1.22")  # whose reference implementation is the first to resize these graphs
    from onnx.reference import ReferenceEvaluator

    content = onnx.load(pull_onnx(published))
    for tensor in content.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), tensor.name))
    model = U2NetForImageSegmentation.from_pretrained(pull(published)).double()
    pixel_values = photo(size)
    expected = ReferenceEvaluator(content).run(None, {content.graph.input[0].name: pixel_values})
    found = probabilities(model, pixel_values)
    assert len(expected) == len(found) == 7
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape == (1, 1, *size)
        assert np.abs(one - other).max() < 1e-12


def test_published_maps_of_photos(published: str, shared_data: Path) -> None:
    """At 320x320 in float32: as near to the maps in double precision as ONNX Runtime is, on any processor.

    The weights of the last stages amplify rounding: at single pixels of photos either engine is up to 1e-4 away, and
    how far depends on the order in which a processor adds up. (The test above is the exact one.)
    """
    onnxruntime = pytest.importorskip("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(pull_onnx(published), options, providers=["CPUExecutionProvider"])
    model, exact = (U2NetForImageSegmentation.from_pretrained(pull(published)) for _ in range(2))
    exact.double()
    processor = U2NetImageProcessorPil.from_pretrained(pull(published), do_antialias=False)
    for file in sorted((shared_data / "sod300" / "images").iterdir())[::150]:
        with Image.open(file) as image:
            pixel_values = processor(image, return_tensors="np")["pixel_values"].astype(np.float32)
        theirs = session.run(None, {session.get_inputs()[0].name: pixel_values})
        maps = zip(
            probabilities(model, pixel_values), theirs, probabilities(exact, pixel_values.astype(float)), strict=True
        )
        for ours, other, expected in maps:
            error, their_error = np.abs(ours - expected), np.abs(other - expected)
            assert their_error.mean() < 1e-5
            assert error.mean() < 5 * their_error.mean()
            assert error.max() < 10 * their_error.max()
