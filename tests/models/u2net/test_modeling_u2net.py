"""U²-Net against the paper's numbers and formulas; what all models share is in `tests/test_all_models.py`."""

import pytest
import torch
from tiny_models import tiny_u2net_config
from torch.nn import functional as F

from u2net_hf.models.u2net.configuration_u2net import U2NetConfig
from u2net_hf.models.u2net.modeling_u2net import U2NetForImageSegmentation


@pytest.mark.parametrize(
    ("config", "parameters"),
    [
        (U2NetConfig(), 44_009_869),
        (U2NetConfig.small(), 1_131_181),
        # The file that the authors published has the BatchNorms folded in.
        (U2NetConfig.isnet(use_batch_norm=False), 44_017_990),
        # U²-Net, the stem, 61 more channels into its first convolution, no fusion.
        (U2NetConfig.isnet(), 44_009_869 + 1_792 + 35_136 - 7),
    ],
)
def test_parameter_counts_of_the_papers(config: U2NetConfig, parameters: int) -> None:
    with torch.device("meta"):
        assert U2NetForImageSegmentation(config).num_parameters() == parameters


def test_state_dict_has_the_official_names() -> None:
    def block(prefix: str, batch_norm: bool = True) -> set[str]:
        statistics = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
        return {f"{prefix}.conv_s1.{name}" for name in ("weight", "bias")} | {
            f"{prefix}.bn_s1.{name}" for name in statistics
        }

    heights = {"1": 7, "2": 6, "3": 5, "4": 4, "5": 4, "6": 4, "5d": 4, "4d": 4, "3d": 5, "2d": 6, "1d": 7}
    official = {
        f"{name}.{kind}" for name in ("outconv", *(f"side{k}" for k in range(1, 7))) for kind in ("weight", "bias")
    }
    for stage, height in heights.items():
        levels = ["in", *range(1, height + 1), *(f"{level}d" for level in range(1, height))]
        for level in levels:
            official |= block(f"stage{stage}.rebnconv{level}")
    with torch.device("meta"):
        for config in (U2NetConfig(), U2NetConfig.small()):
            assert set(U2NetForImageSegmentation(config).state_dict()) == official
        isnet = official - {"outconv.weight", "outconv.bias"} | {"conv_in.weight", "conv_in.bias"}
        assert set(U2NetForImageSegmentation(U2NetConfig.isnet()).state_dict()) == isnet


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 31), (64, 40)])
def test_any_input_size(size: tuple[int, int]) -> None:
    model = U2NetForImageSegmentation(tiny_u2net_config()).eval()
    outputs = model(torch.rand(2, 3, *size), output_side_logits=True)
    assert outputs.logits.shape == (2, 1, *size)
    assert [side.shape for side in outputs.side_logits] == 3 * [(2, 1, *size)]


def test_side_outputs_come_in_training_with_labels_and_when_asked_for() -> None:
    model, images = U2NetForImageSegmentation(tiny_u2net_config()), torch.rand(2, 3, 8, 8)
    assert model.train()(images).side_logits is not None
    assert model.eval()(images).side_logits is None
    assert model(images, labels=torch.rand(2, 8, 8)).side_logits is not None
    assert model(images, labels=torch.rand(2, 8, 8), output_side_logits=False).side_logits is None


def test_loss_is_the_weighted_sum_of_binary_cross_entropies() -> None:
    weights = [0.5, 0.25, 2.0]
    config = tiny_u2net_config(fused_loss_weight=3.0, side_loss_weights=weights)
    model = U2NetForImageSegmentation(config).eval()
    images, masks = torch.rand(2, 3, 9, 12), torch.rand(2, 1, 9, 12)
    outputs = model(images, labels=masks)
    expected = torch.zeros((), dtype=torch.float64)
    for weight, logits in zip([3.0, *weights], [outputs.logits, *outputs.side_logits], strict=True):
        probability, target = logits.double().sigmoid(), masks.double()
        entropy = target * probability.log() + (1 - target) * (1 - probability).log()
        expected -= weight * entropy.mean()
    assert outputs.loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert torch.equal(outputs.loss, model(images, labels=masks[:, 0]).loss)


def test_loss_is_finite_where_the_probability_rounds_to_one() -> None:
    model = U2NetForImageSegmentation(tiny_u2net_config()).eval()
    logits, labels = torch.full((1, 1, 4, 4), 200.0), torch.zeros(1, 4, 4)
    assert model.map_loss(logits, labels).item() == pytest.approx(200.0)
    assert F.binary_cross_entropy(logits.sigmoid().squeeze(1), labels).item() < 101  # the authors' BCELoss clamps


