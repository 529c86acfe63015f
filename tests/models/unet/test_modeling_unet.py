"""U-Net against the paper's numbers and formulas; what all models share is in `tests/test_all_models.py`."""

from itertools import product
from typing import Any

import pytest
import torch
from tiny_models import tiny_unet_config
from torch import nn
from torch.nn import functional as F

from u2net_hf.models.unet.configuration_unet import UNetConfig
from u2net_hf.models.unet.modeling_unet import UNetForSemanticSegmentation


def tiny_unet(**kwargs: Any) -> UNetForSemanticSegmentation:
    """A small network in float64 whose biases and BatchNorms do something."""
    model = UNetForSemanticSegmentation(tiny_unet_config(**kwargs)).double().eval()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.endswith(("bias", "running_mean")):
                tensor.normal_(std=0.2)
            elif "norm" in name and tensor.is_floating_point():
                tensor.uniform_(0.5, 1.5)
    return model


def test_the_paper_s_network() -> None:
    """Figure 1: every size and number of channels that it shows, 23 convolutional layers, 31,030,658 parameters."""
    with torch.device("meta"):
        model = UNetForSemanticSegmentation(UNetConfig.original())
        outputs = model(torch.empty(1, 1, 572, 572), output_hidden_states=True)
    assert model.num_parameters() == 31_030_658
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)]
    assert len(convolutions) == 23
    assert sorted(module.kernel_size[0] for module in convolutions) == [1, 2, 2, 2, 2] + 18 * [3]
    assert outputs.logits.shape == (1, 2, 388, 388)
    contracting = [(64, 568), (128, 280), (256, 136), (512, 64), (1024, 28)]
    expansive = [(512, 52), (256, 100), (128, 196), (64, 388)]
    assert [(state.shape[1], state.shape[2]) for state in outputs.hidden_states] == contracting + expansive


def test_modern_form_has_the_same_convolutions_without_bias_and_with_batch_norm() -> None:
    with torch.device("meta"):
        modern = UNetForSemanticSegmentation(UNetConfig(num_channels=1))
    channels = 2 * 2 * (64 + 128 + 256 + 512) + 2 * 1024  # of the 3x3 convolutions' outputs
    assert modern.num_parameters() == 31_030_658 - channels + 2 * channels


def composed(state: dict[str, torch.Tensor], image: torch.Tensor, config: UNetConfig) -> torch.Tensor:
    """U-Net written a second time: plain operations on the tensors of a state dict, recursive over the levels.

    Odd maps are completed by a row or column of minus infinity before pooling, valid skips are cropped by the
    difference that the paper's figure shows.
    """
    pad = 1 if config.padding == "same" else 0
    bottom = len(config.hidden_sizes) - 1

    def double_conv(prefix: str, x: torch.Tensor) -> torch.Tensor:
        for number in "12":
            x = F.conv2d(F.pad(x, 4 * [pad]), state[f"{prefix}.conv{number}.weight"])
            if config.use_batch_norm:
                norm = {k: state[f"{prefix}.norm{number}.{k}"][:, None, None] for k in ("running_mean", "running_var")}
                scale, shift = (state[f"{prefix}.norm{number}.{k}"][:, None, None] for k in ("weight", "bias"))
                x = (x - norm["running_mean"]) / (norm["running_var"] + 1e-5).sqrt() * scale + shift
            else:
                x = x + state[f"{prefix}.conv{number}.bias"][:, None, None]
            x = x.clamp(min=0)
        return x

    def upsample(prefix: str, x: torch.Tensor) -> torch.Tensor:
        weight, bias = state[f"{prefix}.upsampling.weight"], state[f"{prefix}.upsampling.bias"]
        if config.upsampling == "transpose":  # each pixel becomes a 2x2 block
            blocks = torch.einsum("bihw,iokl->bohkwl", x, weight)
            return blocks.flatten(4, 5).flatten(2, 3) + bias[:, None, None]
        big = F.interpolate(x, size=(2 * x.shape[2], 2 * x.shape[3]), mode="bilinear")
        big = torch.einsum("bihw,oi->bohw", big, weight[:, :, 0, 0]) + bias[:, None, None]
        return big if pad else big[:, :, 1:-1, 1:-1]

    def level(number: int, x: torch.Tensor) -> torch.Tensor:
        x = double_conv(f"contracting_path.{number}.convolutions", x)
        if number == bottom:
            return x
        smaller = F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2), value=-torch.inf)
        smaller = smaller.unfold(2, 2, 2).unfold(3, 2, 2).amax(dim=(-2, -1))
        block = f"expansive_path.{bottom - 1 - number}"
        up = upsample(block, level(number + 1, smaller))
        if pad:
            up = up[:, :, : x.shape[2], : x.shape[3]]
        else:
            border = (x.shape[2] - up.shape[2]) // 2
            x = x[:, :, border:-border, border:-border]
        return double_conv(f"{block}.convolutions", torch.cat([x, up], dim=1))

    weight, bias = state["classifier.weight"][:, :, 0, 0], state["classifier.bias"]
    return torch.einsum("bihw,oi->bohw", level(0, image), weight) + bias[:, None, None]


