"""The fused U²-Net beside the plain one in float64, and the algebra that it stands on."""

import copy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_models import tiny_u2net_config
from torch import nn
from torch.nn import functional as F

from u2net_hf.engines import fused_u2net
from u2net_hf.engines.doubled_convolution import bilinear_filter, convolve_doubled
from u2net_hf.engines.fused_u2net import ConvReLU, FusedU2Net, SideMap
from u2net_hf.engines.winograd_convolution import convolve_by_winograd, transform_weight
from u2net_hf.models.u2net.configuration_u2net import U2NetConfig
from u2net_hf.models.u2net.image_processing_u2net import U2NetImageProcessorPil
from u2net_hf.models.u2net.modeling_u2net import U2NetForImageSegmentation
from u2net_hf.weights.published import CheckpointError, pull

SIZES = [(1, 1), (2, 3), (5, 31), (16, 16), (33, 64), (64, 40)]


def trained(config: U2NetConfig) -> U2NetForImageSegmentation:
    """A network in float64 whose BatchNorms do something, as after training."""
    model = U2NetForImageSegmentation(config).double().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, -1.5, 1.5)
            nn.init.uniform_(module.bias, -0.3, 0.3)
    return model


@pytest.fixture(params=[(0, 10**9), (10**9, 10**9), (0, 0)], ids=["transposed", "resized", "winograd"])
def each_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the transposed convolutions wherever sizes double, with none of them, and all others by Winograd's way."""
    for name, value in zip(("MIN_WORK", "MIN_CHANNELS"), request.param, strict=True):
        monkeypatch.setattr(fused_u2net, name, value)


@pytest.mark.parametrize("size", [(1, 1), (1, 4), (3, 2), (7, 9)])
def test_convolving_a_doubled_image_at_its_small_size(size: tuple[int, int]) -> None:
    low, weight = torch.randn(2, 3, *size, dtype=torch.float64), torch.randn(5, 3, 3, 3, dtype=torch.float64)
    doubled = F.interpolate(low, scale_factor=2, mode="bilinear", align_corners=False)
    transposed = weight.transpose(0, 1).flip(2, 3)
    result = convolve_doubled(low, transposed, bilinear_filter(weight))
    torch.testing.assert_close(result, F.conv2d(doubled, weight, padding=1), atol=1e-12, rtol=0)


@pytest.mark.parametrize("size", [(1, 1), (1, 4), (6, 8), (7, 9)])
def test_winograd_convolves(size: tuple[int, int]) -> None:
    hidden, weight = torch.randn(2, 3, *size, dtype=torch.float64), torch.randn(5, 3, 3, 3, dtype=torch.float64)
    expected = F.conv2d(hidden, weight, padding=1)
    for image in (hidden, hidden.contiguous(memory_format=torch.channels_last)):
        result = convolve_by_winograd(image, transform_weight(weight))
        torch.testing.assert_close(result, expected, atol=1e-12, rtol=0)


def test_winograd_is_as_exact_as_a_convolution() -> None:
    hidden, weight = torch.randn(1, 256, 20, 20).relu(), torch.randn(256, 256, 3, 3) / 48
    exact = F.conv2d(hidden.double(), weight.double(), padding=1)
    error = abs(convolve_by_winograd(hidden, transform_weight(weight)) - exact).max()
    assert error < max(1e-5, 1.5 * abs(F.conv2d(hidden, weight, padding=1) - exact).max())


def test_layers_of_many_channels_are_carried_out_by_winograd() -> None:
    weight = torch.zeros(256, 512, 3, 3)
    assert ConvReLU(weight, torch.zeros(256)).by_winograd
    assert not ConvReLU(weight, torch.zeros(256), dilation=2).by_winograd
    assert not ConvReLU(weight.bfloat16(), torch.zeros(256).bfloat16()).by_winograd
    assert not ConvReLU(weight[:64], torch.zeros(64)).by_winograd


def test_a_side_map_is_a_convolution() -> None:
    hidden, weight = torch.randn(2, 3, 5, 8, dtype=torch.float64), torch.randn(4, 3, 3, 3, dtype=torch.float64)
    torch.testing.assert_close(SideMap(weight)(hidden), F.conv2d(hidden, weight, padding=1), atol=1e-12, rtol=0)


