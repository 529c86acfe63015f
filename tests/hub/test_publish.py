"""What is published, to a Hub and as a folder; and what must not be."""

import configparser
import json
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from card_rules import card_problems
from hub_requests import READ_TOKEN
from hub_server import Hub
from huggingface_hub import ModelCard
from PIL import Image
from tiny_models import tiny_u2net_config, tiny_unet_config
from transformers import AutoModelForImageSegmentation

from u2net_hf import (
    U2NetForImageSegmentation,
    U2NetImageProcessorPil,
    UNetForSemanticSegmentation,
    UNetImageProcessorPil,
)
from u2net_hf.cli.app import app
from u2net_hf.hub.publish import publish_dataset, publish_metric, publish_model, publish_space
from u2net_hf.hub.upload import HubError
from u2net_hf.utils.console import reported_errors
from u2net_hf.utils.resources import find_template

pytest_plugins = ["hub_fixtures"]

SVG = '<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
HTML = "<!doctype html><script>alert(1)</script>"


@pytest.fixture
def net(tmp_path: Path) -> Path:
    """A saved U²-Net."""
    U2NetForImageSegmentation(tiny_u2net_config()).save_pretrained(tmp_path / "net")
    U2NetImageProcessorPil(size={"height": 16, "width": 16}).save_pretrained(tmp_path / "net")
    return tmp_path / "net"


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.effect_noise((90, 60), 60).convert("RGB").save(tmp_path / "my photo.png")
    return tmp_path / "my photo.png"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A folder as evaluate_sod.py writes it."""
    (tmp_path / "results").mkdir()
    metrics = {"metrics": {"max_f": 0.75}, "variant": {"averaging": "dataset"}, "curves": {}}
    content = {"model": "/home/somebody/net", "num_parameters": 7, "date": "2026-01-02T03:04:05+00:00"}
    content |= {"versions": {"torch": "2.13.0"}, "processes": 1, "seconds": 1.0}
    content |= {"data": [{"name": "cats", "split": None, "images": 3} | metrics]}
    (tmp_path / "results" / "results.json").write_text(json.dumps(content))
    Image.new("L", (20, 10), 128).save(tmp_path / "results" / "curves.png")
    Image.new("L", (20, 10), 128).save(tmp_path / "results" / "worst.png")
    return tmp_path / "results"


@pytest.fixture(autouse=True)
def temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders are made; none may stay."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    yield tmp_path / "temporary"
    assert list((tmp_path / "temporary").iterdir()) == []


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


MODEL_FILES = {
    *("README.md", "config.json", "model.safetensors", "preprocessor_config.json", "configuration_u2net.py"),
    *("modeling_u2net.py", "pipeline_u2net.py", "image_processing_u2net.py", "pixels_u2net.py"),
    *("photo_u2net.py", "render_u2net.py", "stages_u2net.py", "handler.py", "requirements.txt"),
}


def test_a_model_as_a_folder(net: Path, photo: Path, results: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out" / "net"
    where = publish_model(net, "me/net", license="mit", results=results, examples=[photo, photo], dry_run=folder)
    assert where == str(folder)
    pictures = {"images/example-1.jpg", "images/example-2.jpg", "images/curves.png"}
    assert files(folder) == MODEL_FILES | pictures | {"results.json"}
    assert list(folder.parent.iterdir()) == [folder]
    loaded = U2NetForImageSegmentation.from_pretrained(folder).state_dict()
    for name, tensor in U2NetForImageSegmentation.from_pretrained(net).state_dict().items():
        assert torch.equal(tensor, loaded[name])
    card = ModelCard.load(folder / "README.md")
    assert [(one.dataset_name, one.metric_value) for one in card.data.eval_results] == [("cats", 0.75)]
    for picture in pictures:
        assert f"]({picture})" in card.content
    published = json.loads((folder / "results.json").read_text())
    assert (published["model"], published["data"][0]["metrics"]) == ("me/net", {"max_f": 0.75})
    with Image.open(folder / "images" / "example-1.jpg") as strip:
        assert strip.size == (3 * 90 + 16, 60)
        shown, original = np.asarray(strip)[:, :90].astype(int), np.asarray(Image.open(photo)).astype(int)
        assert abs(shown - original).mean() < 8  # JPEG


@pytest.mark.parametrize(
    ("name", "data", "metric", "row"),
    [
        ("nuclei", "dsb2018", "ap50", "| AP at an IoU of 0.5 ↑ | 0.851 | 0.874 |"),
        ("u2netp", "sod300", "max_f", "| max F-beta ↑ | 0.841 |"),
    ],
)
def test_shipped_weights_bring_their_results(name: str, data: str, metric: str, row: str, tmp_path: Path) -> None:
    publish_model(name, f"me/{name}", dry_run=tmp_path / name)
    card = ModelCard.load(tmp_path / name / "README.md")
    assert row in card.content
    assert "Not measured" not in card.content
    first = next(one for one in card.data.eval_results if one.metric_type == metric)
    assert (first.dataset_name, f"{first.metric_value:.3f}") == (data, row.split(" | ")[1].rstrip(" |"))
    task = "Instance segmentation" if name == "nuclei" else "Salient object detection"
    assert (first.task_type, first.task_name) == ("image-segmentation", task)


def test_a_model_on_the_hub(connected_hub: Hub, net: Path, tmp_path: Path) -> None:
    assert publish_model(net, "me/net", license="mit") == f"{connected_hub.url}/me/net"
    assert connected_hub.files("me/net").keys() == MODEL_FILES | {".gitattributes"}
    assert "Not measured." in connected_hub.files("me/net")["README.md"].decode()
    assert type(AutoModelForImageSegmentation.from_pretrained("me/net")) is U2NetForImageSegmentation
    # Again, from the Hub, now with ONNX files, and then without.
    (tmp_path / "exported" / "onnx").mkdir(parents=True)
    (tmp_path / "exported" / "onnx" / "model.onnx").write_bytes(b"onnx")
    publish_model("me/net", "me/net", license="mit", onnx=tmp_path / "exported")
    published = connected_hub.files("me/net")
    assert published["onnx/model.onnx"] == b"onnx"
    assert {"onnx", "transformers.js"} <= set(ModelCard(published["README.md"].decode()).data.tags)
    assert "@huggingface/transformers" in published["README.md"].decode()
    publish_model(net, "me/net", license="mit")
    assert connected_hub.files("me/net").keys() == MODEL_FILES | {".gitattributes"}


def test_a_u_net(tmp_path: Path) -> None:
    config = tiny_unet_config(num_channels=1)
    UNetForSemanticSegmentation(config).save_pretrained(tmp_path / "cells")
    UNetImageProcessorPil.from_config(config).save_pretrained(tmp_path / "cells")
    publish_model(tmp_path / "cells", "me/cells", license="mit", dry_run=tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert card_problems(card, "model") == []
    assert "ronneberger2015unet" in card
    assert "u2net-hf remove" not in card
    expected = {"modeling_unet.py", "tiling_unet.py", "image_processing_unet.py", "pipeline_u2net.py"}
    assert expected <= files(tmp_path / "out")


@pytest.mark.parametrize("content", [SVG, HTML, "", "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"])
@pytest.mark.parametrize("place", ["example", "curve"])
def test_what_poses_as_a_picture_is_refused(
    connected_hub: Hub, net: Path, results: Path, tmp_path: Path, content: str, place: str
) -> None:
    posing = results / "curves_2.png" if place == "curve" else tmp_path / "photo.png"
    posing.write_text(content)
    options = {"results": results} if place == "curve" else {"examples": [posing]}
    for where in ({}, {"dry_run": tmp_path / "out"}):
        with pytest.raises(ValueError, match=re.escape(str(posing))):
            publish_model(net, "me/net", license="mit", **options, **where)
    assert connected_hub.repositories == {}
    assert not (tmp_path / "out").exists()


def test_pictures_leave_what_they_carry_behind(net: Path, results: Path, tmp_path: Path) -> None:
    """A picture that is markup as well, and the place where a photo was taken."""
    exif = Image.Exif()
    exif[0x010E] = "at home"
    Image.new("RGB", (30, 20)).save(tmp_path / "photo.jpg", exif=exif)
    with (results / "curves.png").open("ab") as file:
        file.write(HTML.encode())
    publish_model(
        net, "me/net", license="mit", results=results, examples=[tmp_path / "photo.jpg"], dry_run=tmp_path / "out"
    )
    for path in (tmp_path / "out" / "images").iterdir():
        assert b"script" not in path.read_bytes()
        assert b"at home" not in path.read_bytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"license.*net.*license"),
        (
            {"license": "mit", "results": "results"},
            r"results of /home/somebody/net, not of .*other: eval",
        ),
        ({"license": "mit", "results": "missing"}, r"missing is no results file"),
        ({"license": "mit", "onnx": "results"}, r"results has no onnx/\*\.onnx: make it with `u2net-hf export`"),
        ({"license": "mit", "examples": ["missing.jpg"]}, r"missing\.jpg: no such file"),
        ({"license": "mit", "repo_id": "net"}, r'"user/name", got "net"'),
        ({"license": "mit", "repo_id": "../../net"}, r"net"),
    ],
)
def test_wrong_arguments_write_nothing(
    net: Path, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    source = net.rename(tmp_path / "other") if "not of" in message else net
    before = files(tmp_path)
    with pytest.raises(ValueError, match=message):
        publish_model(source, **{"repo_id": "me/net", "dry_run": "out"} | options)
    assert files(tmp_path) == before


def test_a_folder_that_holds_something_is_not_overwritten(net: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="out is not empty"):
        publish_model(net, "me/net", license="mit", dry_run=tmp_path / "out")
    assert files(tmp_path / "out") == {"mine.txt"}


def test_an_account_that_may_not_is_told_before_any_work(connected_hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(HubError, match="may only read"):
        publish_model(tmp_path / "does not exist", "me/net", token=READ_TOKEN)


def test_published_weights_bring_their_license(net: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("u2net_hf.weights.published.pull", lambda name, **_: net)
    publish_model("silueta", "me/silueta", dry_run=tmp_path / "out")
    card = ModelCard.load(tmp_path / "out" / "README.md")
    assert card.data.license == "other"
    assert "Weights published by others" in card.text
    # A folder of that name is a model of one's own.
    monkeypatch.chdir(net.parent)
    net.rename(net.with_name("silueta"))
    with pytest.raises(ValueError, match="license"):
        publish_model("silueta", "me/silueta", dry_run=tmp_path / "again")


@pytest.mark.parametrize("name", ["sod_metrics", "my_metric"])
def test_the_metric_of_salient_objects(connected_datasets: Hub, name: str) -> None:
    import evaluate

    assert publish_metric("sod_metrics", f"me/{name}") == f"{connected_datasets.url}/spaces/me/{name}"
    expected = {"README.md", "app.py", "requirements.txt", "sod_metrics.py", "measures.py", f"{name}.py"}
    assert expected <= connected_datasets.files(f"me/{name}", "space").keys()
    saliency, mask = np.full((4, 4), 0.25), np.zeros((4, 4), dtype=bool)
    scores = evaluate.load(f"me/{name}").compute(predictions=[saliency], references=[mask], measures=["mae"])
    assert scores == {"mae": pytest.approx(0.25)}


@pytest.mark.parametrize("name", ["cell_metrics", "my_metric"])
def test_the_metric_of_cells(connected_datasets: Hub, name: str) -> None:
    import evaluate

    assert publish_metric("cell_metrics", f"me/{name}") == f"{connected_datasets.url}/spaces/me/{name}"
    published = connected_datasets.files(f"me/{name}", "space")
    assert {
        "README.md",
        "app.py",
        "requirements.txt",
        "cell_metrics.py",
        "warping.py",
        f"{name}.py",
    } <= published.keys()
    assert "accumulator.py" in published
    assert f'evaluate.load("me/{name}", measures=' in published["README.md"].decode()
    true = np.array([[1, 1, 0, 2]])
    scores = evaluate.load(f"me/{name}").compute(predictions=[2 * (true > 1)], references=[true], measures=["ap50"])
    assert scores == {"ap50": pytest.approx(0.5)}
    membranes = evaluate.load(f"me/{name}", measures=["pixel_error", "v_rand_thinned"])
    assert membranes.compute(predictions=[true > 0], references=[true]) == {"pixel_error": 0, "v_rand_thinned": 1}


def test_a_metric_needs_a_name_that_can_be_loaded(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="sod-metrics"):
        publish_metric("sod_metrics", "me/sod-metrics", dry_run=tmp_path / "out")
    with pytest.raises(ValueError, match="The metrics are sod_metrics and cell_metrics; there is no 'dog_metrics'"):
        publish_metric("dog_metrics", "me/dog_metrics", dry_run=tmp_path / "out")


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """A corpus as prepare_corpus.py writes it."""
    import datasets

    folder = tmp_path / "prepared"
    features = datasets.Features({"image": datasets.Image(), "mask": datasets.Image()})
    images = [Image.new("RGB", (8, 6), (40 * i, 0, 0)) for i in range(3)]
    rows = {"image": images, "mask": [image.convert("L") for image in images]}
    (folder / "data").mkdir(parents=True)
    datasets.Dataset.from_dict(rows, features=features).to_parquet(folder / "data" / "train-00000-of-00001.parquet")
    text = '# Cats\n\nload_dataset("prepared", split="train")\n\ntrain_sod.py --dataset_name prepared --output_dir O\n'
    (folder / "README.md").write_text(f"---\npretty_name: Cats\nlicense: mit\n---\n{text}")
    (folder / "notes.txt").write_text("private")
    return folder


def test_a_corpus(connected_datasets: Hub, prepared: Path) -> None:
    import datasets

    assert publish_dataset(prepared, "me/cats") == f"{connected_datasets.url}/datasets/me/cats"
    published = connected_datasets.files("me/cats", "dataset")
    assert published.keys() == {".gitattributes", "README.md", "data/train-00000-of-00001.parquet"}
    card = published["README.md"].decode()
    assert 'load_dataset("me/cats", split="train")' in card
    assert "--dataset_name me/cats --output_dir O" in card
    assert [row["image"].getpixel((0, 0))[0] for row in datasets.load_dataset("me/cats", split="train")] == [0, 40, 80]
    # Fewer shards the next time: the old ones go.
    shard = prepared / "data" / "train-00000-of-00001.parquet"
    shard.rename(shard.with_name("test-00000-of-00001.parquet"))
    publish_dataset(prepared, "me/cats")
    assert "data/train-00000-of-00001.parquet" not in connected_datasets.files("me/cats", "dataset")


def spoil_link(folder: Path) -> None:
    shard = folder / "data" / "train-00000-of-00001.parquet"
    shard.rename(folder / "elsewhere")
    shard.symlink_to(folder / "elsewhere")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "README.md").unlink(), "is no prepared corpus: make one with"),
        (lambda folder: (folder / "README.md").write_text("---\nlicense: unknown\n---\n"), "names no license"),
        (spoil_link, "is a link"),
    ],
)
def test_what_is_no_prepared_corpus(prepared: Path, spoil: Callable[[Path], object], message: str) -> None:
    spoil(prepared)
    with pytest.raises(ValueError, match=message):
        publish_dataset(prepared, "me/cats", dry_run=prepared.parent / "out")
    assert not (prepared.parent / "out").exists()


def test_the_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = tmp_path / "hub_cards" / "space" / "app.py"
    app.parent.mkdir(parents=True)
    app.write_text("import u2net_hf\n")
    (app.parent / "__pycache__").mkdir()
    (app.parent / "__pycache__" / "app.pyc").touch()
    monkeypatch.setattr("u2net_hf.hub.publish.find_template", lambda name: tmp_path / "hub_cards" / name)
    publish_space("me/demo", dry_run=tmp_path / "out")
    published = files(tmp_path / "out")
    assert {
        "app.py",
        "u2net_hf/__init__.py",
        "u2net_hf/models/u2net/modeling_u2net.py",
        "u2net_hf/py.typed",
    } <= published
    assert not [name for name in published if "pyc" in name]


def test_the_demo_asks_for_what_the_package_asks_for() -> None:
    settings = configparser.ConfigParser()
    settings.read(Path(__file__).parents[2] / "setup.cfg")
    needed = set(settings["options"]["install_requires"].strip().splitlines())
    assert needed <= set(find_template("space/requirements.txt").read_text().splitlines())


def push(*arguments: object) -> int:
    """Run `u2net-hf push` in this process; return its exit status."""
    try:
        with reported_errors():
            app(["push", *map(str, arguments)])
    except SystemExit as stopped:
        return int(stopped.code or 0)
    return 0


def test_the_command(net: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out, license = tmp_path / "out", ("--license", "mit", "--training-data", "Our cats (MIT)")
    assert push("model", net, "me/net", *license, "--dry-run", out) == 0
    assert "Our cats (MIT)" in (out / "README.md").read_text()
    assert capsys.readouterr().out.splitlines()[-1] == str(out)
    assert files(out) == MODEL_FILES
    assert push("metric", "sod_metrics", "me/sod_metrics", "--dry-run", tmp_path / "metric") == 0
    assert push("dataset", net, "me/net", "--dry-run", tmp_path / "data") == 1
    assert capsys.readouterr().err.startswith(f"Error: {net} is no prepared corpus")
    assert push("space", "me/a/b") == 1
    assert "user/name" in capsys.readouterr().err
