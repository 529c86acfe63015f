"""Tests of training on label maps: what is sampled, how it is measured, and that it can be interrupted."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from datasets import Dataset
from drawn_discs import draw_cells, draw_discs
from PIL import Image
from safetensors.torch import load_file
from tiny_models import tiny_unet_config
from training_helpers import run_in_processes
from transformers.modeling_outputs import SemanticSegmenterOutput

from u2net_hf import UNetForSemanticSegmentation, UNetImageProcessorPil
from u2net_hf.data.corpora import load_corpus
from u2net_hf.data.instances import depth_levels
from u2net_hf.data.recipes import cells_recipe
from u2net_hf.data.transforms import Compose
from u2net_hf.data.weight_map import weight_map
from u2net_hf.training import loop as training_module
from u2net_hf.training.arguments import TrainingArguments
from u2net_hf.training.loader import InstanceRecords, MakeInstanceSample
from u2net_hf.training.loop import Training
from u2net_hf.training.pictures import draw_contours
from u2net_hf.training.validation import InstanceValidation

PROCESSOR = UNetImageProcessorPil(num_channels=1, depth=2, percentiles=(1, 99.8), instances={"smoothing": 0})


def cells(seed: int, side: int = 48) -> np.ndarray:
    rng = np.random.default_rng(seed)
    discs = [(*rng.uniform(0, side, 2), rng.uniform(4, 9)) for _ in range(5)]
    return draw_discs((side, side + 8), discs)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus whose label maps have numbers above 255."""
    root = tmp_path_factory.mktemp("cells")
    for split, seeds in (("train", range(6)), ("val", range(6, 9))):
        for seed in seeds:
            instances = cells(seed)
            for name, picture in (
                ("images", draw_cells(instances, seed, inverted=seed % 2 == 1)),
                ("instances", Image.fromarray((1000 * instances).astype(np.uint16))),
            ):
                (root / split / name).mkdir(parents=True, exist_ok=True)
                picture.save(root / split / name / f"{seed}.png")
    return root


@pytest.fixture(scope="module")
def corpus(folder: Path) -> Dataset:
    return load_corpus(folder, "train", label_maps=True)


def test_label_maps_keep_their_numbers(corpus: Dataset) -> None:
    assert len(corpus) == 6
    for seed, record in enumerate(corpus):
        assert record["mask"].mode == "I"
        np.testing.assert_array_equal(record["mask"], 1000 * cells(seed))


def test_records_are_normalized_images_with_targets(corpus: Dataset) -> None:
    records = InstanceRecords(corpus, PROCESSOR, num_levels=3, rim=1.5, gap_weight=4.0, gap_width=2.0)
    for seed, record in enumerate(records.in_memory(num_workers=0)):
        instances = cells(seed)
        np.testing.assert_array_equal(record["mask"], depth_levels(instances, 3, 1.5))
        expected = weight_map(instances, 4.0, 2.0, class_weights=(1, 1), within_cells=True)
        np.testing.assert_array_equal(record["weights"], expected)
        gray = np.asarray(corpus[seed]["image"].convert("L"), float)
        low, high = np.percentile(gray, (1, 99.8))
        stretched = 255 * np.clip((gray - low) / (high - low), 0, 1)
        np.testing.assert_allclose(np.asarray(record["image"]), np.repeat(stretched[..., None], 3, 2), atol=2)


def test_sample_without_transforms_is_what_the_network_sees_later(corpus: Dataset) -> None:
    """The image comes out as the processor gives it for the whole image, but for the rounding to 8 bits."""
    record = InstanceRecords(corpus, PROCESSOR, num_levels=3)[0]
    sample = MakeInstanceSample(PROCESSOR, Compose(()), seed=0)(record, 0, 0)
    whole = PROCESSOR(corpus[0]["image"], return_tensors="pt")["pixel_values"][0]
    np.testing.assert_allclose(sample["pixel_values"], whole, atol=0.01)
    np.testing.assert_array_equal(sample["labels"], depth_levels(cells(0), 3))
    assert sample["loss_weights"].dtype == torch.float32


