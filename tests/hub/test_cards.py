"""Cards: what the Hub accepts, what a reader finds, and nothing that was not measured."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from card_rules import card_problems, front_matter
from huggingface_hub import DatasetCard, DatasetCardData, EvalResult, ModelCard
from tiny_models import tiny_u2net_config, tiny_unet_config

from u2net_hf import (
    U2NetConfig,
    U2NetForImageSegmentation,
    U2NetImageProcessorPil,
    UNetForSemanticSegmentation,
    UNetImageProcessorPil,
)
from u2net_hf.evaluation.results import Results, Score
from u2net_hf.hub.cards import (
    dataset_card,
    describe_model,
    fill_template,
    find_template,
    license_metadata,
    model_card,
    model_index,
)
from u2net_hf.weights.published import ISNET_INPUT, PUBLISHED

RESULTS = Results(
    model="outputs/net",
    num_parameters=7,
    data=[
        Score(
            name="nobg/DUTS",
            split="test",
            images=5019,
            metrics={"mae": 0.05432, "max_f": 0.85249},
            variant={"averaging": "dataset", "do_antialias": True},
            curves={"f": [0.1, 0.2]},
        ),
        Score("my photos", None, 12, {"mae": 0.1}, {"averaging": "image"}, {}),
    ],
    date="2026-01-02T03:04:05+00:00",
    versions={"torch": "2.13.0", "u2net_hf": "0.1.0"},
    processes=1,
    seconds=1.5,
)


def card_of(folder: Path, family: str = "u2net", results: Results | None = None, **facts: str) -> str:
    if family == "isnet":
        config = tiny_u2net_config(stem_channels=3, fuse_side_maps=False)
        model, processor = U2NetForImageSegmentation(config), U2NetImageProcessorPil(**ISNET_INPUT)
    elif family == "u2net":
        model, processor = U2NetForImageSegmentation(tiny_u2net_config()), U2NetImageProcessorPil()
    else:
        config = tiny_unet_config()
        model, processor = UNetForSemanticSegmentation(config), UNetImageProcessorPil.from_config(config)
    described = describe_model(model, processor) | {"license": "Apache-2.0"} | facts
    return model_card(folder, "me/net", results, described)


@pytest.mark.parametrize("family", ["u2net", "unet"])
def test_a_model_card_is_accepted_and_complete(tmp_path: Path, family: str) -> None:
    (tmp_path / "images").mkdir()
    for name in ("example-1.jpg", "curves.png"):
        (tmp_path / "images" / name).touch()
    (tmp_path / "model.safetensors").write_bytes(bytes(2_500_000))
    card = card_of(tmp_path, family, RESULTS, training_data="Cats of\nours | MIT", launch="torchrun train.py")
    assert card_problems(card, "model") == []
    data = ModelCard(card).data
    assert (data.license, data.library_name, data.pipeline_tag) == ("apache-2.0", "transformers", "image-segmentation")
    assert family in data.tags
    for pattern in (
        r"^# net$",
        r"^!\[[^]]+\]\(images/example-1\.jpg\)$",
        r"^!\[[^]]+\]\(images/curves\.png\)$",
        r"^\| License of the weights \| Apache-2\.0 \|$",
        r"^\| Training data \| Cats of ours / MIT \|$",
        r"^\| Parameters \| [\d,]+ \(2\.5 MB as safetensors, float32\) \|$",
        r'pipeline\("[a-z-]+", model="me/net", trust_remote_code=True\)',
        r'AutoImageProcessor\.from_pretrained\("me/net", trust_remote_code=True\)',
        r"^\| measure \| nobg/DUTS \(test\), 5,019 images \| my photos, 12 images \|$",
        r"^\| max F-beta ↑ \| 0\.852 \| – \|\n\| MAE ↓ \| 0\.054 \| 0\.100 \|$",
        r"^\| variant \| averaging=dataset, do_antialias=True \| averaging=image \|$",
        r"^Measured on 2026-01-02 with torch 2\.13\.0, u2net_hf 0\.1\.0; ",
        r"^## Intended use and limits$",
        r"^```bash\ntorchrun train\.py\n```$",
        r"^@(article|inproceedings)\{",
    ):
        assert re.search(pattern, card, re.MULTILINE), pattern
    assert "Not measured" not in card
    assert "{{" not in card
    assert "{%" not in card
    assert "\n\n\n" not in card


def test_the_card_of_isnet_says_what_it_is_for_and_that_its_license_is_not_stated(tmp_path: Path) -> None:
    license = PUBLISHED["isnet"].license
    card, other = card_of(tmp_path, "isnet", license=license), card_of(tmp_path)
    assert card_problems(card, "model") == []
    assert ModelCard(card).data.license == "other"
    for text in (
        f"| License of the weights | {license} |",
        "| Network | IS-Net with 3 stages of its own |",
        "brings to 1024x1024",
        "- For fine structure at high resolution",
        "Highly Accurate Dichotomous Image Segmentation",
    ):
        assert text in card, text
        assert text not in other, text
    assert "\n\n\n" not in card + other


def test_without_results_it_says_not_measured(tmp_path: Path) -> None:
    card = card_of(tmp_path)
    assert re.search(r"^## Results\n\nNot measured\.$", card, re.MULTILINE)
    assert "model-index" not in front_matter(card)
    assert "![" not in card
    assert not re.search(r"max F-beta|Measured on", card)
    assert card_problems(card, "model") == []


def test_the_metadata_hold_every_number_and_its_variant(tmp_path: Path) -> None:
    (result, *others) = ModelCard(card_of(tmp_path, results=RESULTS)).data.eval_results
    assert result == EvalResult(
        task_type="image-segmentation",
        task_name="Salient object detection",
        dataset_type="nobg/DUTS",
        dataset_name="nobg/DUTS",
        dataset_split="test",
        metric_type="mae",
        metric_name="MAE",
        metric_value=0.0543,
        metric_args={"averaging": "dataset", "do_antialias": True},
    )
    assert [(one.dataset_type, one.metric_type, one.metric_value) for one in others] == [
        ("nobg/DUTS", "max_f", 0.8525),
        ("my-photos", "mae", 0.1),
    ]


@pytest.mark.parametrize("name", ["../x/../y", "photos, 2. batch", "fräulein", "a/b/c", "..", "²", "x" * 300])
def test_names_of_corpora_become_identifiers(name: str) -> None:
    (one,) = model_index(replace(RESULTS, data=[Score(name, None, 1, {"mae": 0.0}, {}, {})]))
    assert re.fullmatch(r"(?:[\w-]+/)?[\w.-]+", one.dataset_type, re.ASCII)
    assert ".." not in one.dataset_type


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (U2NetConfig(), "U²-Net"),
        (U2NetConfig.small(), "U²-Net†"),
        (U2NetConfig.small(use_batch_norm=False), "U²-Net†, its BatchNorms folded into the convolutions"),
        (tiny_u2net_config(), "U²-Net with 3 stages of its own"),
        (U2NetConfig.isnet(), "IS-Net"),
        (U2NetConfig.small(stem_channels=64, fuse_side_maps=False), "IS-Net†"),
        (tiny_u2net_config(stem_channels=3, fuse_side_maps=False), "IS-Net with 3 stages of its own"),
        (U2NetConfig(stem_channels=64), "U²-Net with IS-Net's stem or side maps"),
    ],
)
def test_networks_have_the_names_of_the_paper(config: U2NetConfig, name: str) -> None:
    class Model:
        dtype = "torch.bfloat16"

        def __init__(self) -> None:
            self.config = config

        def num_parameters(self) -> int:
            return 7

    described = describe_model(Model(), U2NetImageProcessorPil())
    assert described["network"] == name
    assert (described["dtype"], described["input_size"]) == ("bfloat16", "320x320")


@pytest.mark.parametrize(
    ("license", "metadata"),
    [
        ("Apache-2.0", ("apache-2.0", None)),
        ("mit", ("mit", None)),
        ("not stated; made from the authors' weights", ("other", "not-stated-made-from-the-authors-weights")),
    ],
)
def test_licenses(license: str, metadata: tuple[str, str | None]) -> None:
    assert license_metadata(license) == metadata


@pytest.mark.parametrize("name", ["metric/sod_metrics/README.md", "metric/cell_metrics/README.md", "space/README.md"])
def test_cards_of_spaces_are_accepted(name: str) -> None:
    card = fill_template(name, repo_id="me/space") if name.startswith("metric") else find_template(name).read_text()
    assert card_problems(card, "space") == []
    assert front_matter(card)["app_file"] == "app.py"
    assert "{{" not in card


def test_a_dataset_card_is_accepted_and_complete() -> None:
    splits = [{"name": "train", "num_bytes": 2_500_000, "num_examples": 1234}]
    metadata = DatasetCardData(license="mit", pretty_name="Cats", dataset_info={"splits": splits})
    card = dataset_card(metadata, location="me/cats", source="cats")
    assert card_problems(card, "dataset") == []
    assert DatasetCard(card).data.license == "mit"
    assert re.search(r"^\| train \| 1,234 \| 2\.5 \|$", card, re.MULTILINE)
    assert 'load_dataset("me/cats", split="train")' in card
    assert "License: mit. Made from `cats`" in card


def test_a_template_needs_all_its_values() -> None:
    with pytest.raises(Exception, match="'repo_id' is undefined"):
        fill_template("metric/sod_metrics/README.md")
    with pytest.raises(FileNotFoundError, match="hub_cards/model/NONE"):
        find_template("model/NONE")
