"""Corpora of images with masks, from wherever they lie, as `datasets` with the columns `image`, `mask` and `name`."""

import io
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO

import datasets
import numpy as np
import pyarrow as pa
from datasets import Dataset, Features, IterableDataset, Value
from PIL import Image

from ..images.files import to_rgb
from ..utils.console import printable
from .pairing import INSTANCE_FOLDERS, MASK_FOLDERS, LeftOut, find_folders, find_usable, pair_files
from .pixels import as_labels, as_mask, as_soft_mask, parse_object_values
from .sources import as_stream, check_inside, choose_split, is_source, load_source, split_names, take_part

logger = logging.getLogger(__name__)

# Masks that are read before a training or an evaluation begins, spread over the corpus.
CHECKED_MASKS = 100


@dataclass
class CorpusImage(datasets.Image):
    """`datasets.Image` that gives RGB photos, masks from 0 to 255 (mode L) or classes (mode I), and names bad files.

    It is stored as a plain `Image`: a corpus that is saved or pushed needs nothing of this package.

    Args:
        object_values: Which values of a mask are object, where the rule of `sod_metrics/masks.py` cannot tell.
        soft: Whether a mask is a soft map, whose gray levels are degrees of certainty.
    """

    object_values: tuple[str, ...] | None = None
    soft: bool = False

    def decode_example(self, value: dict[str, Any], token_per_repo_id: dict[str, Any] | None = None) -> Image.Image:
        """Decode one picture.

        Raises:
            ValueError: If it cannot be decoded, or a mask means nothing clear, with the name of its file.
        """
        name = value.get("path") or "without a name"
        try:
            picture = datasets.Image().decode_example(value, token_per_repo_id)
            if self.mode == "RGB":
                return to_rgb(picture)
        except Exception as error:  # Pillow's decoders raise whatever damaged data makes them raise
            raise ValueError(f"Cannot decode the picture {name}: {error}") from error
        try:
            if self.soft:
                return as_soft_mask(picture)
            return as_labels(picture) if self.mode == "I" else as_mask(picture, self.object_values)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error


def corpus_features(
    object_values: Sequence[str] | None = None, class_labels: bool = False, soft: bool = False
) -> Features:
    """The columns of a corpus, and how its masks are read; arguments as for [`load_corpus`] and [`CorpusImage`]."""
    if soft and (object_values or class_labels):
        raise ValueError("a column of soft maps has neither object_values nor class labels")
    if object_values:
        if class_labels:
            raise ValueError("object_values are for two classes; with class labels all values are classes")
        parse_object_values(object_values)
    values = tuple(object_values or ()) or None
    masks = CorpusImage(mode="I" if class_labels else "L", object_values=values, soft=soft)
    return Features({"image": CorpusImage(mode="RGB"), "mask": masks, "name": Value("string")})


def load_corpus(
    spec: str | os.PathLike,
    split: str | None = None,
    streaming: bool = False,
    object_values: Sequence[str] | None = None,
    class_labels: bool = False,
    label_maps: bool = False,
    mask_column: str | None = None,
) -> Dataset | IterableDataset:
    """Load images with masks.

    Pairs that cannot be used (no partner, a header that does not open, sizes that differ) are left out, and one
    warning names them all. A streamed data set of the Hub or of parquet files is not checked beforehand.

    Args:
        spec: One of
            - a folder with `images` and `masks`, directly or in `train`, `validation`, `test`;
            - the unpacked original of DUTS, ECSSD, HKU-IS, PASCAL-S, DUT-OMRON, SOD, MSRA10K and others of their
              layout (the tables of folder names are in `pairing.py`);
            - a folder of images with `metadata.jsonl` or `.csv`: `{"file_name": ..., "mask_file_name": ...}`;
            - a `.parquet` file or a folder of them, as `u2net-hf prepare-corpus` writes;
            - a folder that `save_to_disk` of the `datasets` library wrote;
            - a `.tar` file of a WebDataset or a folder of them, with fields such as `jpg` and `png`, or `image.jpg`
              and `mask.png`;
            - a data set on the Hub, such as `"nobg/DUTS"`, with a column of images and one of masks.
        split: Name of the split, also a part of it: `"train[:80%]"`. Can be left out if there is only one. "val" and
            "validation" are the same, a folder without splits is "train".
        streaming: Whether to return an `IterableDataset`, which downloads nothing beforehand.
        object_values: Which values of the masks are object: numbers ("15"), ranges ("129-255"), colors ("#c08080") or
            "alpha". By default the rule of `sod_metrics/masks.py` tells, and refuses masks that it cannot read.
        class_labels: Whether masks hold classes, as gray values or as indices of a palette, instead of an object.
        label_maps: Whether masks number their objects: they are read as classes are, and a folder of `instances` is
            taken before one of `masks`.
        mask_column: The column that holds soft maps, as `u2net-hf predict` writes them, instead of masks. They are
            kept soft: of 8 bits (mode L), or of 16 (mode F, from 0 to 255).

    Returns:
        A dataset with the columns `image` (`PIL.Image`, RGB), `mask` (`PIL.Image`, L, 0 = background, 255 = object,
        whatever values the file has; with `class_labels` I, the classes) and `name` (`str`, the file's path without
        suffix). Pictures are decoded on access, with their EXIF orientation applied.

    Raises:
        FileNotFoundError: If there is no such folder, file or data set.
        ValueError: If it holds no pairs, has no such split, the split must be named, or it names files outside itself.
    """
    features = corpus_features(object_values, class_labels or label_maps, soft=mask_column is not None)
    folders = _pair_folders(spec, INSTANCE_FOLDERS if label_maps else MASK_FOLDERS)
    if folders and mask_column is not None:
        raise ValueError(f"{spec} is a folder of images and masks: it has no column {mask_column!r}.")
    if not folders:
        name, part = choose_split(spec, split_names(spec), split)
        source = load_source(spec, name, part, streaming, features, mask_column)
        return source if isinstance(source, IterableDataset) else _without_unusable(source, spec)
    name, part = choose_split(spec, list(folders), split)
    corpus = take_part(_load_folders(spec, *folders[name], features), part)
    return as_stream(corpus) if streaming else corpus


