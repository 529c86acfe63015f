"""Tests of u2net_hf.training.validation: measures against plain counting, whole images by overlap-tile."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from datasets import Dataset, concatenate_datasets
from PIL import Image
from scipy import ndimage
from tiny_models import tiny_unet_config
from training_helpers import drawn_corpus

from u2net_hf import U2NetImageProcessorPil, UNetForSemanticSegmentation, UNetImageProcessorPil
from u2net_hf.data.corpora import corpus_features
from u2net_hf.training.validation import (
    THRESHOLDS,
    ClassValidation,
    SaliencyValidation,
    SegmentationValidation,
    adapted_rand_errors,
    confusion_matrix,
    pixel_errors,
)


def rand_error_by_counting(true: np.ndarray, predicted: np.ndarray) -> float:
    """1 - F of pairs of pixels, of the pixels that are cells in the truth (Arganda-Carreras et al., 2015)."""
    inside = true > 0
    true, predicted = true[inside], predicted[inside]
    same_true, same_predicted = true[:, None] == true, predicted[:, None] == predicted
    both = (same_true & same_predicted).sum() - len(true)  # a pixel is no pair with itself
    precision, recall = both / (same_predicted.sum() - len(true)), both / (same_true.sum() - len(true))
    return float(1 - 2 * precision * recall / (precision + recall))


def test_rand_errors_equal_counted_pairs() -> None:
    rng = np.random.default_rng(0)
    cells = rng.random((14, 12)) < 0.6
    probabilities = np.clip(cells * 0.6 + 0.5 * rng.random(cells.shape), 0, 1)
    found = adapted_rand_errors(probabilities, cells)
    true_cells = ndimage.label(cells)[0]
    expected = [
        rand_error_by_counting(true_cells, ndimage.label(probabilities > threshold)[0]) for threshold in THRESHOLDS
    ]
    assert found == pytest.approx(expected, abs=1e-9)
    assert len(set(found)) > 2


def test_perfect_and_merged_cells() -> None:
    cells = np.ones((10, 21), bool)
    cells[:, 10] = False
    assert adapted_rand_errors(cells.astype(float), cells) == [0] * len(THRESHOLDS)
    errors = adapted_rand_errors(np.where(cells, 0.95, 0.55), cells)  # one cell up to a threshold of 0.5
    assert min(errors[:5]) > 0
    assert errors[5:] == [0] * 4


def test_masks_without_a_pair_of_pixels_are_scored() -> None:
    """Nothing there and nothing found is no error; all else is one, at the thresholds where it is found."""
    empty, dot = np.zeros((5, 6), bool), np.zeros((5, 6), bool)
    dot[2, 3] = True
    assert adapted_rand_errors(empty.astype(float), empty) == [0] * len(THRESHOLDS)
    assert adapted_rand_errors(np.full((5, 6), 0.45), empty) == [1] * 4 + [0] * 5
    assert adapted_rand_errors(dot.astype(float), dot) == [0] * len(THRESHOLDS)
    assert adapted_rand_errors(empty.astype(float), dot) == [1] * len(THRESHOLDS)


def test_an_empty_mask_counts_as_one_image() -> None:
    """The network calls dark pixels no cell: right for the empty image, one error for each of the others' mistakes."""
    filled, empty = drawn_corpus(2), drawn_corpus(1, empty=True)
    config: Any = tiny_unet_config(num_channels=1)
    processor, accelerator = UNetImageProcessorPil.from_config(config), Accelerator(cpu=True)
    torch.manual_seed(0)
    model = UNetForSemanticSegmentation(config).eval()
    with torch.no_grad():
        both, some, none = (
            SegmentationValidation(corpus, processor)(model, accelerator)[0]
            for corpus in (concatenate_datasets([filled, empty]), filled, empty)
        )
    for name in both:
        if not name.startswith("min"):
            assert both[name] == pytest.approx((2 * some[name] + none[name]) / 3)
    assert none["rand_error"] in (0, 1)


