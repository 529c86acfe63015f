"""Configurations small enough for tests, shared by all of them."""

from typing import Any

from u2net_hf.models.u2net.configuration_u2net import U2NetConfig
from u2net_hf.models.unet.configuration_unet import UNetConfig


def tiny_u2net_config(**kwargs: Any) -> U2NetConfig:
    """Three stages with both kinds of residual U-block: a few thousand parameters."""
    stages = {
        "encoder_stages": [["RSU-4", 2, 4], ["RSU-3", 3, 5], ["RSU-3F", 4, 6]],
        "decoder_stages": [["RSU-3F", 3, 5], ["RSU-4", 2, 4]],
    }
    return U2NetConfig(**stages | kwargs)


def tiny_unet_config(**kwargs: Any) -> UNetConfig:
    """Three levels: a few thousand parameters."""
    return UNetConfig(**{"hidden_sizes": [4, 6, 8]} | kwargs)