@pytest.mark.parametrize("use_batch_norm", [True, False])
@pytest.mark.parametrize("upsampling", ["transpose", "bilinear"])
@pytest.mark.parametrize(
    ("padding", "size"), [("same", (16, 24)), ("same", (13, 7)), ("same", (1, 2)), ("valid", (52, 60))]
)
def test_equals_a_second_composition(
    padding: str, size: tuple[int, int], upsampling: str, use_batch_norm: bool
) -> None:
    model = tiny_unet(padding=padding, upsampling=upsampling, use_batch_norm=use_batch_norm, num_labels=3)
    image = torch.randn(2, 3, *size, dtype=torch.float64)
    with torch.inference_mode():
        torch.testing.assert_close(
            model(image).logits, composed(model.state_dict(), image, model.config), rtol=1e-10, atol=1e-10
        )


@pytest.mark.parametrize("upsampling", ["transpose", "bilinear"])
def test_padded_output_has_the_size_of_the_input(upsampling: str) -> None:
    model = UNetForSemanticSegmentation(tiny_unet_config(upsampling=upsampling)).eval()
    for height, width in product((1, 2, 3, 5, 8, 11), (1, 4, 7)):
        assert model(torch.rand(1, 3, height, width)).logits.shape == (1, 2, height, width)


@pytest.mark.parametrize("upsampling", ["transpose", "bilinear"])
def test_one_exported_graph_takes_any_size(upsampling: str) -> None:
    model = UNetForSemanticSegmentation(tiny_unet_config(hidden_sizes=[2, 3], upsampling=upsampling)).eval()
    sizes = {"pixel_values": dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC)}
    with torch.no_grad():
        program = torch.export.export(model, (torch.rand(2, 3, 8, 10),), dynamic_shapes=sizes, strict=False).module()
        for size in ((8, 10), (7, 9), (5, 12)):
            image = torch.rand(3, 3, *size)
            torch.testing.assert_close(program(image)["logits"], model(image).logits)


def test_weights_are_drawn_as_the_paper_says() -> None:
    """Section 3.1: N = 9 * 64 incoming nodes for a 3x3 convolution of 64 channels, standard deviation sqrt(2 / N)."""
    model = UNetForSemanticSegmentation(UNetConfig.original(hidden_sizes=[64, 96]))
    incoming = {
        "contracting_path.0.convolutions.conv2.weight": 9 * 64,
        "contracting_path.1.convolutions.conv1.weight": 9 * 64,
        "contracting_path.1.convolutions.conv2.weight": 9 * 96,
        "expansive_path.0.upsampling.weight": 96,
        "expansive_path.0.convolutions.conv1.weight": 9 * 128,
    }
    parameters = dict(model.named_parameters())
    for name, nodes in incoming.items():
        assert parameters[name].std().item() == pytest.approx((2 / nodes) ** 0.5, rel=0.03), name
        assert abs(parameters[name].mean().item()) < 0.03 * (2 / nodes) ** 0.5, name
    assert not any(tensor.any() for name, tensor in parameters.items() if name.endswith("bias"))


