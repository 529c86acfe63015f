"""Tests of u2net_hf.training.loader: who gets which sample, and what is in it."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from PIL import Image
from scipy import ndimage
from training_helpers import drawn_corpus

from u2net_hf import U2NetImageProcessorPil, UNetImageProcessorPil
from u2net_hf.data.corpora import corpus_features
from u2net_hf.data.recipes import authors_recipe, unet_recipe
from u2net_hf.data.transforms import Compose
from u2net_hf.training.loader import (
    MakeSaliencySample,
    MakeSegmentationSample,
    Share,
    make_loader,
)


def tell(record: Mapping[str, Any], epoch: int, index: int) -> dict[str, Any]:
    """Stands for the transforms: says what it was called with."""
    return {"name": record["name"], "epoch": epoch, "index": index, "mean": np.asarray(record["image"]).mean()}


def drawn(corpus: Any, share: Share, seed: int = 1, **options: Any) -> list[list[tuple]]:
    """The batches of a loader, each a list of (name, epoch, index, mean)."""
    loader = make_loader(corpus, tell, share, seed, **options)
    return [
        list(zip(batch["name"], *(batch[name].tolist() for name in ("epoch", "index", "mean")), strict=True))
        for batch in loader
    ]


def flat(batches: Iterable[list]) -> list:
    return [sample for batch in batches for sample in batch]


@pytest.fixture(scope="module")
def corpus() -> Dataset:
    return drawn_corpus(7)


def test_every_sample_once_in_each_epoch_in_another_order(corpus: Dataset) -> None:
    samples = flat(drawn(corpus, Share(first=0, last=7, batch_size=3)))
    epochs = [samples[start : start + 7] for start in (0, 7, 14)]
    orders = [[name for name, *_ in epoch] for epoch in epochs]
    assert all(sorted(order) == list("0123456") for order in orders)
    assert len(set(map(tuple, orders))) == 3
    assert [{epoch for _, epoch, *_ in part} for part in epochs] == [{0}, {1}, {2}]
    assert all(name == str(index) for name, _, index, _ in samples)
    assert samples != flat(drawn(corpus, Share(first=0, last=7, batch_size=3), seed=2))


def test_two_processes_together_read_the_doubled_batches_of_one(corpus: Dataset) -> None:
    one = drawn(corpus, Share(first=0, last=6, batch_size=4))
    two = [drawn(corpus, Share(0, 6, batch_size=2, process=process, num_processes=2)) for process in (0, 1)]
    assert one == [left + right for left, right in zip(*two, strict=True)]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_later_start_gives_the_same_batches(corpus: Dataset, num_workers: int) -> None:
    whole = drawn(corpus, Share(first=0, last=9, batch_size=2))
    assert drawn(corpus, Share(first=5, last=9, batch_size=2), num_workers=num_workers) == whole[5:]


@pytest.mark.parametrize(("num_processes", "num_workers"), [(1, 0), (1, 2), (2, 0), (2, 2)])
def test_streams_cover_the_corpus_and_start_later_alike(corpus: Dataset, num_processes: int, num_workers: int) -> None:
    stream, options = corpus.to_iterable_dataset(num_shards=5), {"num_workers": num_workers, "shuffle_buffer_size": 3}
    all_samples = []
    for process in range(num_processes):
        whole = drawn(stream, Share(0, 14, 2, process, num_processes), **options)
        assert len(whole) == 14
        for first in (3, 6):
            assert drawn(stream, Share(first, 14, 2, process, num_processes), **options) == whole[first:]
        all_samples += flat(whole)
    seen = Counter((name, epoch) for name, epoch, *_ in all_samples)
    assert set(seen.values()) == {1}  # no process or worker repeats a sample of another one
    assert {name for name, epoch in seen if epoch == 0} == set("0123456")
    assert len({(epoch, index) for _, epoch, index, _ in all_samples}) == len(all_samples)
    means = {str(index): np.asarray(record["image"]).mean() for index, record in enumerate(corpus)}
    assert all(means[name] == mean for name, _, _, mean in all_samples)


def test_streams_need_a_sample_for_each_part(corpus: Dataset) -> None:
    stream = corpus.select(range(1)).to_iterable_dataset()
    with pytest.raises(ValueError, match="too few samples for 2 parts"):
        drawn(stream, Share(0, 4, 1, process=1, num_processes=2))


def test_loaders_leave_the_global_generator_alone(corpus: Dataset) -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    drawn(corpus, Share(first=0, last=2, batch_size=2))
    assert torch.equal(torch.rand(2), expected)


def test_saliency_sample() -> None:
    """Without random transforms: the image as its processor gives it, the mask in [0, 1] with its soft edges."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8))
    mask = Image.fromarray(np.array([[0, 51, 255, 1, 1]] * 6, np.uint8))
    processor = U2NetImageProcessorPil(size={"height": 4, "width": 4})
    make = MakeSaliencySample(processor, Compose(()), seed=0)
    sample = make({"image": image, "mask": mask, "name": "a"}, 0, 0)
    pixels = np.asarray(image) / np.asarray(image).max()
    expected = (pixels - processor.image_mean) / processor.image_std
    np.testing.assert_allclose(sample["pixel_values"].permute(1, 2, 0), expected, atol=1e-6)
    np.testing.assert_allclose(sample["labels"][0], np.array([0, 0.2, 1, 1 / 255, 1 / 255]), atol=1e-7)
    assert sample["name"] == "a"


