"""The configuration of U²-Net: defaults, round trip, clear errors."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import tiny_u2net_config
from transformers import AutoConfig, AutoModelForImageSegmentation, AutoModelForSemanticSegmentation

from u2net_hf.models.u2net.configuration_u2net import U2NetConfig
from u2net_hf.models.u2net.modeling_u2net import U2NetForImageSegmentation


def test_round_trip(tmp_path: Path) -> None:
    config = U2NetConfig.small(side_loss_weights=[1.0, 0.5, 0.5, 0.5, 0.5, 0.5])
    config.save_pretrained(tmp_path)
    assert U2NetConfig.from_pretrained(tmp_path).to_dict() == config.to_dict()


def test_one_channel_tells_two_labels_apart() -> None:
    assert U2NetConfig().id2label == {0: "background", 1: "salient object"}
    assert U2NetConfig(out_channels=4).num_labels == 4
    assert U2NetConfig(id2label={0: "sky", 1: "bird"}).out_channels == 1


def test_defaults_are_not_shared() -> None:
    U2NetConfig().encoder_stages[0][1] = 1
    assert U2NetConfig().encoder_stages[0][1] == 32


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"encoder_stages": [["RSU-3", 2], *(2 * [["RSU-3", 2, 4]])]},
            r"`encoder_stages` has the stage \['RSU-3', 2\]",
        ),
        ({"decoder_stages": 2 * [["RSU3", 2, 4]]}, r"`decoder_stages` has the stage \['RSU3', 2, 4\]"),
        ({"decoder_stages": [["RSU-3", 2, 4]]}, "3 `encoder_stages` need one decoder stage fewer"),
        ({"side_loss_weights": [1.0]}, "`side_loss_weights` needs 3 weights"),
        ({"out_channels": 0}, "must be at least 1"),
        ({"iou_loss_weight": -1.0}, "`iou_loss_weight` must be at least 0"),
        ({"iou_loss_weight": 1.0, "out_channels": 4}, "0 for `out_channels` above 1, got 1.0 for 4"),
        ({"out_channels": 4, "id2label": {0: "sky", 1: "bird"}}, "`out_channels=4` tells 4 labels apart, but"),
        (
            {"num_labels": 3, "id2label": {0: "sky", 1: "bird"}},
            "`num_labels=3` does not fit .* 2 labels of",
        ),
        ({"num_labels": 4, "out_channels": 3}, "`num_labels=4` does not fit `out_channels=3`"),
        ({"num_labels": 0}, "`num_labels=0` does not fit"),
    ],
)
def test_errors_name_the_argument(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(Exception, match=message):
        tiny_u2net_config(**arguments)


NAMES = {0: "background", 1: "cat", 2: "dog"}
INDICES = {name: index for index, name in NAMES.items()}
THREE = [
    {"num_labels": 3},
    {"id2label": NAMES},
    {"id2label": NAMES, "label2id": INDICES},
    {"label2id": INDICES},
    {"out_channels": 3},
    {"num_labels": 3, "id2label": NAMES, "label2id": INDICES, "out_channels": 3},
]


@pytest.mark.parametrize("make", [U2NetConfig, U2NetConfig.small, tiny_u2net_config])
@pytest.mark.parametrize("arguments", THREE, ids=str)
def test_labels_say_how_many_channels_there_are(make: Any, arguments: dict[str, Any]) -> None:
    config = make(**arguments)
    assert (config.out_channels, config.num_labels) == (3, 3)
    names = NAMES if len(arguments) != 1 or {"id2label", "label2id"} & arguments.keys() else None
    assert config.id2label == (names or {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"})
    assert config.label2id == {name: index for index, name in config.id2label.items()}


@pytest.mark.parametrize("arguments", THREE, ids=str)
def test_a_new_head_on_a_pretrained_network(tmp_path: Path, arguments: dict[str, Any]) -> None:
    """As SegFormer takes it: the folder's own labels and channels give way, the other weights stay."""
    saved = U2NetForImageSegmentation(tiny_u2net_config())
    saved.save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path, **arguments)
    assert config.to_dict()["id2label"] == tiny_u2net_config(**arguments).id2label
    assert config.label2id == tiny_u2net_config(**arguments).label2id
    for auto in (U2NetForImageSegmentation, AutoModelForImageSegmentation, AutoModelForSemanticSegmentation):
        model = auto.from_pretrained(tmp_path, ignore_mismatched_sizes=True, **arguments)
        assert model.config.out_channels == model.config.num_labels == 3
        assert model(torch.rand(1, 3, 8, 8)).logits.shape == (1, 3, 8, 8)
        assert torch.equal(model.stage1.rebnconvin.conv_s1.weight, saved.stage1.rebnconvin.conv_s1.weight)
        assert model.outconv.weight.std() > 0
    model.save_pretrained(tmp_path / "three")
    again = AutoConfig.from_pretrained(tmp_path / "three")
    assert (again.out_channels, again.id2label, again.label2id) == (3, config.id2label, config.label2id)


def test_other_names_for_as_many_labels_keep_the_head(tmp_path: Path) -> None:
    tiny_u2net_config(out_channels=2).save_pretrained(tmp_path)
    config = U2NetConfig.from_pretrained(tmp_path, id2label={0: "sky", 1: "bird"})
    assert (config.out_channels, config.label2id) == (2, {"sky": 0, "bird": 1})
    assert U2NetConfig.from_pretrained(tmp_path, num_labels=2).out_channels == 2
    tiny_u2net_config(id2label=NAMES).save_pretrained(tmp_path)
    config = U2NetConfig.from_pretrained(tmp_path, num_labels=2)
    assert (config.out_channels, config.id2label) == (1, {0: "background", 1: "salient object"})
    assert U2NetConfig.from_pretrained(tmp_path, num_labels=3).id2label == NAMES
