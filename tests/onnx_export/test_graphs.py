"""What the graphs compute, before they are written; the written ones are tested with the export."""

import pytest
import torch
from tiny_models import tiny_u2net_config, tiny_unet_config
from torch import nn

from u2net_hf import U2NetForImageSegmentation, U2NetImageProcessorPil, UNetForSemanticSegmentation
from u2net_hf.onnx_export.graphs import LogitsGraph, SaliencyGraph, block_errors, fold_batch_norm, legal_size


@pytest.mark.parametrize("model_class", [U2NetForImageSegmentation, UNetForSemanticSegmentation])
def test_folding_keeps_what_a_network_computes(model_class: type) -> None:
    model = model_class(tiny_u2net_config() if model_class is U2NetForImageSegmentation else tiny_unet_config()).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.running_mean, module.running_var, module.weight.data, module.bias.data):
                tensor.uniform_(0.5, 1.5)
    network, images = LogitsGraph(model), torch.randn(2, 3, 33, 40)
    with torch.inference_mode():
        expected = network(images)
        folded = fold_batch_norm(network)
        torch.testing.assert_close(folded(images), expected, atol=1e-4, rtol=1e-4)
        assert torch.equal(network(images), expected)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())


def test_block_errors_find_the_block_that_8_bits_ruin_and_leave_the_network_alone() -> None:
    network = LogitsGraph(U2NetForImageSegmentation(tiny_u2net_config(use_batch_norm=False)).eval())
    stage, images = network.network.stage1d, torch.randn(1, 3, 40, 40)
    with torch.inference_mode():
        before = network(images)
        errors = block_errors(network, [images, images])
        assert torch.equal(network(images), before)
        # Huge numbers that cancel out, but not after rounding.
        stage.rebnconv1.conv_s1.bias[:] = torch.tensor([300.0, 200.0])
        stage.rebnconv2.conv_s1.weight[:] = 0
        stage.rebnconv1d.conv_s1.weight[:, 2:, 1, 1] = torch.tensor([5.30, -7.95])
        spoiled = block_errors(network, [images])
    stages = [f"network.{stage}" for stage in ("stage1", "stage2", "stage3", "stage2d", "stage1d")]
    assert [*errors] == [*spoiled] == stages
    assert all(0 < error < 0.001 for error in errors.values())
    assert spoiled["network.stage1d"] > 10 * max(spoiled[stage] for stage in stages[:-1])


def test_saliency_is_that_of_the_image_divided_by_its_maximum() -> None:
    processor = U2NetImageProcessorPil()
    graph = SaliencyGraph(U2NetForImageSegmentation(tiny_u2net_config(out_channels=4)).eval(), processor)
    image = torch.rand(1, 3, 32, 32).clamp(max=0.9)
    image[0, 1, 5, 7] = 1.0
    brightness = torch.tensor([1.0, 0.4, 2 / 255]).reshape(-1, 1, 1, 1)
    mean, std = (torch.tensor(values).reshape(-1, 1, 1) for values in (processor.image_mean, processor.image_std))
    with torch.inference_mode():
        expected = 1 - graph.network((image - mean) / std).logits.softmax(dim=1)[:, :1]
        found = graph((image * brightness - mean) / std)
        black = graph((torch.zeros_like(image) - mean) / std)
    assert found.shape == (3, 1, 32, 32)
    torch.testing.assert_close(found, expected.expand_as(found), atol=1e-4, rtol=0)
    assert black.isfinite().all()


def test_legal_sizes_are_those_of_valid_convolutions() -> None:
    padded = UNetForSemanticSegmentation(tiny_unet_config())
    assert legal_size(padded, 101, 7) == (101, 7)
    valid = UNetForSemanticSegmentation(tiny_unet_config(padding="valid"))
    height, width = legal_size(valid, 101, 7)
    assert 101 <= height < 105
    assert valid(torch.zeros(1, 3, height, width)).logits.shape[-2:] == (height - 40, width - 40)
