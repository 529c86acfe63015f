"""Tiny U²-Nets of random weights, and all that they compute."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from u2net_hf.models.u2net.configuration_u2net import U2NetConfig
from u2net_hf.models.u2net.modeling_u2net import U2NetForImageSegmentation

# Every kind of block, and nowhere two neighbors of one shape.
TINY: dict[str, Any] = {
    "encoder_stages": [["RSU-4", 3, 5], ["RSU-3", 4, 6], ["RSU-4F", 2, 7], ["RSU-3F", 5, 4]],
    "decoder_stages": [["RSU-4F", 3, 6], ["RSU-2", 4, 5], ["RSU-5", 2, 3]],
}


def random_model(**options: Any) -> U2NetForImageSegmentation:
    """A network whose BatchNorms do something, as trained ones do."""
    model = U2NetForImageSegmentation(U2NetConfig(**{**TINY, **options}))
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for name, tensor in module.state_dict().items():
                if name in ("weight", "running_var"):
                    tensor.uniform_(0.5, 2, generator=generator)
                elif name in ("bias", "running_mean"):
                    tensor.normal_(generator=generator)
    return model.eval()


def maps(model: U2NetForImageSegmentation, image: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        outputs = model(image, output_side_logits=True)
    return torch.stack([outputs.logits, *outputs.side_logits])
