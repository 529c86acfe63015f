"""Turn any corpus of images and masks into parquet shards with the pictures inside, ready for the Hub.

    u2net-hf prepare-corpus DUTS/ duts --license cc-by-nc-4.0
    u2net-hf prepare-corpus photos/ corpus --split "train=train[:90%]" --split "validation=train[90%:]"
    u2net-hf prepare-corpus ECSSD/ ecssd --split test=train --license other --push_to_hub me/ecssd

A corpus is all that `u2net_hf.data.corpora.load_corpus` takes: a folder with `images` and `masks`, the unpacked
original of a known data set, an image folder with metadata, parquet files, a data set on the Hub. Files are copied
byte by byte. The output loads with `load_corpus`, or without this package with `datasets.load_dataset`.
"""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import pyarrow.parquet as pq
import typer
from datasets import Dataset, DatasetInfo, Features, Image, SplitInfo, Value
from datasets.info import DatasetInfosDict
from datasets.splits import SplitDict
from datasets.table import embed_table_storage
from datasets.utils.py_utils import convert_file_size_to_int
from huggingface_hub import DatasetCardData

from ..data.corpora import corpus_splits, load_corpus
from ..evaluation.results import corpus_name
from ..hub.cards import dataset_card
from ..hub.publish import publish_dataset
from ..hub.upload import check_account, check_repo_id
from ..utils.console import printable, run_script
from ..utils.files import new_folder
from ..utils.progress import progress_bar

FEATURES = Features({"image": Image(mode="RGB"), "mask": Image(mode="L"), "name": Value("string")})
ROWS_PER_GROUP = 64
SIZES = {1_000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K", 1_000_000: "100K<n<1M"}


def main(
    corpus: Annotated[str, typer.Argument(help="Folder, .parquet file or Hub id.")],
    output_dir: Annotated[Path, typer.Argument(help="Folder to be made.")],
    split: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[=SOURCE]",
            help="A split of the output and where it comes from; may be repeated. Default: every split, as it is.",
        ),
    ] = None,
    license: Annotated[str, typer.Option(help="License of the data, in the Hub's short form.")] = "unknown",
    title: Annotated[str | None, typer.Option(help="Title of the card. Default: the folder's name.")] = None,
    max_shard_size: Annotated[str, typer.Option("--max_shard_size", help="Largest file.")] = "500MB",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier output.")] = False,
    push_to_hub: Annotated[
        str | None, typer.Option("--push_to_hub", metavar="REPO", help="Upload to this data set, made if need be.")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Make a new data set on the Hub private.")] = False,
) -> None:
    """Write shards and card to a temporary folder beside `output_dir`, rename it, upload."""
    if push_to_hub:  # before hours of work
        if license == "unknown":
            raise ValueError("--push_to_hub needs --license: say under which terms the data may be used.")
        check_repo_id(push_to_hub)
        check_account(push_to_hub)
    _check_output(output_dir, overwrite)
    max_bytes = _bytes(max_shard_size)
    wanted = [_name_and_source(text) for text in split or corpus_splits(corpus)]
    folder = output_dir.absolute()
    with new_folder(folder, overwrite=overwrite) as made:
        infos = []
        for name, source in wanted:
            rows = load_corpus(corpus, source)
            assert isinstance(rows, Dataset)
            shards = write_shards(rows, made / "data", name, max_bytes)
            infos.append(SplitInfo(name, sum(shard.stat().st_size for shard in shards), len(rows)))
        metadata = describe(title or folder.name, license, infos)
        card = dataset_card(metadata, location=folder.name, source=corpus_name(corpus))
        (made / "README.md").write_text(card, encoding="utf-8")
    print(f"{printable(output_dir)}: " + ", ".join(f"{info.name} {info.num_examples} pairs" for info in infos))
    if push_to_hub:
        print(publish_dataset(output_dir, push_to_hub, private=private))


def write_shards(rows: Dataset, folder: Path, name: str, max_bytes: int) -> list[Path]:
    """Write one split as `NAME-00000-of-00003.parquet` ..., each with at most about `max_bytes` of pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    parts: list[Path] = []
    with progress_bar(total=len(rows), desc=name, unit="pair") as progress:
        batches = iter(_embedded_batches(rows))
        batch = next(batches, None)
        while batch is not None:
            parts.append(folder / f"{name}-{len(parts):05d}.parquet")
            written = 0
            with pq.ParquetWriter(parts[-1], FEATURES.arrow_schema) as writer:
                while batch is not None and (not written or written + batch.nbytes <= max_bytes):
                    writer.write_table(batch)
                    written += batch.nbytes
                    progress.update(len(batch))
                    batch = next(batches, None)
    return [part.rename(part.with_stem(f"{part.stem}-of-{len(parts):05d}")) for part in parts]


def describe(title: str, license: str, infos: list[SplitInfo]) -> DatasetCardData:
    """What the Hub reads of a data set: license, task, size, columns, splits and their files."""
    pairs = sum(info.num_examples for info in infos)
    size = sum(info.num_bytes for info in infos)
    metadata = DatasetCardData(
        license=license,
        pretty_name=title,
        task_categories=["image-segmentation"],
        tags=["salient-object-detection", "background-removal"],
        size_categories=[next((name for limit, name in SIZES.items() if pairs < limit), "1M<n<10M")],
        configs=[
            {
                "config_name": "default",
                "data_files": [{"split": info.name, "path": f"data/{info.name}-*.parquet"} for info in infos],
            }
        ],
    )
    splits = SplitDict({info.name: info for info in infos})
    info = DatasetInfo(features=FEATURES, splits=splits, download_size=size, dataset_size=size)
    DatasetInfosDict({"default": info}).to_dataset_card_data(metadata)
    return metadata


def _embedded_batches(rows: Dataset) -> Iterator[pa.Table]:
    """Tables of a few rows with the bytes of the files in them."""
    for batch in rows.with_format("arrow").iter(ROWS_PER_GROUP):
        yield embed_table_storage(batch.select(FEATURES.arrow_schema.names).cast(FEATURES.arrow_schema))


def _name_and_source(text: str) -> tuple[str, str]:
    """Read `NAME=SOURCE`; `NAME` alone is its own source."""
    name, _, source = text.partition("=")
    if not re.fullmatch(r"\w+", name):
        raise ValueError(f"--split {text}: the name of a split has letters, digits and underscores only.")
    return name, source or name


def _bytes(size: str) -> int:
    """Read a size such as 500MB."""
    try:
        return convert_file_size_to_int(size)
    except ValueError:
        raise ValueError(f"--max_shard_size {size}: expected a whole number and a unit, such as 500MB.") from None


def _check_output(folder: Path, overwrite: bool) -> None:
    """Refuse to replace anything but, if asked to, an earlier output of this script."""
    if not folder.exists():
        return
    if not overwrite:
        raise FileExistsError(f"{folder} exists; choose another folder, or give --overwrite to replace it.")
    if not folder.is_dir() or {entry.name for entry in folder.iterdir()} != {"README.md", "data"}:
        raise FileExistsError(f"{folder} was not made by this script and is not overwritten.")


run = partial(run_script, main, __doc__)  # with the arguments of the command line

if __name__ == "__main__":
    run()