def test_class_measures_equal_plain_counting() -> None:
    """Void is not counted, a class that is nowhere is no part of the mean; written down class by class."""
    rng = np.random.default_rng(0)
    truths, founds = rng.choice([0, 1, 2, 4, 255], (3, 9, 11)), rng.choice([0, 1, 2, 4], (3, 9, 11))
    columns: dict[str, list[Any]] = {"image": [], "mask": [], "name": []}
    for number, (truth, found) in enumerate(zip(truths, founds, strict=True)):
        columns["image"].append(Image.fromarray(np.repeat(found[..., None], 3, axis=-1).astype(np.uint8)))
        columns["mask"].append(Image.fromarray(truth.astype(np.uint8)))
        columns["name"].append(str(number))
    corpus = Dataset.from_dict(columns, features=corpus_features(class_labels=True))
    options: dict[str, Any] = {"do_resize": False, "do_normalize": False, "do_rescale": False}
    processor: Any = U2NetImageProcessorPil(do_scale_by_max=False, **options)

    class Model:
        config = SimpleNamespace(num_labels=6, semantic_loss_ignore_index=255)

        def __call__(self, pixel_values: torch.Tensor) -> Any:
            classes = pixel_values[:, 0].round().long()
            return SimpleNamespace(logits=torch.nn.functional.one_hot(classes, 6).permute(0, 3, 1, 2).float())

    measures, strips = ClassValidation(corpus, processor, batch_size=2)(Model(), Accelerator(cpu=True))
    counted = truths != 255
    overlaps = []
    for number in (0, 1, 2, 4):
        inside, predicted = (truths == number) & counted, (founds == number) & counted
        overlaps.append((inside & predicted).sum() / (inside | predicted).sum())
    assert measures["mean_iou"] == pytest.approx(np.mean(overlaps))
    assert measures["pixel_accuracy"] == pytest.approx((truths == founds)[counted].mean())
    assert len(strips) == 3


def test_classes_out_of_range_are_named() -> None:
    truth = torch.tensor([[0, 3, 255, 7]])
    with pytest.raises(ValueError, match=r"classes \[3, 7\], but there are 3 \(0 to 2\): --num_labels"):
        confusion_matrix(truth, torch.zeros_like(truth), 3, ignored=255)


def test_pixel_errors() -> None:
    probabilities, cells = np.array([[0.05, 0.35], [0.75, 0.95]]), np.array([[False, True], [False, True]])
    assert pixel_errors(probabilities, cells) == [0.25] * 3 + [0.5] * 4 + [0.25] * 2


class Brightness:
    """Stands for a network: the logit of a pixel is its first channel."""

    def __call__(self, pixel_values: torch.Tensor) -> Any:
        logits = pixel_values[:, :1]

        class Output:
            pass

        output = Output()
        output.logits = logits  # type: ignore[attr-defined]
        return output


def test_saliency_validation_of_a_known_map() -> None:
    """Bright rectangles are their own map: F is 1, and the error is that of the sigmoid, worked out by hand."""
    corpus = drawn_corpus(5)
    options: dict[str, Any] = {"do_resize": False, "image_mean": [0.5] * 3, "image_std": [0.01] * 3}
    processor = U2NetImageProcessorPil(**options)
    measures, strips = SaliencyValidation(corpus, processor, batch_size=2)(Brightness(), Accelerator(cpu=True))
    errors = []
    for record in corpus:
        image, mask = np.asarray(record["image"]) / np.asarray(record["image"]).max(), np.asarray(record["mask"]) > 128
        soft_map = 1 / (1 + np.exp(-(image[..., 0] - 0.5) / 0.01))
        errors.append(np.abs(soft_map - mask).mean())
    assert measures["mae"] == pytest.approx(np.mean(errors), abs=1e-6)
    assert measures["max_f"] > 0.9
    assert [strip.image.size for strip in strips] == [(24, 24)] * 5


def test_segmentation_validation_tiles_whole_images() -> None:
    """Tiled validation of a network with valid convolutions measures what the untiled network predicts."""
    rng = np.random.default_rng(1)
    columns: dict[str, list[Any]] = {"image": [], "mask": [], "name": []}
    for index, (height, width) in enumerate([(50, 70), (64, 40), (33, 90)]):
        columns["image"].append(Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)))
        columns["mask"].append(Image.fromarray(rng.random((height, width)) < 0.7))
        columns["name"].append(str(index))
    corpus = Dataset.from_dict(columns, features=corpus_features())
    torch.manual_seed(0)
    config: Any = tiny_unet_config(num_channels=1, padding="valid", use_batch_norm=False)
    model = UNetForSemanticSegmentation(config).eval()
    results = []
    for tile_size in (None, 60):
        processor = UNetImageProcessorPil.from_config(config, tile_size=tile_size)
        with torch.no_grad():
            measures, strips = SegmentationValidation(corpus, processor, batch_size=3)(model, Accelerator(cpu=True))
        assert [strip.map.shape for strip in strips] == [(50, 70), (64, 40), (33, 90)]
        wrong = [((strip.map > 0.5) != (np.asarray(strip.mask) > 128)).mean() for strip in strips]
        assert measures["pixel_error"] == pytest.approx(np.mean(wrong))
        assert measures["min_rand_error"] <= measures["rand_error"]
        assert measures["min_pixel_error"] <= measures["pixel_error"]
        results.append(measures)
    assert results[0] == pytest.approx(results[1], abs=1e-3)
