"""Validation during a training: every image once, on any number of processes, at its original size.

Processes take every n-th image and add up sums, so nothing is padded or counted twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

import numpy as np
import torch
from PIL import Image
from torch.utils import data
from transformers.modeling_outputs import SemanticSegmenterOutput

from ..data.pixels import OBJECT_ABOVE
from ..data.weight_map import instances_from_mask
from ..sod_metrics import SODMetrics
from .pictures import Strip

if TYPE_CHECKING:
    from accelerate import Accelerator
    from datasets import Dataset

NUM_STRIPS = 8
THRESHOLDS = tuple(round(0.1 * number, 1) for number in range(1, 10))
MIDDLE = THRESHOLDS.index(0.5)


class Validation(Protocol):
    """What a training asks for now and then.

    Attributes:
        best_measure: The measure by which the best weights are chosen.
        greater_is_better: Whether a higher value of it is better.
    """

    best_measure: ClassVar[str]
    greater_is_better: ClassVar[bool]

    def __call__(self, model: Any, accelerator: Accelerator) -> tuple[dict[str, float], list[Strip]]:
        """Give the measures of a model in evaluation mode, the same on all processes, and a few pictures."""


@dataclass(frozen=True)
class SaliencyValidation:
    """Maximal F-measure (precision and recall averaged over the images first) and mean absolute error."""

    best_measure: ClassVar[str] = "max_f"
    greater_is_better: ClassVar[bool] = True

    corpus: Dataset
    image_processor: Any
    batch_size: int = 8
    num_workers: int = 0

    def __call__(self, model: Any, accelerator: Accelerator) -> tuple[dict[str, float], list[Strip]]:
        """Predict soft maps and compare them with the masks."""
        strips: list[Strip] = []
        metrics = SODMetrics(["max_f", "mae"])
        for batch in _my_images(self, accelerator):
            pixels = torch.cat([example.inputs for example in batch]).to(accelerator.device)
            sizes = [(example.image.height, example.image.width) for example in batch]
            maps = self.image_processor.post_process_saliency(model(pixel_values=pixels), target_sizes=sizes)
            arrays = [one.cpu().numpy() for one in maps]
            metrics.update(arrays, [np.asarray(example.mask) for example in batch])
            strips += [example.strip(array) for example, array in zip(batch, arrays, strict=True) if example.shown]
        metrics.load_state(accelerator.reduce(metrics.state(accelerator.device), "sum"))
        return metrics.compute(), strips


@dataclass(frozen=True)
class SegmentationValidation:
    """Pixel error and adapted Rand error of cells and the membranes between them, on whole images by overlap-tile.

    The measures of the ISBI 2012 challenge, but without the thinning of borders that its later rules add: the share of
    wrong pixels, and the adapted Rand error (1 - F of pairs of pixels, scikit-image) between the connected cells of
    mask and map, of pixels that belong to cells in the mask. Both are given at a probability of 0.5 and at the best of
    nine thresholds, as the challenge does: weights in the loss move the best threshold away from 0.5.
    """

    best_measure: ClassVar[str] = "min_rand_error"
    greater_is_better: ClassVar[bool] = False

    corpus: Dataset
    image_processor: Any
    batch_size: int = 8
    num_workers: int = 0

    def __call__(self, model: Any, accelerator: Accelerator) -> tuple[dict[str, float], list[Strip]]:
        """Predict the probability of a cell for each pixel and compare it with the masks."""
        strips: list[Strip] = []
        count, sums = 0, np.zeros((2, len(THRESHOLDS)))
        for batch in _my_images(self, accelerator):
            for example in batch:
                tiles = example.inputs.to(accelerator.device).split(self.batch_size)
                outputs = SemanticSegmenterOutput(
                    logits=torch.cat([model(pixel_values=part).logits for part in tiles])
                )
                size = (example.image.height, example.image.width)
                (soft_map,) = self.image_processor.post_process_saliency(outputs, target_sizes=[size])
                probabilities, cells = soft_map.cpu().numpy(), np.asarray(example.mask) > OBJECT_ABOVE
                count += 1
                sums += [pixel_errors(probabilities, cells), adapted_rand_errors(probabilities, cells)]
                strips += [example.strip(probabilities)] if example.shown else []
        total = torch.tensor([count, *sums.flat], dtype=torch.float64, device=accelerator.device)
        count, *values = accelerator.reduce(total, "sum").tolist()
        pixel, rand = np.reshape(values, sums.shape) / count
        measures = {
            "pixel_error": float(pixel[MIDDLE]),
            "min_pixel_error": float(pixel.min()),
            "rand_error": float(rand[MIDDLE]),
            "min_rand_error": float(rand.min()),
        }
        return measures, strips


def pixel_errors(probabilities: np.ndarray, cells: np.ndarray) -> list[float]:
    """Share of wrong pixels at each of `THRESHOLDS`; the arguments are those of `adapted_rand_errors`."""
    return [float(np.mean((probabilities > threshold) != cells)) for threshold in THRESHOLDS]


def adapted_rand_errors(probabilities: np.ndarray, cells: np.ndarray) -> list[float]:
    """Adapted Rand error of the cells above each of `THRESHOLDS`.

    Args:
        probabilities: Of a cell, `(H, W)` in [0, 1].
        cells: bool `(H, W)`, the true mask; cells are what connects across pixel sides.
    """
    from skimage.metrics import adapted_rand_error

    true_cells = instances_from_mask(cells)
    return [
        float(adapted_rand_error(true_cells, instances_from_mask(probabilities > threshold), ignore_labels=(0,))[0])
        for threshold in THRESHOLDS
    ]


class _Example(NamedTuple):
    """A validation image, its mask, the network's inputs `(tiles, channels, H, W)`, and whether it is to be drawn."""

    image: Image.Image
    mask: Image.Image
    inputs: torch.Tensor
    shown: bool

    def strip(self, soft_map: np.ndarray) -> Strip:
        return Strip(self.image, self.mask, soft_map)


@dataclass(frozen=True)
class _Examples(data.Dataset):
    """The validation images of one process."""

    corpus: Any
    image_processor: Any
    indices: range

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, number: int) -> _Example:
        record = self.corpus[self.indices[number]]
        inputs = self.image_processor(record["image"], return_tensors="pt")["pixel_values"]
        shown = number in np.linspace(0, len(self) - 1, NUM_STRIPS).astype(int)  # from all over the corpus
        return _Example(record["image"], record["mask"], inputs, bool(shown))


def _my_images(validation: Any, accelerator: Accelerator) -> Iterator[list[_Example]]:
    """Batches of the images of this process: every n-th of the corpus."""
    indices = range(accelerator.process_index, len(validation.corpus), accelerator.num_processes)
    yield from data.DataLoader(
        _Examples(validation.corpus, validation.image_processor, indices),
        batch_size=validation.batch_size,
        num_workers=validation.num_workers,
        collate_fn=list,
        generator=torch.Generator(),  # of its own: the global one belongs to dropout
    )
