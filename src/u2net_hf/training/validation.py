"""Validation during a training: every image once, on any number of processes, at its original size.

Processes take every n-th image and add up sums, so nothing is padded or counted twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch.utils import data
from transformers.modeling_outputs import SemanticSegmenterOutput

from ..cell_metrics import CellMetrics
from ..data.pixels import OBJECT_ABOVE
from ..data.weight_map import instances_from_mask
from ..models.unet.tiling_unet import average_rotations
from ..sod_metrics import SODMetrics
from .loader import ignore_signals
from .pictures import Strip, draw_contours

if TYPE_CHECKING:
    from accelerate import Accelerator
    from datasets import Dataset

NUM_STRIPS = 8
THRESHOLDS = tuple(round(0.1 * number, 1) for number in range(1, 10))
GREEN, MAGENTA = (0, 255, 0), (255, 0, 255)
MIDDLE = THRESHOLDS.index(0.5)


@dataclass(frozen=True)
class Validation:
    """What a training asks for now and then.

    Args:
        corpus: From `load_corpus`.
        image_processor: That of the model.
        batch_size: Images, or tiles of one, per process.
        num_workers: Processes that read images, for each training process.

    Attributes:
        best_measure: The measure by which the best weights are chosen.
        greater_is_better: Whether a higher value of it is better.
    """

    best_measure: ClassVar[str]
    greater_is_better: ClassVar[bool]

    corpus: Dataset
    image_processor: Any
    batch_size: int = 8
    num_workers: int = 0

    def __call__(self, model: Any, accelerator: Accelerator) -> tuple[dict[str, float], list[Strip]]:
        """Give the measures of a model in evaluation mode, the same on all processes, and a few pictures."""
        raise NotImplementedError

    def _my_images(self, accelerator: Accelerator) -> Iterator[list[_Example]]:
        """Batches of the images of this process: every n-th of the corpus."""
        indices = range(accelerator.process_index, len(self.corpus), accelerator.num_processes)
        yield from data.DataLoader(
            _Examples(self.corpus, self.image_processor, indices),
            batch_size=self.batch_size,
            num_workers=self.num_workers,
            collate_fn=list,
            worker_init_fn=ignore_signals,
            generator=torch.Generator(),  # of its own: the global one belongs to dropout
        )


@dataclass(frozen=True)
class SaliencyValidation(Validation):
    """Maximal F-measure (precision and recall averaged over the images first) and mean absolute error."""

    best_measure: ClassVar[str] = "max_f"
    greater_is_better: ClassVar[bool] = True

    def __call__(self, model: Any, accelerator: Accelerator) -> tuple[dict[str, float], list[Strip]]:
        """Predict soft maps and compare them with the masks."""
        strips: list[Strip] = []
        metrics = SODMetrics(["max_f", "mae"])
        for batch in self._my_images(accelerator):
            pixels = torch.cat([example.inputs for example in batch]).to(accelerator.device)
            sizes = [(example.image.height, example.image.width) for example in batch]
            maps = self.image_processor.post_process_saliency(model(pixel_values=pixels), target_sizes=sizes)
            arrays = [one.cpu().numpy() for one in maps]
            metrics.update(arrays, [np.asarray(example.mask) > OBJECT_ABOVE for example in batch])
            strips += [example.strip(array) for example, array in zip(batch, arrays, strict=True) if example.shown]
        metrics.load_state(accelerator.reduce(metrics.state(accelerator.device), "sum"))
        return metrics.compute(), strips


@dataclass(frozen=True)
class SegmentationValidation(Validation):
    """Pixel error and adapted Rand error of cells and the membranes between them, on whole images by overlap-tile.

    The measures of the ISBI 2012 challenge, but without the thinning of borders that its later rules add: the share of
    wrong pixels, and the adapted Rand error (1 - F of pairs of pixels, scikit-image) between the connected cells of
    mask and map, of pixels that belong to cells in the mask. Both are given at a probability of 0.5 and at the best of
    nine thresholds, as the challenge does: weights in the loss move the best threshold away from 0.5.
    """

    best_measure: ClassVar[str] = "min_rand_error"
    greater_is_better: ClassVar[bool] = False

    def __call__(self, model: Any, accelerator: Accelerator) -> tuple[dict[str, float], list[Strip]]:
        """Predict the probability of a cell for each pixel and compare it with the masks."""
        strips: list[Strip] = []
        count, sums = 0, np.zeros((2, len(THRESHOLDS)))
        for batch in self._my_images(accelerator):
            for example in batch:
                outputs = predict_tiles(model, example.inputs.to(accelerator.device), self.batch_size)
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


@dataclass(frozen=True)
class ClassValidation(Validation):
    """Mean intersection over union of the classes, and the share of right pixels, over all pixels of the corpus.

    As the benchmarks of semantic segmentation count: one matrix of confusion for all images; a class that neither mask
    nor map has anywhere is no part of the mean, and pixels of the model's ignored label are not counted.
    """

    best_measure: ClassVar[str] = "mean_iou"
    greater_is_better: ClassVar[bool] = True

    def __call__(self, model: Any, accelerator: Accelerator) -> tuple[dict[str, float], list[Strip]]:
        """Predict the class of each pixel and compare it with the masks."""
        strips: list[Strip] = []
        number, ignored = model.config.num_labels, model.config.semantic_loss_ignore_index
        confusion = torch.zeros((number, number), dtype=torch.float64)
        for batch in self._my_images(accelerator):
            pixels = torch.cat([example.inputs for example in batch]).to(accelerator.device)
            sizes = [(example.image.height, example.image.width) for example in batch]
            outputs = model(pixel_values=pixels)
            found = self.image_processor.post_process_semantic_segmentation(outputs, target_sizes=sizes)
            for example, classes in zip(batch, found, strict=True):
                truth = torch.from_numpy(np.asarray(example.mask, np.int64))
                confusion += confusion_matrix(truth, classes, number, ignored)
                if example.shown:
                    shades = np.clip(np.asarray(example.mask) * 255 // max(number - 1, 1), 0, 255).astype(np.uint8)
                    soft_map = classes.numpy() / max(number - 1, 1)
                    strips.append(Strip(example.image, Image.fromarray(shades), soft_map))
        return class_measures(accelerator.reduce(confusion.to(accelerator.device), "sum").cpu().numpy()), strips


@dataclass(frozen=True)
class InstanceValidation(Validation):
    """Average precision of objects: TP / (TP + FP + FN), the mean over the images.

    At an intersection over union above 0.5, and the mean over 0.5, 0.55, ... 0.95. The overlays show the true outlines
    and those that were found.
    """

    best_measure: ClassVar[str] = "mean_ap"
    greater_is_better: ClassVar[bool] = True

    average_rotations: bool = False

    def __call__(self, model: Any, accelerator: Accelerator) -> tuple[dict[str, float], list[Strip]]:
        """Find the objects of each image and compare them with its label map."""
        strips: list[Strip] = []
        metrics = CellMetrics(["ap50", "mean_ap"])

        for batch in self._my_images(accelerator):
            for example in batch:
                tiles = example.inputs.to(accelerator.device)
                outputs = predict_tiles(model, tiles, self.batch_size, self.average_rotations)
                size = (example.image.height, example.image.width)
                (found,) = self.image_processor.post_process_instance_segmentation(outputs, target_sizes=[size])
                labels, true = found["segmentation"].numpy(), np.asarray(example.mask)
                metrics.update([labels], [true])
                if example.shown:
                    overlays = [draw_contours(example.image, *one) for one in ((true, GREEN), (labels, MAGENTA))]
                    strips.append(Strip(example.image, *overlays))
        metrics.load_state(accelerator.reduce(metrics.state(accelerator.device), "sum"))
        return metrics.compute(), strips


def predict_tiles(model: Any, tiles: torch.Tensor, batch_size: int, averaged: bool = False) -> SemanticSegmenterOutput:
    """What a U-Net says of the tiles of an image, a few at a time; averaged over eight positions if that is wanted.

    Args:
        model: In evaluation mode.
        tiles: `(tiles, channels, height, width)`, on its device.
        batch_size: How many at a time.
        averaged: See [`average_rotations`].
    """

    def network(part: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = model(pixel_values=part).logits
        return logits

    predict = partial(average_rotations, network) if averaged else network
    return SemanticSegmenterOutput(logits=torch.cat([predict(part) for part in tiles.split(batch_size)]))


def confusion_matrix(truth: torch.Tensor, found: torch.Tensor, number: int, ignored: int) -> torch.Tensor:
    """How many pixels of each true class (rows) were given each class (columns): `(number, number)`, int64.

    Raises:
        ValueError: If the truth has another class, which is not the ignored label.
    """
    counted = truth != ignored
    truth, found = truth[counted], found[counted]
    if truth.numel() and not 0 <= truth.min() <= truth.max() < number:
        wrong = truth[(truth < 0) | (truth >= number)].unique().tolist()
        raise ValueError(
            f"the masks hold the classes {wrong}, but there are {number} (0 to {number - 1}): --num_labels"
        )
    return torch.bincount(truth * number + found, minlength=number * number).reshape(number, number)


def class_measures(confusion: np.ndarray) -> dict[str, float]:
    """Mean IoU over the classes that occur, and pixel accuracy, of a matrix of confusion."""
    right = np.diag(confusion)
    union = confusion.sum(0) + confusion.sum(1) - right
    occurs = union > 0
    accuracy = right.sum() / confusion.sum() if confusion.sum() else 0.0
    mean_iou = (right[occurs] / union[occurs]).mean() if occurs.any() else 0.0
    return {"mean_iou": float(mean_iou), "pixel_accuracy": float(accuracy)}


def pixel_errors(probabilities: np.ndarray, cells: np.ndarray) -> list[float]:
    """Share of wrong pixels at each of `THRESHOLDS`; the arguments are those of `adapted_rand_errors`."""
    return [float(np.mean((probabilities > threshold) != cells)) for threshold in THRESHOLDS]


def adapted_rand_errors(probabilities: np.ndarray, cells: np.ndarray) -> list[float]:
    """Adapted Rand error of the cells above each of `THRESHOLDS`, in [0, 1].

    A mask in which no cell has two pixels, as an empty one, holds no pair to judge by: the error is then 0 if the map
    shows the same pixels as cells, and 1 if it does not.

    Args:
        probabilities: Of a cell, `(H, W)` in [0, 1].
        cells: bool `(H, W)`, the true mask; cells are what connects across pixel sides.
    """
    from skimage.metrics import adapted_rand_error

    true_cells = instances_from_mask(cells)
    if np.bincount(true_cells.ravel())[1:].max(initial=0) < 2:
        return [float(((probabilities > threshold) != cells).any()) for threshold in THRESHOLDS]
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
