"""What a training reads: samples made of a corpus, dealt to processes and workers in an order that never ends.

The order of the data is a pure function of the seed and of a position, the transforms of a sample one of (seed, epoch,
index). So a training that goes on after an interruption begins at a position; there is no state to save.
"""

from __future__ import annotations

import math
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import count, islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch.utils import data

from ..data.instances import depth_levels
from ..data.pixels import OBJECT_ABOVE
from ..data.transforms import Transform, sample_generator
from ..data.weight_map import instances_from_mask, weight_map

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

Sample = dict[str, Any]

MakeSample = Callable[[Mapping[str, Any], int, int], Sample]
"""`(record, epoch, index) -> sample`: a record of a corpus becomes the arguments of the model, and its name."""


@dataclass(frozen=True)
class MakeSaliencySample:
    """Make `pixel_values` and `labels` for U²-Net: soft masks in [0, 1], or int64 classes where masks hold classes."""

    image_processor: Any
    recipe: Transform
    seed: int

    def __call__(self, record: Mapping[str, Any], epoch: int, index: int) -> Sample:
        """Transform image and mask, then scale and normalize the image."""
        rng = sample_generator(self.seed, epoch, index)
        image, mask = self.recipe((record["image"], record["mask"]), rng)
        pixels = self.image_processor(image, do_resize=False, return_tensors="pt")["pixel_values"][0]
        classes = mask.mode == "I"
        labels = np.asarray(mask, dtype=np.int64) if classes else np.asarray(mask, dtype=np.float32) / 255
        return {"pixel_values": pixels, "labels": torch.from_numpy(labels), "name": record["name"]}


@dataclass(frozen=True)
class MakeSegmentationSample:
    """Make `pixel_values`, `labels` (0 = background, 1 = cell) and `loss_weights` for U-Net.

    The weight map is computed from the whole mask and then transformed with it. `gap_weight` is w0 of the paper's
    equation 2, `gap_width` its sigma in pixels; both classes weigh the same in sum.
    """

    image_processor: Any
    recipe: Transform
    seed: int
    gap_weight: float = 10.0
    gap_width: float = 5.0

    def __call__(self, record: Mapping[str, Any], epoch: int, index: int) -> Sample:
        """Transform image, mask and weight map, then scale and normalize the image."""
        rng = sample_generator(self.seed, epoch, index)
        cells = np.asarray(record["mask"]) > OBJECT_ABOVE
        weights = _weight_map(cells.tobytes(), cells.shape, self.gap_weight, self.gap_width)
        image, mask, weights = self.recipe((record["image"], record["mask"], weights), rng)
        # A training tile is an input of the network as it is: no mirrored border, no cutting.
        inputs = self.image_processor(image, padding="same", tile_size=None, return_tensors="pt")
        return {
            "pixel_values": inputs["pixel_values"][0],
            "labels": torch.from_numpy((np.asarray(mask) > OBJECT_ABOVE).astype(np.int64)),
            "loss_weights": torch.from_numpy(np.array(weights, dtype=np.float32)),
            "name": record["name"],
        }


@lru_cache(maxsize=128)
def _weight_map(cells: bytes, shape: tuple[int, ...], gap_weight: float, gap_width: float) -> Image.Image:
    """The weight map of a mask; it takes longer than all else in a sample, and small corpora come round again."""
    instances = instances_from_mask(np.frombuffer(cells, bool).reshape(shape))
    return Image.fromarray(weight_map(instances, w0=gap_weight, sigma=gap_width))


@dataclass(frozen=True)
class MakeInstanceSample:
    """Make `pixel_values`, `labels` (levels of depth) and `loss_weights` for a U-Net that tells objects apart.

    Its records are those of `InstanceRecords`.
    """

    image_processor: Any
    recipe: Transform
    seed: int

    def __call__(self, record: Mapping[str, Any], epoch: int, index: int) -> Sample:
        """Transform image, levels and weight map, then scale the image."""
        rng = sample_generator(self.seed, epoch, index)
        image, levels, weights = self.recipe((record["image"], record["mask"], record["weights"]), rng)
        # The record's intensities are normalized already, as those of the whole image.
        inputs = self.image_processor(
            image, percentiles=None, padding="same", tile_size=None, do_resize=False, return_tensors="pt"
        )
        return {
            "pixel_values": inputs["pixel_values"][0],
            "labels": torch.from_numpy(np.asarray(levels).astype(np.uint8)),
            "loss_weights": torch.from_numpy(np.array(weights, dtype=np.float32)),
            "name": record["name"],
        }