def test_iou_loss_counts_each_image_by_its_overlap() -> None:
    model = U2NetForImageSegmentation(tiny_u2net_config(iou_loss_weight=0.5)).eval()
    labels = torch.zeros(3, 4, 4)
    labels[0, :2], labels[1, :, 0] = 1, 1  # the third image shows nothing
    certain = torch.full((3, 1, 4, 4), -100.0)
    certain[0, 0, 1:3] = 100.0  # half of the mask, and as much beside it: 4 of 12 pixels
    certain[1, 0, :, 0] = 100.0
    entropy = F.binary_cross_entropy_with_logits(certain[:, 0], labels)
    overlaps = torch.tensor([(4 + 1) / (12 + 1), 1.0, 1.0])
    expected = entropy + 0.5 * (1 - overlaps).mean()
    assert model.map_loss(certain, labels).item() == pytest.approx(expected.item(), rel=1e-6)
    unsure = torch.zeros_like(certain)
    assert model.map_loss(unsure, labels) > F.binary_cross_entropy_with_logits(unsure[:, 0], labels) + 0.3


def test_several_channels_use_softmax_cross_entropy() -> None:
    model = U2NetForImageSegmentation(tiny_u2net_config(out_channels=4)).eval()
    images, labels = torch.rand(2, 3, 8, 8), torch.randint(0, 4, (2, 8, 8))
    labels[0, 0] = 255
    outputs = model(images, labels=labels)
    expected = torch.zeros((), dtype=torch.float64)
    for logits in (outputs.logits, *outputs.side_logits):
        probability = logits.double().softmax(dim=1)
        chosen = probability.gather(1, labels.clamp(max=3)[:, None])[:, 0]
        expected -= chosen[labels != 255].log().mean()
    assert outputs.loss.item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.full((1, 8, 8), 255.0), r"\[0, 1\], got \[255, 255\]: divide masks"),
        (torch.full((1, 8, 8), -0.5), r"\[0, 1\], got \[-0.5, -0.5\]"),
        (torch.zeros(1, 2, 8, 8), r"\(1, 8, 8\) or \(1, 1, 8, 8\).*got \(1, 2, 8, 8\)"),
    ],
)
def test_bad_masks_are_refused(labels: torch.Tensor, message: str) -> None:
    model = U2NetForImageSegmentation(tiny_u2net_config()).eval()
    with pytest.raises(ValueError, match=message):
        model(torch.rand(1, 3, 8, 8), labels=labels)


def test_soft_labels_for_several_channels_are_refused() -> None:
    model = U2NetForImageSegmentation(tiny_u2net_config(out_channels=3)).eval()
    with pytest.raises(ValueError, match=r"class indices \(int64\), got torch.float32"):
        model(torch.rand(1, 3, 8, 8), labels=torch.zeros(1, 8, 8))


def test_fresh_weights_have_pytorch_s_own_scale() -> None:
    """The library's default, a standard deviation of 0.02, does not train (PyTorch's is 1 / sqrt(3 fan_in))."""
    model = U2NetForImageSegmentation(U2NetConfig.small())
    weight = model.stage3.rebnconvin.conv_s1.weight
    assert weight.std().item() == pytest.approx((3 * 64 * 9) ** -0.5, rel=0.02)


@pytest.mark.parametrize("options", [{"out_channels": 3}, {"semantic_loss_ignore_index": -1}], ids=str)
def test_where_all_is_ignored_the_loss_is_zero(options: dict) -> None:
    model = U2NetForImageSegmentation(tiny_u2net_config(**options))
    labels = torch.full((2, 8, 8), model.config.semantic_loss_ignore_index)
    loss = model(torch.rand(2, 3, 8, 8), labels=labels).loss
    loss.backward()
    assert loss.item() == 0
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("labels", [torch.full((1, 8, 8), 3), torch.full((1, 8, 8), -1)])
def test_labels_out_of_range_are_named(labels: torch.Tensor) -> None:
    model = U2NetForImageSegmentation(tiny_u2net_config(out_channels=3))
    with pytest.raises(ValueError, match=rf"indices from 0 to 2, or 255 .* got \[{labels[0, 0, 0]}\]"):
        model(torch.rand(1, 3, 8, 8), labels=labels)


@pytest.mark.parametrize("iou_loss_weight", [0.0, 0.7])
def test_one_channel_ignores_pixels_too(iou_loss_weight: float) -> None:
    """What is ignored counts as if it were cut off: the maps of the left half alone."""
    model = U2NetForImageSegmentation(tiny_u2net_config(iou_loss_weight=iou_loss_weight)).eval()
    logits, labels = torch.randn(2, 1, 6, 8), torch.rand(2, 6, 8)
    labels[..., 4:] = 255
    expected = model.map_loss(logits[..., :4], labels[..., :4])
    assert model.map_loss(logits, labels).item() == pytest.approx(expected.item(), rel=1e-6)


def test_a_mask_of_8_bits_is_not_taken_for_one_to_ignore() -> None:
    model = U2NetForImageSegmentation(tiny_u2net_config())
    labels = torch.zeros(1, 8, 8)
    labels[:, 4:] = 255
    with pytest.raises(ValueError, match=r"\[0, 255\]: divide masks of 0 and 255 by 255"):
        model(torch.rand(1, 3, 8, 8), labels=labels)
