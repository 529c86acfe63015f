"""Live BatchNorms put back into networks in which they were folded, so that these can be trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from random_networks import TINY, maps, random_model
from torch import nn

from u2net_hf.models.u2net.configuration_u2net import U2NetConfig
from u2net_hf.models.u2net.modeling_u2net import U2NetForImageSegmentation
from u2net_hf.weights.convert import restore_batch_norm


def fold_by_hand(model: U2NetForImageSegmentation) -> U2NetForImageSegmentation:
    """The same function without BatchNorms: y = (w x + b - mean) / sqrt(var + eps) * weight + bias."""
    folded = U2NetForImageSegmentation(U2NetConfig(**TINY, use_batch_norm=False))
    state_dict = {name: tensor.clone() for name, tensor in model.state_dict().items() if ".bn_s1." not in name}
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            convolution, gain = name.replace("bn_s1", "conv_s1"), module.weight / (module.running_var + 1e-5).sqrt()
            state_dict[f"{convolution}.weight"] *= gain[:, None, None, None]
            bias = state_dict[f"{convolution}.bias"] - module.running_mean
            state_dict[f"{convolution}.bias"] = bias * gain + module.bias
    folded.load_state_dict(state_dict)
    return folded.eval()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(6, 3, 64, 48)


@pytest.fixture
def trained(images: torch.Tensor) -> U2NetForImageSegmentation:
    """A network with real BatchNorms, whose running statistics are those of the images."""
    model = random_model()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    model.train()(images)
    return model.eval()


def test_restored_batch_norm_computes_the_same_in_evaluation(
    trained: U2NetForImageSegmentation, images: torch.Tensor
) -> None:
    folded = fold_by_hand(trained)
    restored = restore_batch_norm(folded, [images[:3] * 0.5])  # whatever it is measured on
    assert restored.config.use_batch_norm
    assert not restored.training
    assert not folded.config.use_batch_norm
    found, expected, before = maps(restored, images), maps(folded, images), maps(trained, images)

    folded, images = folded.double(), images.double()
    exact = maps(folded, images)
    torch.testing.assert_close(maps(restore_batch_norm(folded, [images]), images), exact, rtol=1e-9, atol=1e-9)
    # How far float32 is from float64 depends on the processor.
    rounding = max((expected - exact).abs().max(), (before - exact).abs().max())
    assert rounding < 1e-5 * exact.abs().max()
    assert (found - exact).abs().max() < 2 * rounding


def test_restored_batch_norm_computes_nearly_the_same_in_training(
    trained: U2NetForImageSegmentation, images: torch.Tensor
) -> None:
    restored = restore_batch_norm(fold_by_hand(trained), [images])
    expected = maps(trained.train(), images)
    error = (maps(restored.train(), images) - expected).abs().mean() / expected.abs().mean()
    # The running variance that `trained` was folded with is the unbiased one, that of the batch the biased one.
    assert error < 0.02

    fresh = U2NetForImageSegmentation(U2NetConfig(**TINY)).train()
    fresh.load_state_dict(fold_by_hand(trained).state_dict(), strict=False)
    worse = (maps(fresh, images) - expected).abs().mean() / expected.abs().mean()
    assert worse > 10 * error


def test_statistics_are_those_of_all_batches_together(
    trained: U2NetForImageSegmentation, images: torch.Tensor
) -> None:
    folded = fold_by_hand(trained).train()
    batches: list[Any] = [images[:1], {"pixel_values": images[1:4]}, images[4:]]
    restored = restore_batch_norm(folded, iter(batches)).state_dict()
    assert folded.training
    assert not any(module._forward_hooks for module in folded.modules())

    outputs: list[torch.Tensor] = []
    convolution = folded.get_submodule("stage2.rebnconv3.conv_s1")
    convolution.register_forward_hook(lambda _, __, output: outputs.append(output.clone()))
    maps(folded, images)
    pixels = outputs[0].double().transpose(0, 1).flatten(1)
    norm = "stage2.rebnconv3.bn_s1"
    torch.testing.assert_close(restored[f"{norm}.running_mean"].double(), pixels.mean(1), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(
        restored[f"{norm}.running_var"].double(), pixels.var(1, correction=0), rtol=1e-5, atol=0
    )
    assert torch.equal(restored[f"{norm}.bias"], restored[f"{norm}.running_mean"])


def test_restored_batch_norm_survives_saving(
    trained: U2NetForImageSegmentation, images: torch.Tensor, tmp_path: Path
) -> None:
    restored = restore_batch_norm(fold_by_hand(trained), [images])
    restored.save_pretrained(tmp_path)
    loaded = U2NetForImageSegmentation.from_pretrained(tmp_path)
    assert torch.equal(maps(loaded, images), maps(restored, images))


def test_restore_batch_norm_refuses(trained: U2NetForImageSegmentation, images: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="live BatchNorms"):
        restore_batch_norm(trained, [images])
    with pytest.raises(ValueError, match="`batches` is empty"):
        restore_batch_norm(fold_by_hand(trained), [])
