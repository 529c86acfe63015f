"""Finding the files of a model without transformers."""

import json
import shutil
from pathlib import Path

import httpx2
import huggingface_hub
import numpy as np
import pytest
import torch
from hub_server import Hub
from prediction_helpers import Pair, noise
from safetensors.torch import load_file, save_file
from tiny_models import tiny_u2net_config
from transformers import AutoModelForImageSegmentation

from u2net_hf.engines import load_engine
from u2net_hf.engines.model_files import find_model
from u2net_hf.engines.names import EngineName
from u2net_hf.engines.predict import saliency_maps
from u2net_hf.engines.validation import weight_shapes
from u2net_hf.models.u2net.configuration_u2net import U2NetConfig
from u2net_hf.models.u2net.modeling_u2net import U2NetForImageSegmentation

pytest_plugins = ["hub_fixtures", "prediction_helpers"]


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copied"))


def test_options_and_parameters(folder: Path) -> None:
    files = find_model(folder)
    assert files.has_fused_form
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


def test_a_connection_that_drops(monkeypatch: pytest.MonkeyPatch) -> None:
    def drop(*_: object, **__: object) -> None:
        raise httpx2.RemoteProtocolError("peer closed connection without sending complete message body")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", drop)
    with pytest.raises(OSError, match=r"me/net could not be fetched from the Hub: peer closed connection"):
        load_engine("me/net")


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nowhere"):
        load_engine(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", "{", "config.json is not JSON"),
        ("config.json", "[]", "config.json must hold a JSON object"),
        ("preprocessor_config.json", "", "preprocessor_config.json is not JSON"),
        ("preprocessor_config.json", '{"size": 320}', "`size` must be"),
        ("preprocessor_config.json", '{"size": {"shortest_edge": 320}}', "`size` must be"),
        ("config.json", "[" * 100_000, "config.json is not JSON"),
        ("model.safetensors", "", r"model\.safetensors cannot be read"),
        ("model.safetensors", "<html>404</html>", r"model\.safetensors cannot be read"),
    ],
)
def test_a_damaged_file_is_named(file: str, content: str, message: str, copied: Path) -> None:
    (copied / file).write_text(content)
    for engine in EngineName:
        with pytest.raises(ValueError, match=message):
            load_engine(copied, engine)


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("config.json", {"out_channels": -1}, r"config\.json: `out_channels` must be at least 1"),
        (
            "config.json",
            {"out_channels": 2},
            r"of a wrong shape: side1\.weight \(1, 4, 3, 3\), expected \(2, 4",
        ),
        ("config.json", {"num_channels": "3"}, r"config\.json: `num_channels` must be at least 1"),
        (
            "config.json",
            {"encoder_stages": None},
            r"config\.json: `encoder_stages` must be a list .*got None",
        ),
        ("config.json", {"encoder_stages": [None] * 3}, r"config\.json: `encoder_stages` has the stage None"),
        ("config.json", {"encoder_stages": [["RSU-100000000", 2, 4]] * 3}, r"at most 32"),
        ("config.json", {"decoder_stages": []}, r"config\.json: `decoder_stages` has 0 stages"),
        ("config.json", {"use_batch_norm": False}, r"unexpected: stage1\.rebnconv1\.bn_s1\.bias"),
        (
            "preprocessor_config.json",
            {"image_std": 0},
            r"_config\.json: `image_std` must be .*above 0, got 0",
        ),
        ("preprocessor_config.json", {"image_std": [0.2, float("nan"), 0.2]}, r"`image_std` must be finite"),
        ("preprocessor_config.json", {"image_std": ["a", "b", "c"]}, r"`image_std` must be finite"),
        ("preprocessor_config.json", {"image_mean": [0.5, 0.5]}, r"`image_mean` has 2 values for 3 channels"),
        ("preprocessor_config.json", {"image_mean": [[0.5], 0.5]}, r"preprocessor_config\.json: "),
        ("preprocessor_config.json", {"rescale_factor": float("inf")}, r"`rescale_factor` must be finite"),
        ("preprocessor_config.json", {"resample": 9}, r"`resample` must be"),
        ("preprocessor_config.json", {"size": {"height": -1, "width": 32}}, r"`size` must be"),
        ("preprocessor_config.json", {"size": {"height": 10**12, "width": 10**12}}, r"`size` must be"),
        ("preprocessor_config.json", {"size": {"height": "32", "width": 32}}, r"`size` must be"),
    ],
)
def test_what_the_model_refuses_every_engine_refuses(
    file: str, changes: dict[str, object], message: str, copied: Path
) -> None:
    path = copied / file
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    for engine in EngineName:
        with pytest.raises(ValueError, match=message):
            load_engine(copied, engine)


def test_weights_of_a_wrong_shape_are_named(copied: Path) -> None:
    weights = load_file(copied / "model.safetensors")
    weights["stage2.rebnconv1.conv_s1.bias"] = torch.zeros(1)  # which would be added to all channels
    save_file(weights, copied / "model.safetensors")
    for engine in EngineName:
        with pytest.raises(
            ValueError, match=r"of a wrong shape: stage2\.rebnconv1\.conv_s1\.bias \(1,\), expected \(3,\)"
        ):
            load_engine(copied, engine)


@pytest.mark.parametrize(
    "config",
    [
        U2NetConfig(),
        U2NetConfig.small(out_channels=4, num_channels=1),
        tiny_u2net_config(),
        tiny_u2net_config(use_batch_norm=False, out_channels=3),
        U2NetConfig.isnet(),
        tiny_u2net_config(stem_channels=4),
        tiny_u2net_config(fuse_side_maps=False),
    ],
)
def test_the_shapes_are_those_of_the_network(config: U2NetConfig) -> None:
    with torch.device("meta"):
        network = U2NetForImageSegmentation(config)
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    assert weight_shapes(config.to_dict()) == expected


def test_a_missing_file_is_named(copied: Path) -> None:
    (copied / "preprocessor_config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no preprocessor_config\.json: save"):
        load_engine(copied)


def test_a_stage_that_does_not_fit_the_weights(copied: Path) -> None:
    config = json.loads((copied / "config.json").read_text())
    config["encoder_stages"][0] = ["RSU-7", 2, 4]
    (copied / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"model\.safetensors does not fit .*missing: stage1\.rebnconv4d"):
        load_engine(copied)
