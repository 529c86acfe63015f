"""General photos among a training's own, which keep a network near what it was: fine-tuning that forgets less."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from ..models.u2net.modeling_u2net import SaliencyOutput
from .loader import MakeSample, Sample
from .mask_encoder import TaughtNetwork


@dataclass(frozen=True)
class GeneralPhotos:
    """Photos without masks as records of a corpus, marked as such.

    Args:
        photos: Records with `image` (RGB) and `name`, as from [`u2net_hf.data.photos.load_photo_table`].
    """

    photos: Any

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> dict[str, Any]:
        record = self.photos[index]
        return {**record, "mask": Image.new("L", record["image"].size), "is_general": True}


@dataclass(frozen=True)
class MakeMarkedSample:
    """Make samples that say whether they are general photos, for [`SelfDistillation`]."""

    make_sample: MakeSample

    def __call__(self, record: Mapping[str, Any], epoch: int, index: int) -> Sample:
        """Make one sample."""
        sample = self.make_sample(record, epoch, index)
        return sample | {"is_general": torch.tensor(record.get("is_general", False))}


class SelfDistillation(TaughtNetwork):
    """A network and what it was at the start, frozen, as one module: general photos are learnt from the start's maps.

    So the network stays near its start where the new masks say nothing (Li and Hoiem, Learning without Forgetting,
    2016).

    Args:
        model: The network, of one class.
        start: What it was; another network may stand for it.

    Raises:
        ValueError: If one of them tells several classes apart.
    """

    def __init__(self, model: Any, start: Any) -> None:
        if model.config.out_channels != 1 or start.config.out_channels != 1:
            raise ValueError("--regularize_with is for networks of one class")
        super().__init__(model, start)

    def forward(self, pixel_values: torch.Tensor, labels: torch.Tensor, is_general: torch.Tensor) -> SaliencyOutput:
        """The network's output and loss; the start's maps are written into the `labels` of general photos."""
        if is_general.any():
            with torch.no_grad():
                maps = self.teacher(pixel_values[is_general]).logits.float().sigmoid()
            labels[is_general] = maps.squeeze(1).to(labels.dtype)
        outputs: SaliencyOutput = self.model(pixel_values, labels)
        return outputs
