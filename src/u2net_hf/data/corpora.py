"""Corpora of images with masks, from wherever they lie, as `datasets` with the columns `image`, `mask` and `name`."""

import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import datasets
import pyarrow as pa
from datasets import Dataset, Features, IterableDataset, Value
from PIL import Image

from ..images.files import to_rgb
from .pairing import IMAGE_FOLDERS, MASK_FOLDERS, SPLITS, LeftOut, find_folders, find_usable, pair_files
from .pixels import as_mask

logger = logging.getLogger(__name__)

# The first of these that a data set has is taken.
IMAGE_COLUMNS = ("image", "img", "pixel_values", "photo")
MASK_COLUMNS = ("mask", "gt", "ground_truth", "annotation", "segmentation", "label", "labels", "alpha")
NAME_COLUMNS = ("name", "image_name", "file_name", "filename")
# Shards of a streamed folder: the most processes times workers that can read it side by side.
STREAMING_SHARDS = 64


class CorpusImage(datasets.Image):
    """`datasets.Image` that gives RGB photos (`mode="RGB"`) or masks from 0 to 255 (`mode="L"`), and names bad files.

    It is stored as a plain `Image`: a corpus that is saved or pushed needs nothing of this package.
    """

    def decode_example(self, value: dict[str, Any], token_per_repo_id: dict[str, Any] | None = None) -> Image.Image:
        """Decode one picture.

        Raises:
            ValueError: If it cannot be decoded, with the name of its file.
        """
        try:
            picture = datasets.Image().decode_example(value, token_per_repo_id)
            return as_mask(picture) if self.mode == "L" else to_rgb(picture)
        except Exception as error:  # Pillow's decoders raise whatever damaged data makes them raise
            raise ValueError(f"Cannot decode the picture {value.get('path') or 'without a name'}: {error}") from error


FEATURES = Features({"image": CorpusImage(mode="RGB"), "mask": CorpusImage(mode="L"), "name": Value("string")})


