"""Score a model, or a folder of saliency maps, on corpora of photos with masks.

Maps are scored as the 8-bit pictures that `save_maps` writes, at the size of their masks: a folder of saved maps gets
the same numbers as the model that made them. With several processes each takes every n-th image, and sums are added.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from ..engines.predict import batches, predict_batch
from ..images.files import find_images, mask_image, open_image, save_image
from ..sod_metrics import Pair, SODMetrics, mae

if TYPE_CHECKING:
    from accelerate import Accelerator
    from datasets import Dataset

    from ..engines.interface import Engine

Row = Mapping[str, Any]
MapSource = Callable[[Iterable[Sequence[Row]]], Iterator[tuple[Row, Image.Image]]]
"""From batches of a corpus's rows to each row with its saliency map, mode "L", of its mask's size; in order."""


@dataclass(frozen=True)
class ModelMaps:
    """The maps that a model predicts.

    Args:
        engine: The model, as from [`u2net_hf.engines.load_engine`].
        do_min_max: Whether to stretch each map to [0, 1], as the authors do.
    """

    engine: Engine
    do_min_max: bool = False

    def __call__(self, batches: Iterable[Sequence[Row]]) -> Iterator[tuple[Row, Image.Image]]:
        """Predict the maps of the rows of each batch."""
        return chain.from_iterable(self.engine.map(self._predict, batches))

    def _predict(self, rows: Sequence[Row]) -> list[tuple[Row, Image.Image]]:
        sizes = [(row["mask"].height, row["mask"].width) for row in rows]
        maps = predict_batch([row["image"] for row in rows], self.engine, self.do_min_max, sizes)
        return [(row, mask_image(saliency)) for row, saliency in zip(rows, maps, strict=True)]

    @property
    def variant(self) -> dict[str, Any]:
        """How the maps are made, for the results."""
        return {**self.engine.variant, "do_min_max": self.do_min_max}


@dataclass(frozen=True)
class FolderMaps:
    """Maps that lie in a folder, under the names of their photos.

    Args:
        folder: The folder; a map is found by the name of its photo without suffix, in the same sub-folder or in none.
    """

    folder: Path
    variant = {"maps": "from files"}

    @cached_property
    def paths(self) -> dict[str, Path]:
        """The maps by the names of their photos."""
        found = find_images(self.folder)
        return {path.relative_to(self.folder).with_suffix("").as_posix(): path for path in found}

    def __call__(self, batches: Iterable[Sequence[Row]]) -> Iterator[tuple[Row, Image.Image]]:
        """Read the maps of the rows; one of another size than its mask is resized bilinearly."""
        return ((row, self._read(row)) for rows in batches for row in rows)

    def _read(self, row: Row) -> Image.Image:
        path = self.paths.get(row["name"]) or self.paths[Path(row["name"]).name]
        saliency, size = open_image(path).convert("L"), row["mask"].size
        return saliency if saliency.size == size else saliency.resize(size, Image.Resampling.BILINEAR)

    def check(self, names: Sequence[str]) -> None:
        """See that every photo has its map.

        Raises:
            ValueError: If not; the message names the photos.
        """
        missing = [name for name in names if not {name, Path(name).name} & self.paths.keys()]
        if missing:
            raise ValueError(f"{self.folder}: no map for {len(missing)} of {len(names)} photos: {', '.join(missing)}")


@dataclass(frozen=True)
class CorpusEvaluation:
    """The outcome of [`evaluate_corpus`]: the summed statistics, and the error of each image for a contact sheet.

    Attributes:
        metrics: The accumulator, with the images of all processes.
        errors: Mean absolute error of each image, `(images,)`.
    """

    metrics: SODMetrics
    errors: np.ndarray


def evaluate_corpus(
    corpus: Dataset,
    maps: MapSource,
    accelerator: Accelerator,
    *,
    batch_size: int = 1,
    measures: Sequence[str] | None = None,
    save_maps: Path | None = None,
    title: str = "",
) -> CorpusEvaluation:
    """Score the maps of a corpus, each process its share of the images.

    Args:
        corpus: Columns `image`, `mask` and `name`, as [`load_corpus`] gives them.
        maps: A [`ModelMaps`] or [`FolderMaps`].
        accelerator: Tells which process this is, and adds up the sums.
        batch_size: How many images are given to `maps` at once.
        measures: Those to compute, see [`SODMetrics`].
        save_maps: Folder to write the scored maps to, as 8-bit PNG.
        title: What the progress bar says.

    Returns:
        The same in every process, to the last bit, however many there are.

    Raises:
        ValueError: If a picture cannot be read or predicted (the message names it), or all masks are empty.
    """
    import torch

    from ..data.corpora import check_masks
    from ..utils.progress import progress_bar

    check_masks(corpus)
    metrics, errors = SODMetrics(measures), torch.zeros(len(corpus), dtype=torch.float64)
    share = range(accelerator.process_index, len(corpus), accelerator.num_processes)
    hidden = not accelerator.is_main_process
    with progress_bar(total=len(share), desc=title, unit="image", hidden=hidden) as progress:
        rows = (corpus[index] for index in share)
        for index, (row, saliency) in zip(share, maps(batches(rows, batch_size)), strict=True):
            metrics.update([saliency], [row["mask"]])
            errors[index] = mae(Pair(saliency, row["mask"]))
            if save_maps is not None:
                save_image(saliency, _path_inside(save_maps, f"{row['name']}.png"))
            progress.update()
    if accelerator.num_processes > 1:
        metrics.load_state(accelerator.reduce(metrics.state(accelerator.device), "sum"))
        errors = accelerator.reduce(errors.to(accelerator.device), "sum").cpu()
    return CorpusEvaluation(metrics, errors.numpy())


def _path_inside(folder: Path, name: str) -> Path:
    """The file of a name that a corpus gives, if it lies in the folder."""
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise ValueError(f"the corpus names a photo {name!r}: its map would be written outside {folder}")
    return folder / name
