"""Finding the files of a model without transformers."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hub_server import Hub
from prediction_helpers import Pair, noise
from tiny_models import tiny_u2net_config
from transformers import AutoModelForImageSegmentation

from u2net_hf.engines import load_engine
from u2net_hf.engines.model_files import find_model
from u2net_hf.engines.predict import saliency_maps
from u2net_hf.models.u2net.modeling_u2net import U2NetForImageSegmentation

pytest_plugins = ["hub_fixtures", "prediction_helpers"]


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copied"))


def test_options_and_parameters(folder: Path) -> None:
    files = find_model(folder)
    assert files.is_u2net
    assert files.input_options.size == (32, 32)
    assert files.num_parameters == AutoModelForImageSegmentation.from_pretrained(folder).num_parameters()


def test_running_statistics_are_no_parameters(tmp_path: Path) -> None:
    model = U2NetForImageSegmentation(tiny_u2net_config(use_batch_norm=False))
    model.save_pretrained(tmp_path)
    assert find_model(tmp_path).num_parameters == model.num_parameters()


def test_a_hub_id(connected_hub: Hub, folder: Path, tiny: Pair) -> None:
    for part in tiny:
        part.push_to_hub("me/net")
    images = [noise(40, 30)]
    (ours,), (local,) = saliency_maps(images, load_engine("me/net")), saliency_maps(images, load_engine(folder))
    np.testing.assert_array_equal(ours, local)
    with pytest.raises(OSError, match=r"There is no model me/nothing on the Hub"):
        load_engine("me/nothing")


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nowhere"):
        load_engine(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", "{", "config.json is not JSON"),
        ("config.json", "[]", "config.json must hold a JSON object"),
        ("preprocessor_config.json", "", "preprocessor_config.json is not JSON"),
        ("preprocessor_config.json", '{"size": 320}', "preprocessor_config.json holds options of a wrong type"),
        ("preprocessor_config.json", '{"size": {"shortest_edge": 320}}', "`size` must be"),
    ],
)
def test_a_damaged_file_is_named(file: str, content: str, message: str, copied: Path) -> None:
    (copied / file).write_text(content)
    with pytest.raises(ValueError, match=message):
        load_engine(copied)


def test_a_missing_file_is_named(copied: Path) -> None:
    (copied / "preprocessor_config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no preprocessor_config\.json: save"):
        load_engine(copied)


def test_a_stage_that_does_not_fit_the_weights(copied: Path) -> None:
    config = json.loads((copied / "config.json").read_text())
    config["encoder_stages"][0] = ["RSU-7", 2, 4]
    (copied / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="is missing"):
        load_engine(copied)
