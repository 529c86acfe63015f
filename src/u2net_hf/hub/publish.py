"""To the Hub: a model, a metric, a data set, the demo. One call each, or the folder that would be uploaded.

Nothing is uploaded before it is complete.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from .._version import __version__
from ..evaluation.results import Results, read_results, write_results
from ..images.drawing import checkerboard, contact_sheet
from ..images.files import cut_out, mask_image, open_image, save_image, to_rgb
from ..utils.files import new_folder
from ..utils.resources import PACKAGE, find_template
from ..weights.loading import quiet_transformers
from ..weights.published import PUBLISHED, SHIPPED
from .cards import describe_model, fill_template, model_card

PICTURE_HEIGHT = 360
METRICS = ("sod_metrics", "cell_metrics")


def publish_model(
    source: str | Path,
    repo_id: str,
    *,
    results: str | Path | None = None,
    examples: Sequence[str | Path] = (),
    onnx: str | Path | None = None,
    license: str | None = None,
    training_data: str | None = None,
    description: str | None = None,
    launch: str | None = None,
    private: bool = False,
    token: str | None = None,
    dry_run: str | Path | None = None,
) -> str:
    """Publish a model: weights, configuration, image processor, pipeline, their code, and a card of what was measured.

    A handler goes along, with which the Hub's Inference Endpoints serve it.

    Args:
        source: A published name ("u2netp"), a folder written by `save_pretrained`, or a Hub id.
        repo_id: The repository on the Hub, "user/name".
        results: A results file of `u2net-hf evaluate-sod` or `evaluate-cells` for this model, or the folder that
            holds it; its curves go along. Known for shipped weights; else without it the card says "not measured".
        examples: Photos for the card, which are published: each is shown with its soft map and its cut-out.
        onnx: A folder of `u2net-hf export`, whose `onnx/*.onnx` go along.
        license: License of the weights, as an SPDX identifier; known for published names.
        training_data: What the model was trained on and under which terms; known for published names.
        description: What the model finds, in a sentence.
        launch: The command that trained it.
        private: Whether a new repository is private.
        token: Token of the Hub; by default that of `hf auth login` or `HF_TOKEN`.
        dry_run: A new folder to write instead of uploading anything.

    Returns:
        The address of the repository, or the folder.

    Raises:
        HubError: If the Hub was not reached or refused.
        ValueError: If an argument is wrong: a results file of another model, no license, a picture that is none ...
        OSError: If there is no such model, or the folder cannot be written.
    """
    facts = {"license": license, "training_data": training_data, "description": description, "launch": launch}

    def write(folder: Path) -> None:
        write_model(folder, source, repo_id, results=results, examples=examples, onnx=onnx, **facts)

    # What an earlier upload left and what would contradict the new weights.
    replaced = ("*.safetensors", "*.safetensors.index.json", "onnx/*.onnx", "images/*", "results.json")
    return publish_folder(write, repo_id, "model", replaced, private, token, dry_run)


def publish_metric(
    source: str, repo_id: str, *, private: bool = False, token: str | None = None, dry_run: str | Path | None = None
) -> str:
    """Publish an `evaluate` module as a Space from which `evaluate.load(repo_id)` loads it.

    Args:
        source: "sod_metrics" or "cell_metrics".
        repo_id: The Space, "user/sod_metrics" or another name of letters, digits and underscores.
        private: As in [`publish_model`], as are the others, the result and the errors.
        token: See there.
        dry_run: See there.
    """
    write = partial(write_metric, source=source, repo_id=repo_id)
    return publish_folder(write, repo_id, "space", (), private, token, dry_run)


def publish_dataset(
    source: str | Path,
    repo_id: str,
    *,
    private: bool = False,
    token: str | None = None,
    dry_run: str | Path | None = None,
) -> str:
    """Publish a corpus that `u2net-hf prepare-corpus` has turned into parquet files and a card.

    Args:
        source: The folder with `README.md` and `data/*.parquet`. Nothing else of it is uploaded.
        repo_id: The data set on the Hub, "user/name".
        private: As in [`publish_model`], as are the others, the result and the errors.
        token: See there.
        dry_run: See there.
    """
    write = partial(write_dataset, source=Path(source), repo_id=repo_id)
    return publish_folder(write, repo_id, "dataset", ("data/*.parquet",), private, token, dry_run)


def publish_space(
    repo_id: str, *, private: bool = False, token: str | None = None, dry_run: str | Path | None = None
) -> str:
    """Publish the demo as a Gradio Space, with the source of this package in it.

    Args:
        repo_id: The Space, "user/name".
        private: As in [`publish_model`], as are the others, the result and the errors.
        token: See there.
        dry_run: See there.
    """
    return publish_folder(write_space, repo_id, "space", ("u2net_hf/*",), private, token, dry_run)


def publish_folder(
    write: Callable[[Path], None],
    repo_id: str,
    repo_type: str,
    replaced: Sequence[str],
    private: bool,
    token: str | None,
    dry_run: str | Path | None,
    space_sdk: str = "gradio",
) -> str:
    """Have a folder written and upload it, or keep it; the arguments are those of [`publish_model`] and the upload."""
    from .upload import check_account, check_repo_id, upload_folder

    check_repo_id(repo_id)
    if dry_run is not None:
        with new_folder(dry_run) as folder:
            write(folder)
        return str(dry_run)
    check_account(repo_id, token)
    with tempfile.TemporaryDirectory(prefix="u2net-hf-") as temporary:
        write(Path(temporary))
        message = f"Upload with u2net_hf {__version__}"
        options: dict[str, Any] = {"repo_type": repo_type, "replaced": replaced, "private": private, "token": token}
        options["space_sdk"] = space_sdk
        return upload_folder(temporary, repo_id, message=message, **options)


def write_model(
    folder: Path,
    source: str | Path,
    repo_id: str,
    *,
    results: str | Path | None = None,
    examples: Sequence[str | Path] = (),
    onnx: str | Path | None = None,
    **facts: str | None,
) -> None:
    """Write the folder of a model; the arguments are those of [`publish_model`]."""
    from ..engines.torch_engine import load_model
    from ..models.u2net.pipeline_u2net import BackgroundRemovalPipeline

    published = _known_facts(source)
    known = published | {name: value for name, value in facts.items() if value}
    if results is None and published and (shipped := SHIPPED / str(source) / "results.json").is_file():
        results = shipped
    if "license" not in known:
        raise ValueError(f"Say under which license the weights of {source} may be used (license), such as apache-2.0.")
    measured = _results_of(source, repo_id, results) if results is not None else None
    model, image_processor = load_model(source, device="cpu")
    # The pipeline saves the model and the image processor too, each with its code.
    with quiet_transformers():
        BackgroundRemovalPipeline(model=model, image_processor=image_processor).save_pretrained(folder)
    for number, photo in enumerate(examples, 1):
        save_image(_draw_example(photo, model, image_processor), folder / "images" / f"example-{number}.jpg")
    for extra in ("handler.py", "requirements.txt"):  # for Inference Endpoints
        shutil.copyfile(find_template(f"model/{extra}"), folder / extra)
    if results is not None and measured is not None:
        # Without the path of this machine by which the model was named.
        write_results(replace(measured, model=repo_id), folder / "results.json")
        _copy_curves(Path(results), folder)
    if onnx is not None:
        _copy_onnx(Path(onnx), folder)
    described = describe_model(model, image_processor) | known
    (folder / "README.md").write_text(model_card(folder, repo_id, measured, described), encoding="utf-8")


def _known_facts(source: str | Path) -> dict[str, str]:
    """License and origin of published weights. (A folder of the same name is another model.)"""
    published = PUBLISHED.get(str(source))
    if published is None or Path(source, "config.json").is_file():
        return {}
    origin = (
        "Weights published by others, converted by u2net_hf." if published.sources else "Weights of u2net_hf's own."
    )
    description = f"{published.description}. {origin}"
    return {"license": published.license, "training_data": published.training_data, "description": description}


def _results_of(source: str | Path, repo_id: str, path: str | Path) -> Results:
    """Read results, and refuse those of another model."""
    results = read_results(path)
    if results.model != repo_id and Path(results.model).name != Path(source).absolute().name:
        raise ValueError(f"{path} holds the results of {results.model}, not of {source}: evaluate {source} first.")
    return results


def _draw_example(photo: str | Path, model: Any, image_processor: Any) -> Image.Image:
    """The photo, its soft map and the cut-out before a checkerboard, side by side."""
    from ..engines.predict import saliency_maps
    from ..engines.torch_engine import ModelEngine

    image = to_rgb(open_image(photo))
    image.thumbnail((4 * PICTURE_HEIGHT, PICTURE_HEIGHT))
    (soft_map,) = saliency_maps([image], ModelEngine(model, image_processor))
    mask = mask_image(soft_map)
    shown = cut_out(image, mask, background=checkerboard(image.size))
    return contact_sheet([[image, mask, shown]], image.height, gap=8)


def _copy_curves(results: Path, folder: Path) -> None:
    """Copy the pixels of the curves that lie beside a results file."""
    for curve in sorted((results if results.is_dir() else results.parent).glob("curves*.png")):
        save_image(to_rgb(open_image(curve)), folder / "images" / curve.name)


def _copy_onnx(exported: Path, folder: Path) -> None:
    files = sorted(path for path in (exported / "onnx").glob("*.onnx") if not path.is_symlink())
    if not files:
        raise ValueError(f"{exported} has no onnx/*.onnx: make it with `u2net-hf export`.")
    (folder / "onnx").mkdir()
    for file in files:
        shutil.copyfile(file, folder / "onnx" / file.name)


def write_metric(folder: Path, source: str, repo_id: str) -> None:
    """Write the Space of a metric: its files, a page to try it, and the card."""
    if source not in METRICS:
        raise ValueError(f"The metrics are {' and '.join(METRICS)}; there is no {source!r}.")
    name = repo_id.rpartition("/")[2]
    if not name.isidentifier():
        raise ValueError(f"evaluate loads a metric only from a name of letters, digits and _, not from {name!r}.")
    unwanted = shutil.ignore_patterns("__init__.py", "__pycache__", ".*")
    for files in (PACKAGE / source, find_template(f"metric/{source}/app.py").parent):
        shutil.copytree(files, folder, dirs_exist_ok=True, ignore=unwanted)
    if name != source:  # `evaluate.load` looks for a file that is named as the Space
        shutil.copyfile(folder / f"{source}.py", folder / f"{name}.py")
    card = fill_template(f"metric/{source}/README.md", repo_id=repo_id)
    (folder / "README.md").write_text(card, encoding="utf-8")


def write_dataset(folder: Path, source: Path, repo_id: str) -> None:
    """Write the folder of a data set: the shards of a prepared corpus, and its card with the new address in it."""
    from huggingface_hub import DatasetCard

    shards = sorted((source / "data").glob("*.parquet"))
    if not shards or not (source / "README.md").is_file():
        raise ValueError(f"{source} is no prepared corpus: make one with `u2net-hf prepare-corpus`.")
    card = (source / "README.md").read_text(encoding="utf-8")
    if DatasetCard(card).data.get("license", "unknown") == "unknown":
        raise ValueError(f"{source / 'README.md'} names no license: say under which terms the data may be used.")
    (folder / "data").mkdir()
    for shard in shards:
        if shard.is_symlink():
            raise ValueError(f"{shard} is a link: only what lies in the folder itself is published.")
        try:
            os.link(shard, folder / "data" / shard.name)  # a corpus may be large
        except OSError:
            shutil.copyfile(shard, folder / "data" / shard.name)
    card = re.sub(r'(load_dataset\(|--dataset_name )("?)[^"\s,)]+', rf"\g<1>\g<2>{repo_id}", card)
    (folder / "README.md").write_text(card, encoding="utf-8")


def write_space(folder: Path) -> None:
    """Write the demo: app, requirements and card, and this package, so that it needs no other source."""
    unwanted = shutil.ignore_patterns("__pycache__", ".*")
    shutil.copytree(find_template("space/app.py").parent, folder, dirs_exist_ok=True, ignore=unwanted)
    shutil.copytree(PACKAGE, folder / "u2net_hf", ignore=shutil.ignore_patterns("__pycache__", ".*", "hub_cards"))