@pytest.mark.parametrize("dilation", [1, 3])
def test_a_layer_adds_before_it_clips(dilation: int) -> None:
    hidden, addend = torch.randn(1, 3, 7, 6), torch.randn(1, 4, 7, 6).contiguous(memory_format=torch.channels_last)
    weight, bias = torch.randn(4, 3, 3, 3), torch.randn(4)
    layer = ConvReLU(weight, bias, dilation)
    plain = F.conv2d(hidden.double(), weight.double(), bias.double(), padding=dilation, dilation=dilation)
    expected = (plain + addend.double()).relu()  # before the call: the layer writes into the addend
    torch.testing.assert_close(layer(hidden).double(), plain.relu(), atol=1e-5, rtol=0)
    torch.testing.assert_close(layer(hidden, addend).double(), expected, atol=1e-5, rtol=0)


@pytest.mark.usefixtures("each_way")
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"out_channels": 4},
        {"use_batch_norm": False, "num_channels": 1},
        {"stem_channels": 5, "fuse_side_maps": False},
        {"fuse_side_maps": False, "out_channels": 2},
    ],
    ids=str,
)
def test_tiny_networks_give_the_plain_maps(options: dict, size: tuple[int, int]) -> None:
    model = trained(tiny_u2net_config(**options))
    images = torch.randn(3, model.config.num_channels, *size, dtype=torch.float64)
    with torch.no_grad():
        expected = model(images).logits
    assert expected.std() > 0 or size == (1, 1)
    scale = max(1.0, expected.abs().max().item())
    torch.testing.assert_close(model.fuse()(images), expected, atol=1e-12 * scale, rtol=0)
    single = model.fuse(torch.float32)(images)
    assert (single.dtype, single.shape) == (torch.float32, expected.shape)
    torch.testing.assert_close(single.double(), expected, atol=2e-6 * scale, rtol=0)


@pytest.mark.usefixtures("each_way")
def test_on_other_devices_than_a_cpu_a_batch_stays_one(monkeypatch: pytest.MonkeyPatch) -> None:
    model, images = trained(tiny_u2net_config()), torch.randn(3, 3, 32, 48, dtype=torch.float64)
    fused = model.fuse()
    alone = fused(images)
    monkeypatch.setattr(FusedU2Net, "device", torch.device("cuda"))
    torch.testing.assert_close(fused(images), alone, atol=1e-12, rtol=0)


def test_bfloat16_gives_float32_maps_that_are_close() -> None:
    model, images = trained(tiny_u2net_config()), torch.randn(2, 3, 32, 48, dtype=torch.float64)
    with torch.no_grad():
        expected = model(images).logits
    fused = model.fuse(torch.bfloat16)
    assert fused.dtype == torch.bfloat16
    rounded = fused(images)
    assert rounded.dtype == torch.float32
    assert not torch.equal(rounded, model.fuse(torch.float32)(images))
    torch.testing.assert_close(rounded.double(), expected, atol=0.05 * expected.abs().max().item(), rtol=0)


def test_sums_that_nearly_cancel_stay_in_float32() -> None:
    model, images = trained(tiny_u2net_config(use_batch_norm=False)), torch.randn(2, 3, 32, 48, dtype=torch.float64)
    with torch.no_grad():
        # Large activations between two layers, of which the second takes most away again.
        model.stage1d.rebnconv3.conv_s1.bias.fill_(500)
        layer = model.stage1d.rebnconv2d.conv_s1
        layer.weight[:, :, 1, 1] += 1
        layer.bias.fill_(-990)
        expected = model(images).logits
    fused = model.fuse(torch.bfloat16)
    in_float32 = [name for name, value in fused.encoder.named_buffers() if value.dtype == torch.float32]
    assert in_float32 == []
    in_float32 = [name for name, value in fused.decoder.named_buffers() if value.dtype == torch.float32]
    assert {name.rpartition(".")[0].removesuffix(".of_skip") for name in in_float32} == {"1.down.2", "1.up.1"}
    error = abs(fused(images) - expected).max()
    assert error < 0.03 * expected.abs().max()


def test_a_first_layer_in_float32_does_not_change_the_type_of_the_network() -> None:
    config = tiny_u2net_config(stem_channels=4, fuse_side_maps=False)
    model, images = trained(config), torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        model.stage1.rebnconvin.bn_s1.bias.fill_(20)
        expected = model(images.double()).logits
    fused = model.fuse(torch.bfloat16)
    assert next(fused.encoder.buffers()).dtype == torch.float32
    assert fused.dtype == torch.bfloat16
    torch.testing.assert_close(fused(images).double(), expected, atol=0.05 * expected.abs().max().item(), rtol=0)


