"""What the `datasets` library reads: data sets of the Hub, parquet, tars, saved data sets, images with metadata.

Each becomes a data set with the columns `image`, `mask` and `name`, whatever they were called.
"""

import csv
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import datasets
from datasets import Dataset, Features, IterableDataset, Value
from huggingface_hub import constants

from ..weights.loading import reading
from .pairing import IMAGE_FOLDERS, MASK_FOLDERS, SPLITS

# The first of these that a data set has is taken; "jpg" and "png" are the fields of a WebDataset.
IMAGE_COLUMNS = ("image", "img", "pixel_values", "photo", "jpg", "jpeg", "webp")
MASK_COLUMNS = ("mask", "gt", "ground_truth", "annotation", "segmentation", "seg", "label", "labels", "alpha", "png")
NAME_COLUMNS = ("name", "image_name", "file_name", "filename", "__key__")
METADATA_FILES = ("metadata.jsonl", "metadata.csv")
# Shards of a streamed folder: the most processes times workers that can read it side by side.
STREAMING_SHARDS = 64


def split_names(spec: str | os.PathLike) -> list[str]:
    """The names of the splits of a source.

    Raises:
        FileNotFoundError: If there is no such folder, file or data set.
        ValueError: If it is nothing that the `datasets` library reads, or names files outside itself.
    """
    if saved := _saved_splits(Path(spec).expanduser()):
        return list(saved)
    return with_datasets(datasets.get_dataset_split_names, spec)


def choose_split(spec: str | os.PathLike, names: list[str], split: str | None) -> tuple[str, str]:
    """The name that the corpus has for a split, and the part of it that is wanted, such as "[:80%]".

    Raises:
        ValueError: If it has no such split, or the split must be named.
    """
    wanted, bracket, part = (split or "").partition("[")
    if not wanted and len(names) == 1:
        return names[0], bracket + part
    for name in names:
        if SPLITS.get(name.lower(), name) == SPLITS.get(wanted.lower(), wanted):
            return name, bracket + part
    problem = f"has no split {wanted!r}" if wanted else "has several splits, and one must be named"
    raise ValueError(f"{spec} {problem}: there is {', '.join(names)}.")


def load_source(
    spec: str | os.PathLike,
    split: str,
    part: str,
    streaming: bool,
    features: Features,
    mask_column: str | None = None,
) -> Dataset | IterableDataset:
    """Load a split, or a part of it such as "[:80%]", with our columns; the column of masks can be named.

    Raises:
        ValueError: If columns are missing, or a part is to be streamed.
    """
    saved = open_saved(spec, split)
    if part and streaming and saved is None:
        raise ValueError(f"{split + part!r} of {spec}: a part of a split cannot be streamed; give a whole split.")
    if saved is not None:
        corpus = take_part(saved, part)
    else:
        corpus = with_datasets(datasets.load_dataset, spec, split=split + part, streaming=streaming)
    columns = find_columns(corpus.features, spec, mask_column)
    if isinstance(corpus, IterableDataset):
        return _stream_with_our_columns(corpus, spec, *columns, features)
    corpus = _with_our_columns(corpus, *columns, features)
    return as_stream(corpus) if streaming else corpus


def open_saved(spec: str | os.PathLike, split: str) -> Dataset | None:
    """A split of what `save_to_disk` wrote; None if the spec is none of that."""
    saved = _saved_splits(Path(spec).expanduser())
    return Dataset.load_from_disk(str(saved[split])) if saved else None


def take_part(corpus: Dataset, part: str) -> Dataset:
    """A part of a data set, such as "[:80%]" or "[-10:]"; all of it for ""."""
    return corpus.select(rows_of_part(part, len(corpus))) if part else corpus


def rows_of_part(part: str, number: int) -> range:
    """The rows, of so many, of a part such as "[:80%]" or "[-10:]"; all of them for ""."""
    if not part:
        return range(number)
    [wanted] = datasets.ReadInstruction.from_spec(f"all{part}").to_absolute({"all": number})
    return range(wanted.from_ or 0, number if wanted.to is None else wanted.to)


def as_stream(corpus: Dataset) -> IterableDataset:
    """The same rows as a stream that several processes and workers can share."""
    return corpus.to_iterable_dataset(num_shards=min(len(corpus), STREAMING_SHARDS))


def has_metadata(root: Path) -> bool:
    """Whether a folder, or a split in it, has the metadata file of an "imagefolder" (others may be named so too)."""
    for file in (*_metadata_in(root, ""), *_metadata_in(root, "*/")):
        with file.open(encoding="utf-8", errors="replace") as lines:
            if "file_name" in lines.readline():
                return True
    return False


def is_source(root: Path) -> bool:
    """Whether the `datasets` library reads a folder, rather than our pairing of files."""
    return bool(_saved_splits(root)) or has_metadata(root)


