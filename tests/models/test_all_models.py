"""Every model and configuration through the one `ModelTester`."""

import pytest
import torch
from model_tester import ModelCase, ModelTester
from tiny_models import tiny_u2net_config, tiny_unet_config

from u2net_hf import U2NetForImageSegmentation, UNetForSemanticSegmentation


def soft_masks(images: torch.Tensor) -> torch.Tensor:
    return images[:, 0].sigmoid()


def faint_masks(images: torch.Tensor) -> torch.Tensor:
    """The same everywhere: at half the resolution the pixels of noise cannot be told apart."""
    return torch.full_like(images[:, 0], 0.1)


def class_indices(images: torch.Tensor) -> torch.Tensor:
    return images[:, 0].clamp(-1.4, 1.4).round().add(1).long()


def two_classes(images: torch.Tensor) -> torch.Tensor:
    return (images[:, 0] > 0).long()


CASES = [
    ModelCase("u2net", U2NetForImageSegmentation, tiny_u2net_config, soft_masks),
    ModelCase(
        "u2net-batch-norm-folded",
        U2NetForImageSegmentation,
        lambda: tiny_u2net_config(use_batch_norm=False),
        soft_masks,
    ),
    ModelCase("u2net-3-classes", U2NetForImageSegmentation, lambda: tiny_u2net_config(out_channels=3), class_indices),
    ModelCase(
        "u2net-gray-odd", U2NetForImageSegmentation, lambda: tiny_u2net_config(num_channels=1), soft_masks, (13, 7)
    ),
    ModelCase(
        "u2net-isnet",
        U2NetForImageSegmentation,
        lambda: tiny_u2net_config(stem_channels=3, fuse_side_maps=False),
        faint_masks,
    ),
    ModelCase("unet", UNetForSemanticSegmentation, tiny_unet_config, two_classes),
    ModelCase("unet-odd-size", UNetForSemanticSegmentation, tiny_unet_config, two_classes, (13, 7)),
    ModelCase(
        "unet-bilinear",
        UNetForSemanticSegmentation,
        lambda: tiny_unet_config(upsampling="bilinear", use_batch_norm=False, dropout=0.2),
        two_classes,
    ),
    ModelCase("unet-one-label", UNetForSemanticSegmentation, lambda: tiny_unet_config(num_labels=1), soft_masks),
    ModelCase(
        "unet-original",
        UNetForSemanticSegmentation,
        lambda: tiny_unet_config(padding="valid", use_batch_norm=False, dropout=0.5, num_channels=1),
        two_classes,
        (44, 52),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
class TestEveryModel(ModelTester):
    pass