def corpus_splits(spec: str | os.PathLike) -> list[str]:
    """The names of the splits of a corpus, as [`load_corpus`] takes them.

    Raises:
        FileNotFoundError: If there is no such folder, file or data set.
        ValueError: If it holds no pairs.
    """
    return list(_pair_folders(spec)) or split_names(spec)


def _pair_folders(
    spec: str | os.PathLike, mask_folders: tuple[str, ...] = MASK_FOLDERS
) -> dict[str, tuple[Path, Path]]:
    """Folders of images and masks by split; empty for what the `datasets` library reads itself."""
    root = Path(spec).expanduser()
    return find_folders(root, mask_folders) if root.is_dir() and not is_source(root) else {}


def _load_folders(spec: str | os.PathLike, images: Path, masks: Path, features: Features) -> Dataset:
    """A table of the paths, in memory: nothing is copied, and 10,000 pairs take about a second."""
    pairs, left_out = pair_files(images.absolute(), masks.absolute())
    usable = [pairs[index] for index in find_usable(pairs, left_out)]
    _report(spec, len(usable), left_out)
    name, image, mask = (list(column) for column in zip(*usable, strict=True))
    return Dataset.from_dict({"image": image, "mask": mask, "name": name}, features=features)


def _without_unusable(corpus: Dataset, spec: str | os.PathLike) -> Dataset:
    """The rows whose pictures open and have one size; the others are named."""
    left_out = LeftOut()
    files = zip(corpus["name"], _stored(corpus, "image", spec), _stored(corpus, "mask", spec), strict=True)
    usable = find_usable(files, left_out)
    _report(spec, len(usable), left_out)
    return corpus.select(usable, keep_in_memory=True) if left_out else corpus


def _stored(corpus: Dataset, column: str, spec: str | os.PathLike) -> Iterator[str | BinaryIO]:
    """Path or bytes of each picture of a column; bytes are not copied."""
    for chunk in corpus.data.column(column).chunks:
        for path, content in zip(chunk.field("path"), chunk.field("bytes"), strict=True):
            if not content.is_valid and path.is_valid:
                check_inside(path.as_py(), spec)
            # Some of Pillow's readers read lines, which pyarrow's own stream cannot.
            yield io.BufferedReader(pa.BufferReader(content.as_buffer())) if content.is_valid else path.as_py()


def _report(spec: str | os.PathLike, count: int, left_out: LeftOut) -> None:
    """Warn once about all that was left out.

    Raises:
        ValueError: If nothing is left.
    """
    if count == 0:
        raise ValueError(f"{spec} holds no usable pair of image and mask.\n{left_out.describe()}".rstrip())
    if left_out:
        total = sum(map(len, left_out.values()))
        logger.warning("%s: %d pairs; left out %d:\n%s", printable(spec), count, total, left_out.describe())


def check_masks(corpus: Dataset | IterableDataset, limit: int = 1000) -> None:
    """Refuse a corpus on which nothing can be learnt or measured, before that begins.

    Reads a hundred masks from all over the corpus, or the first hundred of a streamed one, and goes on if these are
    empty until one has an object.

    Args:
        corpus: From `load_corpus`.
        limit: Masks of a streamed corpus to look at.

    Raises:
        ValueError: If all masks are empty (of one class, where they hold classes), or one cannot be read.
    """
    masks: Iterable[Image.Image]
    if isinstance(corpus, Dataset):
        spread, number = _spread(len(corpus)), len(corpus)
        order = chain(spread, (index for index in range(len(corpus)) if index not in spread))
        column = corpus.select_columns("mask")
        masks, which = (column[index]["mask"] for index in order), f"All {number}"
    else:
        masks, which = (record["mask"] for record in islice(corpus, limit)), f"The first {limit}"
    found = False
    for count, mask in enumerate(masks, start=1):
        found = found or bool(np.asarray(mask).any())
        if found and count >= CHECKED_MASKS:
            return
    if not found:
        raise ValueError(f"{which} masks are empty (background everywhere): there is nothing to learn or to measure.")


def check_label_maps(corpus: Dataset, spec: str | os.PathLike) -> None:
    """Refuse masks in the place of label images, which would make one object of all that they show.

    Args:
        corpus: From `load_corpus` with `label_maps`; a hundred masks from all over it are read.
        spec: What the user called it.

    Raises:
        ValueError: If none of them numbers two objects.
    """
    column = corpus.select_columns("mask")
    if not any(len(np.unique(np.asarray(column[index]["mask"]))) > 2 for index in _spread(len(corpus))):
        raise ValueError(
            f"{spec} holds masks, not label images: none numbers two objects. Number them, in a folder of "
            "instances (scipy.ndimage.label parts what does not touch)"
        )


def _spread(number: int) -> dict[int, None]:
    """The rows of the masks to look at, from all over a corpus of so many."""
    return dict.fromkeys(np.linspace(0, number - 1, CHECKED_MASKS).astype(int).tolist())