def _metadata_in(root: Path, folders: str) -> Iterator[Path]:
    for name in METADATA_FILES:
        yield from root.glob(folders + name)


def _saved_splits(root: Path) -> dict[str, Path]:
    """The splits of what `save_to_disk` wrote and their folders; empty if the folder is none of that.

    Raises:
        ValueError: If it names files outside itself.
    """
    if (root / "dataset_dict.json").is_file():
        with reading(root / "dataset_dict.json"):
            names = [str(name) for name in _parsed_file(root / "dataset_dict.json")["splits"]]
        folders = {name: root / _inside(name, root / "dataset_dict.json") for name in names}
    elif (root / "state.json").is_file() and (root / "dataset_info.json").is_file():
        folders = {"train": root}
    else:
        return {}
    for folder in folders.values():
        with reading(folder / "state.json"):
            files = [str(file["filename"]) for file in _parsed_file(folder / "state.json")["_data_files"]]
        for name in files:
            _inside(name, folder / "state.json")
    return folders


def _parsed_file(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _inside(name: str, source: Path) -> str:
    """A path that a file of a corpus gives, if it stays in the folder of that file."""
    parts = (PurePosixPath(name), PureWindowsPath(name))
    if "://" in name or any(path.is_absolute() or path.drive or ".." in path.parts for path in parts):
        raise ValueError(
            f"{source} names {name!r}, which is outside its folder: paths must be relative to it, without '..' "
            "(move the files into the corpus)."
        )
    return name


def check_inside(path: str, spec: str | os.PathLike) -> None:
    """Refuse the path of a picture that is neither in its corpus nor among what was fetched from the Hub.

    Args:
        path: Of a file, also as the `datasets` library names what it streams: "hf://datasets/me/photos@main/a.jpg",
            "zip://a.jpg::photos/all.zip".
        spec: The corpus.

    Raises:
        ValueError: If it is elsewhere.
    """
    place = path.split("::")[-1]
    if re.match(rf"hf://datasets/{re.escape(str(spec))}(@[^/]*)?/", place):
        return
    root = Path(spec).expanduser()
    folders = (root if root.is_dir() else root.parent, constants.HF_HUB_CACHE, datasets.config.HF_DATASETS_CACHE)
    inside = any(Path(os.path.abspath(place)).is_relative_to(os.path.abspath(folder)) for folder in folders)
    if "://" in place or not inside:
        raise ValueError(f"{spec} names {path!r}, which is outside it: save the table with the pictures in it.")


def _check_metadata(root: Path) -> None:
    """Refuse metadata that would make the library read files outside the corpus."""
    for file in _metadata_in(root, "**/"):
        with file.open(encoding="utf-8", errors="replace", newline="") as lines:
            for row in csv.DictReader(lines) if file.suffix == ".csv" else map(_parsed, lines):
                for key, value in row.items():
                    if str(key).endswith("file_name") and isinstance(value, str):
                        _inside(value, file)


def _parsed(line: str) -> dict[str, Any]:
    """A line of metadata; one that is damaged is left for the library to report."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return row if isinstance(row, dict) else {}


def with_datasets(function: Callable[..., Any], spec: str | os.PathLike, **options: Any) -> Any:
    """Call a function of the `datasets` library on a spec, with errors that say what a spec may be."""
    path = Path(spec).expanduser()
    if path.is_dir():
        _check_metadata(path)
        if not has_metadata(path) and not any(next(path.rglob(name), None) for name in ("*.parquet", "*.tar")):
            raise ValueError(
                f"{path} holds no pairs of image and mask. Looked in it, in its only sub-folder and in its splits "
                f"({', '.join(SPLITS)}) for a folder of images ({', '.join(IMAGE_FOLDERS)}) beside one of masks "
                f"({', '.join(MASK_FOLDERS)}), for .jpg photos with .png masks of the same name in one folder, for a "
                "metadata.jsonl or .csv with a column file_name, for .parquet files, for .tar files of a WebDataset, "
                "and for what save_to_disk writes."
            )
        return _read(path, function, str(path.absolute()), **options)
    if path.is_file():
        builder = {".parquet": "parquet", ".tar": "webdataset"}.get(path.suffix.lower())
        if builder is None:
            raise ValueError(
                f"{path} is a file; a corpus is a folder, a .parquet or .tar file, or a data set on the Hub."
            )
        return _read(path, function, builder, data_files=str(path.absolute()), **options)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", str(spec)):
        raise FileNotFoundError(f"{spec}: no such folder or file (a data set on the Hub is named user/name).")
    try:
        return function(str(spec), **options)
    except (FileNotFoundError, ConnectionError) as error:
        raise FileNotFoundError(f"{spec} is no folder or file here, and not on the Hub: {error}") from error


def _read(path: Path, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Call a function of the `datasets` library on files; its errors say what it did, their causes what is wrong."""
    try:
        return function(*arguments, **options)
    except Exception as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise ValueError(f"{path} cannot be read as a data set: {type(cause).__name__}: {cause}") from error


def find_columns(
    features: Features, spec: str | os.PathLike, mask_column: str | None = None
) -> tuple[str, str, str | None]:
    """Which of the columns are the image, the mask and, if there is one, the name ("mask.png" is a mask too).

    Raises:
        ValueError: If there is no image or no mask, or no such mask.
    """
    masks = MASK_COLUMNS if mask_column is None else (mask_column,)
    image, mask = (_find_pictures(features, names) for names in (IMAGE_COLUMNS, masks))
    if image is None or mask is None:
        needed = f"images ({', '.join(IMAGE_COLUMNS)}) and one of masks ({', '.join(masks)})"
        raise ValueError(f"{spec} needs a column of {needed}; {_describe_columns(features)}")
    return image, mask, _find_names(features)


def find_photo_columns(features: Features, spec: str | os.PathLike) -> list[str]:
    """Which of the columns are the photos and, if there is one, the names.

    Raises:
        ValueError: If none is.
    """
    names = (*IMAGE_COLUMNS, "png")  # which is the mask beside a jpg
    image = _find_pictures(features, names)
    if image is None:
        raise ValueError(f"{spec} needs a column of images ({', '.join(names)}); {_describe_columns(features)}")
    found = _find_names(features)
    return [image, found] if found else [image]


def _find_names(features: Features) -> str | None:
    return next((name for name in NAME_COLUMNS if features.get(name) == Value("string")), None)


def _find_pictures(features: Features, names: tuple[str, ...]) -> str | None:
    pictures = {name.split(".")[0]: name for name, feature in features.items() if _holds_pictures(feature)}
    return next((pictures[name] for name in names if name in pictures), None)


def _describe_columns(features: Features) -> str:
    pictures = [name for name, feature in features.items() if _holds_pictures(feature)]
    return f"its columns are {', '.join(features)}, with pictures in {', '.join(pictures) or 'none of them'}."


def _holds_pictures(feature: Any) -> bool:
    """Whether a column has pictures, also in a parquet file that was not written by `datasets`."""
    return (
        isinstance(feature, datasets.Image)
        or feature == Value("binary")
        or (isinstance(feature, dict) and set(feature) == {"bytes", "path"})
    )


def _with_our_columns(corpus: Dataset, image: str, mask: str, name: str | None, features: Features) -> Dataset:
    """Keep image, mask and name under our names, without touching the pictures.

    Without a column of names they come from the images' paths, or from the row numbers if these do not differ.
    """
    ours = {image: "image", mask: "mask"} | ({name: "name"} if name else {})
    corpus = corpus.select_columns(list(ours))
    corpus = corpus.rename_columns({old: new for old, new in ours.items() if old != new})
    for column in ("image", "mask"):
        corpus = corpus.cast_column(column, features[column])
    if name:
        return corpus
    paths = [path.as_py() for chunk in corpus.data.column("image").chunks for path in chunk.field("path")]
    names = [stem_of(path) or f"{index:06d}" for index, path in enumerate(paths)]
    if len(set(names)) < len(names):
        names = [f"{index:06d}" for index in range(len(names))]
    return corpus.add_column("name", names)


def _stream_with_our_columns(
    corpus: IterableDataset, spec: str | os.PathLike, image: str, mask: str, name: str | None, features: Features
) -> IterableDataset:
    """The same row by row; pictures are decoded last, or each step would decode and encode them."""
    old_columns = list(corpus.features)
    for column in (image, mask):
        corpus = corpus.cast_column(column, datasets.Image(decode=False))
    columns = {"spec": os.fspath(spec), "image": image, "mask": mask, "name": name}
    corpus = corpus.map(_our_row, with_indices=True, remove_columns=old_columns, fn_kwargs=columns)
    return corpus.cast(features)


def _our_row(row: dict[str, Any], index: int, spec: str, image: str, mask: str, name: str | None) -> dict[str, Any]:
    for column in (image, mask):
        picture = row[column]
        if picture is None or (picture["bytes"] is None and picture["path"] is None):
            raise ValueError(f"{spec} holds no picture in row {index} of its column {column}.")
        if picture["bytes"] is None:
            check_inside(picture["path"], spec)
    return {
        "image": row[image],
        "mask": row[mask],
        "name": row[name] if name else stem_of(row[image]["path"]) or f"{index:06d}",
    }


def stem_of(path: str | None) -> str:
    """The name of a file without its suffix; empty for no file."""
    return os.path.splitext(os.path.basename(path or ""))[0]
