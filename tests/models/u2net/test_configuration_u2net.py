"""The configuration of U²-Net: defaults, round trip, clear errors."""

from pathlib import Path
from typing import Any

import pytest
from tiny_models import tiny_u2net_config

from u2net_hf.models.u2net.configuration_u2net import U2NetConfig


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
        ({"num_labels": 4}, "set `out_channels` to the number of labels"),
    ],
)
def test_errors_name_the_argument(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(Exception, match=message):
        tiny_u2net_config(**arguments)