@dataclass(frozen=True)
class InstanceRecords(data.Dataset):
    """A corpus of label maps as what `MakeInstanceSample` takes: what can be done once to a whole image is done.

    The image's intensities are normalized by the processor (RGB, 8 bits), the label map becomes `depth_levels`, and
    the weight map is computed: everywhere 1, and in and between objects up to `gap_weight` more where another one is
    within about `gap_width` pixels.
    """

    corpus: Any
    image_processor: Any
    num_levels: int
    rim: float = 0.0
    gap_weight: float = 5.0
    gap_width: float = 3.0

    def __len__(self) -> int:
        return len(self.corpus)

    def __getitem__(self, index: int) -> Sample:
        record = self.corpus[index]
        instances = np.asarray(record["mask"])
        weights = weight_map(instances, self.gap_weight, self.gap_width, class_weights=(1, 1), within_cells=True)
        inputs = self.image_processor(record["image"], do_normalize=False, padding="same", tile_size=None)
        pixels = np.rint(inputs["pixel_values"][0] * 255).astype(np.uint8)
        return {
            "image": Image.fromarray(np.broadcast_to(pixels, (3, *pixels.shape[1:])).transpose(1, 2, 0).copy()),
            "mask": Image.fromarray(depth_levels(instances, self.num_levels, self.rim).astype(np.int32)),
            "weights": Image.fromarray(weights),
            "name": record["name"],
        }

    def in_memory(self, num_workers: int) -> Sequence[Sample]:
        """All of them, made by so many processes; about 11 bytes a pixel."""
        return list(data.DataLoader(self, batch_size=None, num_workers=num_workers, generator=torch.Generator()))


@dataclass(frozen=True)
class Mixture:
    """Corpora of which samples are drawn in proportion to weights, evenly mixed.

    Args:
        corpora: What to mix, each with a length.
        weights: How often each is drawn, whatever its size: 1 and 3 draw every fourth sample from the first.

    Raises:
        ValueError: If there is not one weight above 0 for each corpus.
    """

    corpora: Sequence[Any]
    weights: Sequence[float]

    def __post_init__(self) -> None:
        """Check the weights."""
        if len(self.weights) != len(self.corpora):
            raise ValueError(f"{len(self.corpora)} corpora need as many weights, got {len(self.weights)}.")
        if not all(weight > 0 and math.isfinite(weight) for weight in self.weights):
            raise ValueError(f"the weights of corpora must be above 0, got {', '.join(map(str, self.weights))}.")

    def __len__(self) -> int:
        return sum(map(len, self.corpora))

    def place(self, position: int) -> tuple[int, int]:
        """Which corpus the sample at a position of the endless order comes from, and its position in that one's order.

        The first corpus gets its share of the positions, evenly spread; the second its share of the others, and so on.
        """
        for number, weight in enumerate(self.weights[:-1]):
            share = weight / sum(self.weights[number:])
            before = math.floor(position * share)
            if math.floor((position + 1) * share) > before:
                return number, before
            position -= before
        return len(self.weights) - 1, position


@dataclass(frozen=True)
class Share:
    """The batches that one process makes: `first` to `last` (exclusive), of `batch_size` samples each."""

    first: int
    last: int
    batch_size: int
    process: int = 0
    num_processes: int = 1

    def __iter__(self) -> Iterator[list[int]]:
        """The positions of each batch in the order that all processes share."""
        for number in range(self.first, self.last):
            start = (number * self.num_processes + self.process) * self.batch_size
            yield list(range(start, start + self.batch_size))