def test_recipe_moves_image_and_levels_alike_and_finds_objects() -> None:
    """One small bright square in a large dark image: it is in most samples, and the levels lie on it."""
    mask = np.zeros((400, 400), np.int32)
    mask[300:330, 40:70] = 3
    image = Image.fromarray((mask * 80).astype(np.uint8)).convert("RGB")
    geometry = Compose(cells_recipe(96, elastic_std=2).transforms[:1])
    hits, sizes = 0, []
    for seed in range(60):
        moved, labels = geometry((image, Image.fromarray(mask)), np.random.default_rng(seed))
        inside = np.asarray(labels) == 3
        hits += inside.any()
        np.testing.assert_array_equal(np.unique(labels), [0, 3] if inside.any() else [0])
        bright = np.asarray(moved)[..., 0] > 120
        assert (bright ^ inside).sum() <= 0.12 * max(inside.sum(), 1) + 8
        if inside.any() and not (inside[0].any() or inside[-1].any() or inside[:, 0].any() or inside[:, -1].any()):
            sizes.append(np.sqrt(inside.sum()) / 30)
    plain = (96 / 304) * (96 / 304)  # the share of random squares that hold any of it is about a quarter
    assert hits / 60 > 2 * plain
    assert min(sizes) < 0.9
    assert max(sizes) > 1.3
    assert min(sizes) > 0.5
    assert max(sizes) < 2


def test_contours_lie_within_the_objects() -> None:
    instances = cells(1)
    drawn = np.asarray(draw_contours(draw_cells(instances), instances, (0, 255, 0)))
    green = (drawn == (0, 255, 0)).all(axis=2)
    assert green.any()
    assert not green[instances == 0].any()


class Knowing(torch.nn.Module):
    """Stands for a network: says the levels of the image whose pixels it knows."""

    def __init__(self, answers: dict[float, torch.Tensor]) -> None:
        super().__init__()
        self.answers = answers

    def forward(self, pixel_values: torch.Tensor) -> Any:
        return SemanticSegmenterOutput(
            logits=torch.stack([self.answers[round(one.sum().item(), 1)] for one in pixel_values])
        )


def test_validation_is_the_average_precision(folder: Path, tmp_path: Path) -> None:
    """A network that knows all cells but those of the first image: two thirds of the images are right."""
    corpus: Any = load_corpus(folder, "val", label_maps=True)
    answers = {}
    for number, record in enumerate(corpus):
        levels = depth_levels(np.asarray(record["mask"]), 3) * (number > 0)
        pixels = PROCESSOR(record["image"], return_tensors="pt")["pixel_values"][0]
        one_hot = np.arange(4)[:, None, None] == levels
        answers[round(pixels.sum().item(), 1)] = torch.from_numpy(20 * one_hot.astype(np.float32))
    measures, strips = InstanceValidation(corpus, PROCESSOR)(Knowing(answers), Accelerator(cpu=True))
    assert measures["ap50"] == pytest.approx(2 / 3)
    assert 0.5 < measures["mean_ap"] <= 2 / 3
    assert len(strips) == 3


def tiny(output_dir: Path, folder: Path, **options: Any) -> Training:
    training_module.save_curves = lambda log, path: None
    defaults: dict[str, Any] = {"per_device_train_batch_size": 2, "max_train_steps": 4, "checkpointing_steps": 2}
    arguments = TrainingArguments(
        dataset_name="drawn", output_dir=str(output_dir), seed=3, resolution=32, **(defaults | options)
    )
    torch.manual_seed(0)
    model = UNetForSemanticSegmentation(tiny_unet_config(num_channels=1, num_labels=4, dropout=0.2))
    processor = UNetImageProcessorPil.from_config(model.config, percentiles=(1, 99.8), instances={})
    records = InstanceRecords(load_corpus(folder, "train", label_maps=True), processor, 3).in_memory(0)
    make_sample = MakeInstanceSample(processor, cells_recipe(32), arguments.seed)
    validation = InstanceValidation(load_corpus(folder, "val", label_maps=True), processor)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    return Training(arguments, model, processor, optimizer, records, make_sample, validation)


def test_goes_on_to_the_same_bits(tmp_path: Path, folder: Path) -> None:
    log = tmp_path / "log"
    options: dict[str, Any] = {"ema_decay": 0.9, "channels_last": True}
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run_in_processes(lambda: tiny(whole, folder, **options).run(), log) == [0], log.read_text()
    first = {"max_train_steps": 2, **options}
    assert run_in_processes(lambda: tiny(parts, folder, **first).run(), log) == [0], log.read_text()
    second = {"resume_from_checkpoint": "latest", **options}
    assert run_in_processes(lambda: tiny(parts, folder, **second).run(), log) == [0], log.read_text()
    for file in ("model.safetensors", "step_4/model.safetensors", "step_4/ema.safetensors"):
        left, right = load_file(whole / file), load_file(parts / file)
        assert all(torch.equal(left[name], right[name]) for name in left)
    assert (whole / "validation" / "step_4.png").is_file()