def test_samples_depend_on_seed_epoch_and_index_only() -> None:
    record = drawn_corpus(1)[0]
    make = MakeSaliencySample(U2NetImageProcessorPil(), authors_recipe(20), seed=4)
    one, again = make(record, 2, 3), make(record, 2, 3)
    assert torch.equal(one["pixel_values"], again["pixel_values"])
    others = [make(record, 2, index) for index in range(4, 12)]
    assert any(not torch.equal(one["pixel_values"], other["pixel_values"]) for other in others)
    assert one["pixel_values"].shape == (3, 18, 18)
    assert one["labels"].shape == (18, 18)


def test_dark_soft_edges_stay_dark() -> None:
    """A crop with no value above 1 of 255 is background, not a mask of 0 and 1."""
    mask = np.zeros((20, 20), np.uint8)
    mask[:, :10], mask[:, 19] = 1, 255
    record = {"image": Image.new("RGB", (20, 20)), "mask": Image.fromarray(mask), "name": "a"}
    crop = Compose((lambda pictures, rng: tuple(picture.crop((0, 0, 10, 20)) for picture in pictures),))
    sample = MakeSaliencySample(U2NetImageProcessorPil(), crop, seed=0)(record, 0, 0)
    assert sample["labels"].max() == pytest.approx(1 / 255)


def test_segmentation_sample() -> None:
    """Without random transforms: labels 0 and 1, and the weights of the formula, from plain distance transforms."""
    cells = np.zeros((30, 40), bool)
    cells[5:25, 4:18] = cells[8:20, 21:36] = True
    record = {
        "image": Image.new("L", (40, 30), 128).convert("RGB"),
        "mask": Image.fromarray(cells).convert("L"),
        "name": "a",
    }
    options: dict[str, Any] = {"num_channels": 1, "padding": "valid", "depth": 2, "tile_size": 68}
    processor = UNetImageProcessorPil(**options)
    make = MakeSegmentationSample(processor, Compose(()), seed=0, gap_weight=7, gap_width=3)
    sample = make(record, 0, 0)
    assert sample["pixel_values"].shape == (1, 30, 40)  # neither cut nor mirrored
    assert torch.allclose(sample["pixel_values"], torch.tensor(128 / 255 * 2 - 1), atol=1e-6)
    assert torch.equal(sample["labels"], torch.from_numpy(cells.astype(np.int64)))
    left, right = cells & (np.arange(40) < 19), cells & (np.arange(40) > 19)
    distances = ndimage.distance_transform_edt(~left) + ndimage.distance_transform_edt(~right)
    share = cells.mean()
    expected = np.where(cells, 0.5 / share, 0.5 / (1 - share) + 7 * np.exp(-(distances**2) / 18))
    np.testing.assert_allclose(sample["loss_weights"], expected, rtol=1e-5)


def test_segmentation_tiles_have_the_size_of_the_recipe() -> None:
    record = drawn_corpus(1, side=50)[0]
    gray: dict[str, Any] = {"num_channels": 1}
    make = MakeSegmentationSample(UNetImageProcessorPil(**gray), unet_recipe(36), seed=0)
    sample = make(record, 0, 0)
    assert sample["pixel_values"].shape == (1, 36, 36)
    assert sample["labels"].shape == sample["loss_weights"].shape == (36, 36)
    assert set(sample["labels"].unique().tolist()) <= {0, 1}
    assert sample["loss_weights"].min() > 0


def test_unreadable_pictures_are_named(tmp_path: Any) -> None:
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    drawn_corpus(1)[0]["image"].save(good)
    bad.write_bytes(good.read_bytes()[:-200])
    corpus = Dataset.from_dict({"image": [str(bad)], "mask": [str(good)], "name": ["bad"]}, features=corpus_features())
    with pytest.raises(ValueError, match=r"Cannot decode the picture .*bad\.png"):
        drawn(corpus, Share(0, 1, 1))