def make_loader(
    corpus: Dataset | IterableDataset | Mixture,
    make_sample: MakeSample,
    share: Share,
    seed: int,
    num_workers: int = 0,
    shuffle_buffer_size: int = 1000,
    pin_memory: bool = False,
) -> data.DataLoader:
    """Load a process's share of the endless order of a corpus.

    The batches `number` of all processes together are the samples from `number * batch_size * num_processes` on, so
    two processes see what one sees with the doubled batch. Streamed corpora are dealt by shards instead; their share
    depends on the numbers of processes and workers, and beginning later means to read and skip what came before
    (pictures are not decoded for that).

    Args:
        corpus: From `load_corpus`, or several as a [`Mixture`].
        make_sample: Makes the samples.
        share: Which batches.
        seed: Seed of the order.
        num_workers: Processes that make samples; 0 for this one.
        shuffle_buffer_size: Samples among which a streamed corpus is shuffled.
        pin_memory: Whether to put batches where GPUs fetch them faster.
    """
    options: dict[str, Any] = {"num_workers": num_workers, "pin_memory": pin_memory, "worker_init_fn": ignore_signals}
    # Without a generator of its own a loader draws from the global one, which dropout draws from too.
    options["generator"] = torch.Generator()
    if hasattr(corpus, "__len__"):
        samples = EndlessSamples(corpus, make_sample, seed)
        return data.DataLoader(samples, batch_sampler=share, **options)
    stream = EndlessStream(corpus, make_sample, share, seed, shuffle_buffer_size)
    return data.DataLoader(stream, batch_size=share.batch_size, **options)


class EndlessSamples(data.Dataset):
    """A corpus, shuffled anew for each epoch, as a sequence without end."""

    def __init__(self, corpus: Any, make_sample: MakeSample, seed: int) -> None:
        self.mixture = corpus if isinstance(corpus, Mixture) else Mixture([corpus], [1.0])
        self.make_sample, self.seed = make_sample, seed
        self._orders: dict[int, tuple[int, np.ndarray]] = {}

    def __getitem__(self, position: int) -> Sample:
        number, position = self.mixture.place(position)
        corpus = self.mixture.corpora[number]
        epoch, place = divmod(position, len(corpus))
        index = int(self._order(number, epoch)[place])
        before = sum(map(len, self.mixture.corpora[:number]))
        return self.make_sample(corpus[index], epoch, before + index)

    def _order(self, number: int, epoch: int) -> np.ndarray:
        """The order of a corpus in an epoch."""
        if self._orders.get(number, (-1,))[0] != epoch:
            # The fourth number sets this generator apart from those of the samples.
            generator = np.random.default_rng((self.seed, epoch, number, 1))
            self._orders[number] = epoch, generator.permutation(len(self.mixture.corpora[number]))
        return self._orders[number][1]


class EndlessStream(data.IterableDataset):
    """A streamed corpus as the samples of one process, and within it of one worker, without end.

    Batch `number` of a process comes from its stream `number % workers`; loaders ask worker 0 first, whichever the
    first batch is, so after a resume the streams move from worker to worker.
    """

    def __init__(self, corpus: Any, make_sample: MakeSample, share: Share, seed: int, buffer_size: int) -> None:
        self.features = corpus.features
        self.corpus = corpus.decode(False).shuffle(seed=seed, buffer_size=buffer_size)
        self.make_sample, self.share = make_sample, share

    def __iter__(self) -> Iterator[Sample]:
        share, worker = self.share, data.get_worker_info()
        workers = worker.num_workers if worker else 1
        stream = (share.first + (worker.id if worker else 0)) % workers
        part, parts = share.process * workers + stream, share.num_processes * workers
        batches_before = len(range(stream, share.first, workers))
        batches = len(range(stream, share.last, workers)) - batches_before
        records = self._records(part, parts)
        for epoch, place, record in islice(
            records, batches_before * share.batch_size, (batches_before + batches) * share.batch_size
        ):
            yield self.make_sample(self.features.decode_example(record), epoch, place * parts + part)

    def _records(self, part: int, parts: int) -> Iterator[tuple[int, int, Sample]]:
        """Epoch, place in it and undecoded record, for ever."""
        from datasets.distributed import split_dataset_by_node

        for epoch in count():
            self.corpus.set_epoch(epoch)
            place = -1
            # `iter`, unlike iterating itself, does not divide the corpus among workers once more.
            for place, record in enumerate(split_dataset_by_node(self.corpus, part, parts).iter(1)):
                yield epoch, place, {name: column[0] for name, column in record.items()}
            if place < 0:
                raise ValueError(
                    f"The streamed corpus has too few samples for {parts} parts (processes times workers): one part "
                    "is empty. Use fewer, or do not stream."
                )


def ignore_signals(worker: int) -> None:
    """Let only the training process react: it still needs its workers for the step that it is in."""
    for number in (signal.SIGTERM, signal.SIGINT):  # a terminal sends Ctrl-C to all processes
        signal.signal(number, signal.SIG_IGN)
