"""The READMEs of what goes to the Hub: templates filled from what is known and measured, never from what is hoped.

The templates lie in `hub_cards/`, are Markdown with Jinja's `{{ names }}`, and are readable as they stand.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._version import __version__
from ..auto import OLDEST
from ..evaluation.results import MEASURES, Results, one_line, results_table
from ..models.families import family_of
from ..onnx_export.layout import BROWSER_DTYPES, FILE_NAMES
from ..utils.resources import find_template

if TYPE_CHECKING:
    from huggingface_hub import DatasetCardData, EvalResult


def fill_template(name: str, **values: Any) -> str:
    """Fill a template; a name in it without a value is an error."""
    import jinja2

    path = find_template(name)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(path.parent), undefined=jinja2.StrictUndefined, keep_trailing_newline=True
    )
    return environment.get_template(path.name).render(values)


def measured_note(results: Results) -> str:
    """When and with what the scores were measured, in a sentence."""
    versions = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    return f"Measured on {results.date[:10]} with {versions}; every number is in `results.json`."


def model_index(results: Results) -> list[EvalResult]:
    """The scores as the metadata (`model-index`) from which the Hub shows numbers beside a model."""
    from huggingface_hub import EvalResult

    return [
        EvalResult(
            task_type="image-segmentation",
            task_name=results.task,
            # The Hub wants an identifier: a data set of the Hub, or letters, digits and hyphens.
            dataset_type=_identifier(score.name),
            dataset_name=score.name,
            dataset_split=score.split,
            metric_type=name,
            metric_name=MEASURES.get(name, name).rstrip(" ↑↓"),
            metric_value=round(value, 4),
            metric_args=dict(score.variant) or None,
        )
        for score in results.data
        for name, value in score.metrics.items()
    ]


def _identifier(name: str) -> str:
    if re.fullmatch(r"[\w-]+/[\w.-]+", name, re.ASCII):
        return name
    return re.sub(r"[^\w-]+", "-", name, flags=re.ASCII).strip("-").lower() or "local"


def license_metadata(license: str) -> tuple[str, str | None]:
    """A license as the Hub's metadata has it: its identifier, or "other" and a name.

    Args:
        license: An SPDX identifier ("Apache-2.0") or a text.
    """
    if re.fullmatch(r"[A-Za-z0-9.+-]+", license):
        return license.lower(), None
    return "other", _identifier(license)[:60].strip("-")


def describe_model(model: Any, image_processor: Any) -> dict[str, Any]:
    """What the template of a model asks for and the model itself tells.

    Args:
        model: A [`U2NetForImageSegmentation`] or a [`UNetForSemanticSegmentation`].
        image_processor: Its image processor.
    """
    config = model.config
    family = family_of(config.model_type, type(model).__name__)
    colors = {1: "Gray", 3: "RGB"}.get(config.num_channels, f"{config.num_channels}-channel")
    size = image_processor.size
    shape = f"{size['height']}x{size['width']}" if image_processor.do_resize and size else "its own size"
    labels = ", ".join(config.id2label[label] for label in sorted(config.id2label))
    is_soft_map = family.output == "saliency" and config.out_channels == 1
    network = family.name(config)
    return {
        "family": family.model_type,
        "description": family.task.format(labels=labels),
        "network": network if config.use_batch_norm else f"{network}, {family.without_batch_norm}",
        "num_parameters": model.num_parameters(),
        "dtype": str(model.dtype).removeprefix("torch."),
        "input": f"{colors} image of any size, which the image processor brings to {shape}",
        "input_size": shape,
        "output": "A soft map in [0, 1] of the image's size" if is_soft_map else f"A label for each pixel: {labels}",
        "finds_instances": getattr(image_processor, "instances", None) is not None,
        "training_data": "not stated",
        "launch": None,
    }


def model_card(folder: Path, repo_id: str, results: Results | None, described: Mapping[str, Any]) -> str:
    """The README of a model.

    Args:
        folder: What will be published: weights, pictures and ONNX files are looked up in it.
        repo_id: Its repository.
        results: What was measured, if anything.
        described: The values of [`describe_model`], with license, training_data and what else is known.
    """
    from huggingface_hub import ModelCardData

    onnx = [path.name for path in sorted(folder.glob("onnx/*.onnx"))]
    pictures = [f"images/{path.name}" for path in sorted(folder.glob("images/*"))]
    title = repo_id.rpartition("/")[2]
    family = family_of(described["family"], repo_id)
    license_id, license_name = license_metadata(described["license"])
    metadata = ModelCardData(
        license=license_id,
        license_name=license_name,
        library_name="transformers",
        pipeline_tag="image-segmentation",
        tags=[*family.tags, *(["onnx", "transformers.js"] if onnx else [])],
        model_name=title,
        eval_results=model_index(results) if results else None,
    )
    texts = {name: one_line(value) if isinstance(value, str) else value for name, value in described.items()}
    return fill_template(
        f"model/{family.model_type}.md",
        **texts | {"launch": described["launch"]},
        metadata=metadata.to_yaml(),
        title=title,
        repo_id=repo_id,
        training_module=family.training_module,
        megabytes=sum(path.stat().st_size for path in folder.glob("*.safetensors")) / 1e6,
        onnx=onnx,
        onnx_dtype=next((BROWSER_DTYPES[dtype] for dtype, name in FILE_NAMES.items() if name in onnx), ""),
        oldest_transformers=".".join(map(str, OLDEST)),
        pictures=[path for path in pictures if path.startswith("images/example-")],
        curves=[path for path in pictures if not path.startswith("images/example-")],
        table=results_table(results.data) if results else "",
        measured_note=measured_note(results) if results else "",
        version=__version__,
    )


def dataset_card(metadata: DatasetCardData, *, location: str, source: str) -> str:
    """The README of a data set of images and masks.

    Args:
        metadata: Its front matter, with `dataset_info` (name, pairs and bytes of each split), `pretty_name` and
            `license`.
        location: What `load_dataset` is to be called with.
        source: What it was made from.
    """
    splits = [
        {"name": split["name"], "pairs": split["num_examples"], "megabytes": split["num_bytes"] / 1e6}
        for split in metadata["dataset_info"]["splits"]
    ]
    return fill_template(
        "dataset/README.md",
        metadata=metadata.to_yaml(),
        title=metadata["pretty_name"],
        license=metadata["license"],
        splits=splits,
        location=location,
        source=source,
    )
