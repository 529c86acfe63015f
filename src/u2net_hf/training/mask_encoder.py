"""IS-Net's second teacher: a network that has learnt to rebuild masks, whose features IS-Net's are drawn to.

Qin et al., "Highly Accurate Dichotomous Image Segmentation", ECCV 2022, section 4 (the "GT encoder"), with the sizes
and names of the authors' code (https://github.com/xuebinqin/DIS, Apache-2.0).
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import nn
from torch.nn import functional as F
from transformers.utils.generic import can_return_tuple

from ..models.u2net.configuration_u2net import U2NetConfig
from ..models.u2net.modeling_u2net import SaliencyOutput, U2NetPreTrainedModel, U2NetRSU, halve, resize
from ..weights.loading import load_pretrained, load_whole_model
from ..weights.published import resolve
from .loader import MakeSample, Sample

STEM_CHANNELS = 16


class MaskEncoder(U2NetPreTrainedModel):
    """The encoder of an IS-Net on masks instead of photos, with a side map after each stage.

    A stage has the block of the IS-Net's, a half of its mid channels (a quarter from the fourth on), and the output
    channels of that feature of the IS-Net which it shall teach. For `U2NetConfig.isnet()` it is the authors' network.

    Args:
        config: That of the IS-Net.

    Raises:
        ValueError: If it is no network for one object behind a stem, whose features have other sizes.
    """

    def __init__(self, config: U2NetConfig) -> None:
        super().__init__(config)
        if config.stem_channels is None or config.out_channels != 1:
            raise ValueError("A GT encoder teaches an IS-Net for one object: choose --config isnet or isnet_small.")
        conv = nn.Conv2d(1, STEM_CHANNELS, kernel_size=3, stride=2, padding=1)
        self.conv_in = nn.Sequential(OrderedDict(conv=conv, bn=nn.BatchNorm2d(STEM_CHANNELS), relu=nn.ReLU()))
        features = [*reversed(config.decoder_stages), config.encoder_stages[-1]]
        channels = STEM_CHANNELS
        for number, (stage, feature) in enumerate(zip(config.encoder_stages, features, strict=True), start=1):
            mid_channels, out_channels = max(int(stage[1]) // (2 if number <= 3 else 4), 1), int(feature[2])
            self.add_module(f"stage{number}", U2NetRSU(channels, [stage[0], mid_channels, out_channels]))
            self.add_module(f"side{number}", nn.Conv2d(out_channels, 1, kernel_size=3, padding=1))
            channels = out_channels
        self.num_stages = len(features)
        self.post_init()

    def features(self, masks: torch.Tensor) -> list[torch.Tensor]:
        """The output of each stage for masks `(B, 1, H, W)` in [0, 1], the largest first."""
        hidden, features = self.conv_in(masks), []
        for number in range(1, self.num_stages + 1):
            hidden = self.get_submodule(f"stage{number}")(halve(hidden) if number > 1 else hidden)
            features.append(hidden)
        return features

    @can_return_tuple
    def forward(
        self, pixel_values: torch.Tensor, labels: torch.Tensor | None = None, return_dict: bool | None = None
    ) -> SaliencyOutput:
        """Rebuild masks.

        Args:
            pixel_values: Masks `(B, C, H, W)` in [0, 1], of which the first channel counts.
            labels: The same masks `(B, H, W)`.
            return_dict: Whether to return a [`SaliencyOutput`] instead of a plain tuple.

        Returns:
            The largest map, and with labels the sum of the six maps' binary cross entropies.
        """
        side_logits = [
            resize(self.get_submodule(f"side{number}")(feature), pixel_values.shape[-2:])
            for number, feature in enumerate(self.features(pixel_values[:, :1]), start=1)
        ]
        loss = None
        if labels is not None:
            masks = _counted(labels, self.config).unsqueeze(1)
            with torch.autocast(labels.device.type, enabled=False):
                losses = [F.binary_cross_entropy_with_logits(logits.float(), masks) for logits in side_logits]
                loss = torch.stack(losses).sum()
        return SaliencyOutput(loss=loss, logits=side_logits[0])


def load_mask_encoder(name_or_path: str) -> MaskEncoder:
    """Load a trained GT encoder.

    Raises:
        OSError: If it cannot be read.
        ValueError: If there is none, or the folder holds something else.
    """
    folder = resolve(name_or_path)
    config = load_pretrained(U2NetConfig, folder)
    if MaskEncoder.__name__ not in (config.architectures or ()):
        raise ValueError(f"{name_or_path} holds no GT encoder: make one with --gt_encoder train.")
    encoder: MaskEncoder = load_whole_model(MaskEncoder, folder)
    return encoder


class TaughtNetwork(nn.Module):
    """A network and the frozen one that teaches it, as one module.

    Args:
        model: The network, which is trained.
        teacher: The other one.
    """

    def __init__(self, model: Any, teacher: Any) -> None:
        super().__init__()
        self.model, self.teacher = model, teacher.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """Bring the network into training mode; its teacher stays as it is."""
        self.model.train(mode)
        self.training = mode
        return self

    @property
    def digest(self) -> str:
        """Of the teacher's weights, by which a resumed training knows it again."""
        digest = hashlib.sha256()
        for tensor in self.teacher.state_dict().values():
            digest.update(tensor.cpu().numpy().tobytes())
        return digest.hexdigest()[:16]