def test_dropout_ends_the_last_two_levels_of_the_contracting_path() -> None:
    model = tiny_unet(dropout=0.5, use_batch_norm=False, hidden_sizes=[4, 5, 6, 7])
    image = torch.randn(1, 3, 32, 32, dtype=torch.float64)
    kept = model(image, output_hidden_states=True).hidden_states
    dropped = model.train()(image, output_hidden_states=True).hidden_states
    assert torch.equal(kept[0], dropped[0])
    assert torch.equal(kept[1], dropped[1])
    survived = dropped[2] != 0
    torch.testing.assert_close(dropped[2][survived], 2 * kept[2][survived])
    assert 0.35 < survived[kept[2] != 0].double().mean() < 0.65
    bottom = model.contracting_path[3]
    torch.testing.assert_close(bottom.dropout(torch.ones(9)).unique(), torch.tensor([0.0, 2.0]))
    assert [block.dropout.p for block in model.contracting_path] == [0, 0, 0.5, 0.5]


def test_loss_is_the_weighted_cross_entropy_of_the_paper() -> None:
    """Equation 1 with the weights w(x) of equation 2, over the number of pixels; ignored pixels are no pixels."""
    model = tiny_unet(num_labels=3)
    images = torch.randn(2, 3, 9, 12, dtype=torch.float64)
    labels, weights = torch.randint(0, 3, (2, 9, 12)), 10 * torch.rand(2, 9, 12)
    labels[0, :4] = 255
    probability = model(images).logits.exp()
    probability /= probability.sum(dim=1, keepdim=True)
    total, plain_total, count = 0.0, 0.0, 0
    for image, row, column in product(range(2), range(9), range(12)):
        label = labels[image, row, column].item()
        if label != 255:
            entropy = -probability[image, label, row, column].log().item()
            total, plain_total, count = (
                total + weights[image, row, column].item() * entropy,
                plain_total + entropy,
                count + 1,
            )
    weighted = model(images, labels=labels, loss_weights=weights)
    assert weighted.loss.dtype == torch.float32
    assert weighted.loss.item() == pytest.approx(total / count, rel=1e-6)
    assert model(images, labels=labels).loss.item() == pytest.approx(plain_total / count, rel=1e-6)
    assert model(images, labels=labels[:, None].to(torch.uint8)).loss.item() == pytest.approx(
        plain_total / count, rel=1e-6
    )


def test_one_label_uses_binary_cross_entropy_with_soft_masks() -> None:
    model = tiny_unet(num_labels=1)
    images, masks = torch.randn(2, 3, 8, 8, dtype=torch.float64), torch.rand(2, 8, 8)
    weights = torch.rand(2, 8, 8)
    probability, target = model(images).logits.sigmoid().squeeze(1), masks.double()
    entropy = -(target * probability.log() + (1 - target) * (1 - probability).log())
    assert model(images, labels=masks).loss.item() == pytest.approx(entropy.mean().item(), rel=1e-6)
    loss = model(images, labels=masks, loss_weights=weights).loss
    assert loss.item() == pytest.approx((weights * entropy).mean().item(), rel=1e-6)
    assert model(images, labels=masks > 0.5).loss.item() == model(images, labels=(masks > 0.5).long()).loss.item()