def load_corpus(
    spec: str | os.PathLike, split: str | None = None, streaming: bool = False
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
            - a `.parquet` file or a folder of them, as `scripts/prepare_corpus.py` writes;
            - a data set on the Hub, such as `"nobg/DUTS"`, with a column of images and one of masks.
        split: Name of the split, also a part of it: `"train[:80%]"`. Can be left out if there is only one. "val" and
            "validation" are the same, a folder without splits is "train".
        streaming: Whether to return an `IterableDataset`, which downloads nothing beforehand.

    Returns:
        A dataset with the columns `image` (`PIL.Image`, RGB), `mask` (`PIL.Image`, L, 0 = background, 255 = object,
        also where the file has 0 and 1) and `name` (`str`, the file's path without suffix). Pictures are decoded on
        access, with their EXIF orientation applied.

    Raises:
        FileNotFoundError: If there is no such folder, file or data set.
        ValueError: If it holds no pairs, has no such split, or the split must be named.
    """
    folders = _pair_folders(spec)
    if not folders:
        return _load_with_datasets(spec, split, streaming)
    name, part = _choose_split(spec, list(folders), split)
    corpus = _load_folders(spec, *folders[name])
    if part:
        [wanted] = datasets.ReadInstruction.from_spec(f"all{part}").to_absolute({"all": len(corpus)})
        corpus = corpus.select(range(wanted.from_ or 0, len(corpus) if wanted.to is None else wanted.to))
    return corpus.to_iterable_dataset(num_shards=min(len(corpus), STREAMING_SHARDS)) if streaming else corpus


def corpus_splits(spec: str | os.PathLike) -> list[str]:
    """The names of the splits of a corpus, as [`load_corpus`] takes them.

    Raises:
        FileNotFoundError: If there is no such folder, file or data set.
        ValueError: If it holds no pairs.
    """
    return list(_pair_folders(spec)) or _with_datasets(datasets.get_dataset_split_names, spec)


def _pair_folders(spec: str | os.PathLike) -> dict[str, tuple[Path, Path]]:
    """Folders of images and masks by split; empty for what the `datasets` library reads itself."""
    root = Path(spec).expanduser()
    return find_folders(root) if root.is_dir() and not _has_metadata(root) else {}


def _load_folders(spec: str | os.PathLike, images: Path, masks: Path) -> Dataset:
    """A table of the paths, in memory: nothing is copied, and 10,000 pairs take about a second."""
    pairs, left_out = pair_files(images.absolute(), masks.absolute())
    usable = [pairs[index] for index in find_usable(((p.name, p.image, p.mask) for p in pairs), left_out)]
    _report(spec, len(usable), left_out)
    columns = {
        "image": [pair.image for pair in usable],
        "mask": [pair.mask for pair in usable],
        "name": [pair.name for pair in usable],
    }
    return Dataset.from_dict(columns, features=FEATURES)


def _load_with_datasets(spec: str | os.PathLike, split: str | None, streaming: bool) -> Dataset | IterableDataset:
    """A corpus that the `datasets` library reads: Hub, parquet, images with metadata."""
    name, part = _choose_split(spec, _with_datasets(datasets.get_dataset_split_names, spec), split)
    if part and streaming:
        raise ValueError(f"{split!r} of {spec}: a part of a split cannot be streamed; give a whole split.")
    corpus = _with_datasets(datasets.load_dataset, spec, split=name + part, streaming=streaming)
    columns = _find_columns(corpus.features, spec)
    if streaming:
        return _stream_with_our_columns(corpus, *columns)
    corpus = _with_our_columns(corpus, *columns)
    left_out = LeftOut()
    files = zip(corpus["name"], _stored(corpus, "image"), _stored(corpus, "mask"), strict=True)
    usable = find_usable(files, left_out)
    _report(spec, len(usable), left_out)
    return corpus.select(usable, keep_in_memory=True) if left_out else corpus


def _with_datasets(function: Any, spec: str | os.PathLike, **options: Any) -> Any:
    """Call a function of the `datasets` library on a spec, with errors that say what a spec may be."""
    path = Path(spec).expanduser()
    if path.is_dir():
        if not _has_metadata(path) and next(path.rglob("*.parquet"), None) is None:
            raise ValueError(
                f"{path} holds no pairs of image and mask. Looked in it, in its only sub-folder and in its splits "
                f"({', '.join(SPLITS)}) for a folder of images ({', '.join(IMAGE_FOLDERS)}) beside one of masks "
                f"({', '.join(MASK_FOLDERS)}), for .jpg photos with .png masks of the same name in one folder, for a "
                "metadata.jsonl or .csv with a column file_name, and for .parquet files."
            )
        return function(str(path.absolute()), **options)
    if path.is_file():
        if path.suffix.lower() != ".parquet":
            raise ValueError(f"{path} is a file; a corpus is a folder, a .parquet file or a data set on the Hub.")
        return function("parquet", data_files=str(path.absolute()), **options)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", str(spec)):
        raise FileNotFoundError(f"{spec}: no such folder or file (a data set on the Hub is named user/name).")
    try:
        return function(str(spec), **options)
    except (FileNotFoundError, ConnectionError) as error:
        raise FileNotFoundError(f"{spec} is no folder or file here, and not on the Hub: {error}") from error


def _has_metadata(root: Path) -> bool:
    """Whether a folder, or a split in it, has the metadata file of an "imagefolder" (others may be named so too)."""
    for pattern in ("metadata.jsonl", "metadata.csv", "*/metadata.jsonl", "*/metadata.csv"):
        for file in root.glob(pattern):
            with file.open(encoding="utf-8", errors="replace") as lines:
                if "file_name" in lines.readline():
                    return True
    return False


def _choose_split(spec: str | os.PathLike, names: list[str], split: str | None) -> tuple[str, str]:
    """The name that the corpus has for a split, and the part of it that is wanted, such as "[:80%]"."""
    wanted, bracket, part = (split or "").partition("[")
    if not wanted and len(names) == 1:
        return names[0], bracket + part
    for name in names:
        if SPLITS.get(name.lower(), name) == SPLITS.get(wanted.lower(), wanted):
            return name, bracket + part
    problem = f"has no split {wanted!r}" if wanted else "has several splits, and one must be named"
    raise ValueError(f"{spec} {problem}: there is {', '.join(names)}.")


def _find_columns(features: Features, spec: str | os.PathLike) -> tuple[str, str, str | None]:
    """Which of the columns are the image, the mask and, if there is one, the name."""
    pictures = [name for name, feature in features.items() if _holds_pictures(feature)]
    image = next((name for name in IMAGE_COLUMNS if name in pictures), None)
    mask = next((name for name in MASK_COLUMNS if name in pictures), None)
    if image is None or mask is None:
        raise ValueError(
            f"{spec} needs a column of images ({', '.join(IMAGE_COLUMNS)}) and one of masks "
            f"({', '.join(MASK_COLUMNS)}); its columns are {', '.join(features)}, with pictures in "
            f"{', '.join(pictures) or 'none of them'}."
        )
    return image, mask, next((name for name in NAME_COLUMNS if features.get(name) == Value("string")), None)


def _holds_pictures(feature: Any) -> bool:
    """Whether a column has pictures, also in a parquet file that was not written by `datasets`."""
    return (
        isinstance(feature, datasets.Image)
        or feature == Value("binary")
        or (isinstance(feature, dict) and set(feature) == {"bytes", "path"})
    )


def _with_our_columns(corpus: Dataset, image: str, mask: str, name: str | None) -> Dataset:
    """Keep image, mask and name under our names, without touching the pictures.

    Without a column of names they come from the images' paths, or from the row numbers if these do not differ.
    """
    ours = {image: "image", mask: "mask"} | ({name: "name"} if name else {})
    corpus = corpus.select_columns(list(ours))
    corpus = corpus.rename_columns({old: new for old, new in ours.items() if old != new})
    for column in ("image", "mask"):
        corpus = corpus.cast_column(column, FEATURES[column])
    if name:
        return corpus
    paths = [path.as_py() for chunk in corpus.data.column("image").chunks for path in chunk.field("path")]
    names = [_stem(path, index) for index, path in enumerate(paths)]
    if len(set(names)) < len(names):
        names = [_stem(None, index) for index in range(len(names))]
    return corpus.add_column("name", names)


def _stream_with_our_columns(corpus: IterableDataset, image: str, mask: str, name: str | None) -> IterableDataset:
    """The same row by row; pictures are decoded last, or each step would decode and encode them."""
    old_columns = list(corpus.features)
    for column in (image, mask):
        corpus = corpus.cast_column(column, datasets.Image(decode=False))
    columns = {"image": image, "mask": mask, "name": name}
    corpus = corpus.map(_our_row, with_indices=True, remove_columns=old_columns, fn_kwargs=columns)
    return corpus.cast(FEATURES)


def _our_row(row: dict[str, Any], index: int, image: str, mask: str, name: str | None) -> dict[str, Any]:
    return {
        "image": row[image],
        "mask": row[mask],
        "name": row[name] if name else _stem(row[image]["path"], index),
    }


def _stem(path: str | None, index: int) -> str:
    return os.path.splitext(os.path.basename(path))[0] if path else f"{index:06d}"


def _stored(corpus: Dataset, column: str) -> Iterator[str | BinaryIO]:
    """Path or bytes of each picture of a column; bytes are not copied."""
    for chunk in corpus.data.column(column).chunks:
        for path, content in zip(chunk.field("path"), chunk.field("bytes"), strict=True):
            yield pa.BufferReader(content.as_buffer()) if content.is_valid else path.as_py()


def _report(spec: str | os.PathLike, count: int, left_out: LeftOut) -> None:
    """Warn once about all that was left out.

    Raises:
        ValueError: If nothing is left.
    """
    if count == 0:
        raise ValueError(f"{spec} holds no usable pair of image and mask.\n{left_out.describe()}".rstrip())
    if left_out:
        total = sum(map(len, left_out.values()))
        logger.warning("%s: %d pairs; left out %d:\n%s", spec, count, total, left_out.describe())
