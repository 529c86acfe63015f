"""A U-Net in every engine gives what the plain network gives in float64."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from PIL import Image
from tiny_models import tiny_unet_config

from u2net_hf import UNetForSemanticSegmentation, UNetImageProcessorPil
from u2net_hf.engines import fused_unet, load_engine
from u2net_hf.engines.cpu import cpu_computes_in
from u2net_hf.engines.fused_unet import FusedUNet
from u2net_hf.engines.unet_engine import load_tile_network
from u2net_hf.segmentation.network import load_network
from u2net_hf.segmentation.segmentation import segment_image
from u2net_hf.weights.published import resolve

pytestmark = pytest.mark.usefixtures("cache")
PICTURE = Path(__file__).parents[2] / "docs" / "images" / "nuclei_fluorescence.png"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Exports go to a cache of these tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "HF_HOME", str(tmp_path_factory.mktemp("home")))
        yield


def drawn_model(**options: Any) -> UNetForSemanticSegmentation:
    """A tiny network whose BatchNorms have statistics as after a training."""
    torch.manual_seed(0)
    model = UNetForSemanticSegmentation(tiny_unet_config(num_channels=1, num_labels=3, **options)).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for values in (module.running_mean, module.bias.data):
                values.normal_()
            for values in (module.running_var, module.weight.data):
                values.uniform_(0.2, 2)
    return model


def exact_logits(model: UNetForSemanticSegmentation, tiles: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return model.double()(tiles.double()).logits


@pytest.fixture(scope="module")
def picture() -> tuple[torch.Tensor, torch.Tensor]:
    """The input of the shipped network for a picture of nuclei, and its probabilities in float64."""
    source = resolve("nuclei")
    image = Image.open(PICTURE).crop((0, 0, 200, 168))
    tiles = UNetImageProcessorPil.from_pretrained(source)(image, return_tensors="pt")["pixel_values"]
    model = UNetForSemanticSegmentation.from_pretrained(source, dtype=torch.float64).eval()
    return tiles, exact_logits(model, tiles).softmax(1)


@pytest.mark.parametrize("upsampling", ["transpose", "bilinear"])
@pytest.mark.parametrize(("padding", "size"), [("same", (37, 50)), ("valid", (68, 84))])
@pytest.mark.parametrize("use_batch_norm", [True, False])
def test_fused_is_the_plain_network(
    upsampling: str, padding: str, size: tuple[int, int], use_batch_norm: bool
) -> None:
    model = drawn_model(upsampling=upsampling, padding=padding, use_batch_norm=use_batch_norm)
    tiles = torch.randn(2, 1, *size)
    if padding == "valid" and upsampling == "bilinear":
        tiles = torch.randn(2, 1, 76, 84)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = FusedUNet(model)(tiles)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    assert found.dtype == torch.float32
    with torch.inference_mode():
        plain = model(tiles).logits
    exact = exact_logits(model, tiles)
    # How far float32 is from float64 depends on the processor.
    assert (found - exact).abs().max() < 2 * (plain - exact).abs().max()


def test_layers_that_need_float32_keep_it_in_16_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A BatchNorm that divides by nearly nothing leaves a bias of 300, of which bfloat16 knows even numbers."""
    model = drawn_model(hidden_sizes=[4, 4])
    block = model.contracting_path[0].convolutions
    block.conv1.weight.data.fill_(0)
    block.conv1.weight.data[:, :, 1, 1] = 1
    block.norm1.running_mean.fill_(1.0035)
    block.norm1.running_var.fill_(1e-6)
    block.norm1.weight.data.fill_(1)
    tiles = 1 + torch.randint(2, (1, 1, 32, 32)) / 128  # bfloat16 has nothing between

    def error() -> float:
        network = FusedUNet(model.float(), torch.bfloat16)
        exact = exact_logits(model, tiles)
        return float((network(tiles) - exact).abs().mean() / exact.std())

    assert error() < 0.03
    monkeypatch.setattr(fused_unet, "LARGE_BIAS", np.inf)
    assert error() > 0.1


@pytest.mark.parametrize(
    ("engine", "dtype", "largest", "mean"),
    [
        ("torch", "float32", 2e-5, 1e-6),
        ("torch", "bfloat16", 0.1, 1e-3),
        ("onnxruntime", "auto", 2e-5, 1e-6),
        ("openvino", "auto", 2e-5, 1e-6),
        ("openvino", "bfloat16", 0.1, 1e-3),
    ],
)
def test_every_engine_gives_the_probabilities_of_float64(
    picture: tuple[torch.Tensor, torch.Tensor], engine: str, dtype: str, largest: float, mean: float
) -> None:
    if engine != "torch":
        pytest.importorskip(engine)
    if dtype == "bfloat16" and not cpu_computes_in("bfloat16"):
        pytest.skip("this processor does not compute in bfloat16")
    tiles, exact = picture
    difference = (load_tile_network("nuclei", engine, dtype=dtype)(tiles).softmax(1) - exact).abs()
    assert difference.max() < largest
    assert difference.mean() < mean


@pytest.mark.parametrize("engine", ["torch", "onnxruntime", "openvino"])
def test_soft_maps_and_objects_are_those_of_torch(engine: str, picture: tuple[torch.Tensor, torch.Tensor]) -> None:
    if engine != "torch":
        pytest.importorskip(engine)
    image = Image.open(PICTURE).crop((0, 0, 200, 168))
    network = load_engine("nuclei", engine)
    assert network.variant["engine"] == engine
    assert network.variant["dtype"] == "float32"
    (found,) = network([image], None, False)
    np.testing.assert_allclose(found, 1 - picture[1][0, 0].numpy(), atol=1e-3)
    labels = segment_image(np.asarray(image.convert("L")), load_network("nuclei", engine=engine)).labels
    np.testing.assert_array_equal(labels > 0, segment_image(np.asarray(image.convert("L"))).labels > 0)
    assert labels.max() > 5


def test_what_engines_do_not_do_is_said() -> None:
    with pytest.raises(ValueError, match="nuclei is a U-Net, which onnxruntime does not run in int8"):
        load_network("nuclei", engine="onnxruntime", dtype="int8")
    with pytest.raises(ValueError, match="onnxruntime runs on the CPU here, not on 'cuda'"):
        load_network("nuclei", engine="onnxruntime", device="cuda")
    with pytest.raises(ValueError, match="dtype of the engine openvino must be auto"):
        load_network("nuclei", engine="openvino", dtype="float16")