class FeatureSupervision(TaughtNetwork):
    """A network and its frozen GT encoder as one module, whose loss also asks for the encoder's features.

    To the network's own loss comes the mean squared error between each of its features, those that its side maps are
    made of, and the encoder's of the mask, as in the authors' code with the weight 1.

    Args:
        model: An IS-Net.
        encoder: A trained [`MaskEncoder`] of the same configuration; it is frozen.

    Raises:
        ValueError: If the encoder is of another network.
    """

    def __init__(self, model: Any, encoder: MaskEncoder) -> None:
        stages = [(config.encoder_stages, config.decoder_stages) for config in (model.config, encoder.config)]
        if stages[0] != stages[1] or model.config.stem_channels is None or model.config.out_channels != 1:
            raise ValueError("The GT encoder is of another network: train one with the same --config.")
        super().__init__(model, encoder)

    def forward(self, pixel_values: torch.Tensor, labels: torch.Tensor) -> SaliencyOutput:
        """The network's output, with the sum of both losses."""
        outputs = self.model(pixel_values, labels, output_hidden_states=True)
        states, number = outputs.hidden_states, len(self.model.config.encoder_stages)
        found = [*reversed(states[number:]), states[number - 1]]
        with torch.no_grad():
            wanted = self.teacher.features(_counted(labels, self.model.config).unsqueeze(1))
        outputs.loss = outputs.loss + feature_loss(found, wanted)
        outputs.hidden_states = None
        return outputs


def feature_loss(found: Sequence[torch.Tensor], wanted: Sequence[torch.Tensor]) -> torch.Tensor:
    """Sum over the features of their mean squared errors, in float32 also under autocast."""
    with torch.autocast(found[0].device.type, enabled=False):
        pairs = zip(found, wanted, strict=True)
        return torch.stack([F.mse_loss(one.float(), other.float()) for one, other in pairs]).sum()


def _counted(labels: torch.Tensor, config: U2NetConfig) -> torch.Tensor:
    """Masks `(B, H, W)`, float, without an object where the loss does not look."""
    return torch.where(labels == config.semantic_loss_ignore_index, 0, labels).float()


@dataclass(frozen=True)
class MakeMaskSample:
    """Make samples whose input is the mask itself, from those of another maker."""

    make_sample: MakeSample

    def __call__(self, record: Mapping[str, Any], epoch: int, index: int) -> Sample:
        """Make one sample."""
        sample = self.make_sample(record, epoch, index)
        return sample | {"pixel_values": sample["labels"].unsqueeze(0)}


@dataclass(frozen=True)
class MasksAsImages:
    """A corpus in which the mask takes the place of the image."""

    corpus: Any

    def __len__(self) -> int:
        return len(self.corpus)

    def __getitem__(self, index: int) -> dict[str, Any]:
        record = self.corpus[index]
        return {**record, "image": record["mask"]}