def test_labels_of_the_input_s_size_are_center_cropped() -> None:
    model = tiny_unet(padding="valid")
    images, labels = torch.randn(1, 3, 52, 60, dtype=torch.float64), torch.randint(0, 2, (1, 52, 60))
    weights = torch.rand(1, 52, 60)
    inner = (slice(None), slice(20, -20), slice(20, -20))
    assert model(images).logits.shape[-2:] == labels[inner].shape[-2:]
    whole = model(images, labels=labels, loss_weights=weights).loss
    assert torch.equal(whole, model(images, labels=labels[inner], loss_weights=weights[inner]).loss)
    assert not torch.equal(whole, model(images, labels=labels).loss)


def test_an_image_without_a_label_has_no_loss_and_finite_gradients() -> None:
    model = UNetForSemanticSegmentation(tiny_unet_config())
    loss = model(torch.rand(1, 3, 8, 8), labels=torch.full((1, 8, 8), 255)).loss
    loss.backward()
    assert loss.item() == 0
    assert all(not tensor.grad.any() for tensor in model.parameters())


def test_loss_is_finite_where_the_probability_rounds_to_zero() -> None:
    model = UNetForSemanticSegmentation(tiny_unet_config())
    logits = torch.tensor([200.0, -200.0]).view(1, 2, 1, 1).half()
    with torch.autocast("cpu", dtype=torch.float16):
        loss = model.map_loss(logits, torch.ones(1, 1, 1))
    assert (loss.dtype, loss.item()) == (torch.float32, 400.0)


@pytest.mark.parametrize(
    ("num_labels", "labels", "message"),
    [
        (2, torch.full((1, 8, 8), 2), r"from 0 to 1, or 255 for pixels to ignore, got \[2\]"),
        (2, torch.full((1, 8, 8), -1), r"class indices from 0 to 1.*got \[-1\]"),
        (2, torch.zeros(1, 8, 8), r"class indices \(int64\), got torch.float32"),
        (1, torch.full((1, 8, 8), 255), r"\[0, 1\], got \[0?255, 255\]: divide masks of 0 and 255 by 255"),
        (1, torch.full((1, 8, 8), -0.5), r"\[0, 1\], got \[-0.5, -0.5\]"),
        (2, torch.zeros(1, 2, 8, 8, dtype=torch.long), r"`labels` must have the shape \(1, 8, 8\).*\(1, 2, 8, 8\)"),
    ],
)
def test_bad_labels_are_refused(num_labels: int, labels: torch.Tensor, message: str) -> None:
    model = UNetForSemanticSegmentation(tiny_unet_config(num_labels=num_labels)).eval()
    with pytest.raises(ValueError, match=message):
        model(torch.rand(1, 3, 8, 8), labels=labels)


def test_bad_weights_and_sizes_are_refused() -> None:
    model = UNetForSemanticSegmentation(tiny_unet_config(padding="valid")).eval()
    images = torch.rand(1, 3, 52, 52)
    with pytest.raises(
        ValueError, match=r"`loss_weights` must have the shape of `labels`, \(1, 52, 52\), got \(1, 52\)"
    ):
        model(images, labels=torch.zeros(1, 52, 52).long(), loss_weights=torch.ones(1, 52))
    with pytest.raises(
        ValueError, match=r"\(1, 52, 52\) or, at the size of the output, \(1, 12, 12\).*got \(1, 32, 32"
    ):
        model(images, labels=torch.zeros(1, 32, 32).long())
    with pytest.raises(ValueError, match=r"height 50 \(nearest legal: 48 or 52\)"):
        model(torch.rand(1, 3, 50, 52))


def test_arguments_given_to_from_pretrained_are_checked(tmp_path: Any) -> None:
    UNetForSemanticSegmentation(tiny_unet_config()).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="`dropout` must be a probability"):
        UNetForSemanticSegmentation.from_pretrained(tmp_path, dropout=1.5)
    model = UNetForSemanticSegmentation.from_pretrained(tmp_path, num_labels=5, ignore_mismatched_sizes=True)
    assert model(torch.rand(1, 3, 8, 8)).logits.shape == (1, 5, 8, 8)