def test_published_weights_on_photos(photos: list[Image.Image]) -> None:
    try:
        folder = pull("u2netp")
    except CheckpointError as error:
        pytest.skip(f"needs the published weights: {error}")
    model = U2NetForImageSegmentation.from_pretrained(folder, dtype=torch.float32)
    processor = U2NetImageProcessorPil.from_pretrained(folder, size={"height": 160, "width": 160})
    images = processor(photos, return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        plain = model(images).logits.sigmoid()
        exact = copy.deepcopy(model).double()(images.double()).logits.sigmoid()
    assert exact.min() < 0.01
    assert exact.max() > 0.99
    single, half = (model.fuse(dtype)(images).sigmoid() for dtype in (torch.float32, torch.bfloat16))
    # On photos the plain network itself rounds to some 5e-5 at the worst pixel.
    assert abs(single - exact).max() < max(1e-5, 1.5 * abs(plain - exact).max())
    assert abs(single - exact).mean() < 1e-6
    # The plain network in bfloat16 is 7 to 50 times as far off: it rounds the sums that nearly cancel, too.
    with torch.inference_mode():
        plain_half = copy.deepcopy(model).bfloat16()(images.bfloat16()).logits.double().sigmoid()
    far, near = (abs(maps - exact).mean(dim=(1, 2, 3)) for maps in (plain_half, half))
    assert (near < 0.3 * far).all()


def test_it_only_predicts() -> None:
    model = trained(tiny_u2net_config())
    fused = model.fuse()
    assert not fused.training
    assert fused.eval() is fused
    assert [*fused.parameters()] == []
    with pytest.raises(RuntimeError, match="only predicts"):
        fused.train()
    images = torch.randn(1, 3, 16, 16, requires_grad=True)
    assert not fused(images).requires_grad
    assert fused.device == torch.device("cpu")
    before = fused(images)
    for parameter in model.parameters():  # it is a copy
        parameter.data.zero_()
    assert torch.equal(fused(images), before)


def test_a_network_in_training_mode_is_fused_as_it_would_predict() -> None:
    model, images = trained(tiny_u2net_config()), torch.randn(2, 3, 16, 16, dtype=torch.float64)
    with torch.no_grad():
        expected = model(images).logits
    torch.testing.assert_close(model.train().fuse()(images), expected, atol=1e-12, rtol=0)
    assert model.training


@pytest.mark.parametrize("shape", [(3, 16, 16), (1, 4, 16, 16)])
def test_wrong_images_say_what_was_expected(shape: tuple[int, ...]) -> None:
    fused = U2NetForImageSegmentation(tiny_u2net_config()).fuse()
    with pytest.raises(ValueError, match=r"`pixel_values`.*3, height, width\), got \("):
        fused(torch.zeros(shape))


def test_missing_weights_are_named() -> None:
    model = U2NetForImageSegmentation(tiny_u2net_config())
    state_dict = model.state_dict()
    del state_dict["stage2d.rebnconv1d.bn_s1.running_var"]
    with pytest.raises(ValueError, match=r"'stage2d.rebnconv1d.bn_s1.running_var' is missing"):
        FusedU2Net.from_state_dict(model.config.to_dict(), state_dict)


def test_it_runs_without_transformers(tmp_path: Path) -> None:
    """A command that must start fast may use it."""
    model, images = trained(tiny_u2net_config()), torch.randn(1, 3, 16, 16)
    torch.save({"state_dict": model.state_dict(), "images": images}, tmp_path / "weights.pt")
    stages = {name: getattr(model.config, name) for name in ("num_channels", "encoder_stages", "decoder_stages")}
    code = f"""
import sys, numpy, torch
from u2net_hf.engines.fused_u2net import FusedU2Net
saved = torch.load("weights.pt")
network = FusedU2Net.from_state_dict({stages!r}, saved["state_dict"])
numpy.save("logits.npy", network(saved["images"]).numpy())
assert "transformers" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    with torch.no_grad():
        expected = model(images.double()).logits
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), expected, atol=1e-5)
