"""The configuration of U-Net and the arithmetic of valid convolutions, against the layers applied one by one."""

from pathlib import Path
from typing import Any

import pytest
from tiny_models import tiny_unet_config

from u2net_hf.models.unet.configuration_unet import UNetConfig, nearest_valid_sizes, valid_context


def output_by_layers(size: int, depth: int, upsampling: str) -> int | None:
    """Follow one side of the image through the layers of figure 1; `None` if a pooling sees an odd size."""
    for _ in range(depth):
        size -= 4  # two 3x3 convolutions
        if size < 2 or size % 2:
            return None
        size //= 2
    size -= 4
    for _ in range(depth):
        size = 2 * size - (2 if upsampling == "bilinear" else 0)  # the outermost pixels lack a neighbor
        size -= 4
    return size if size > 0 else None


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize("upsampling", ["transpose", "bilinear"])
def test_legal_sizes_are_those_that_pass_all_layers(depth: int, upsampling: str) -> None:
    config = UNetConfig.original(hidden_sizes=[1] * (depth + 1), upsampling=upsampling)
    legal = {size: out for size in range(1, 400) if (out := output_by_layers(size, depth, upsampling))}
    assert legal
    for size in range(1, 300):
        below = max((candidate for candidate in legal if candidate <= size), default=None)
        above = min(candidate for candidate in legal if candidate >= size)
        assert nearest_valid_sizes(size, depth, upsampling) == (below, above)
        if size in legal:
            assert config.output_size(size, size) == (legal[size], legal[size])
            assert size - valid_context(depth, upsampling) == legal[size]
        else:
            with pytest.raises(ValueError, match=f"height {size}.*nearest legal: .*{above}"):
                config.output_size(size, min(legal))


def test_the_paper_s_sizes() -> None:
    assert UNetConfig.original().output_size(572, 572) == (388, 388)
    assert valid_context(4) == 184
    assert UNetConfig.original().output_size(572, 188) == (388, 4)
    with pytest.raises(ValueError, match=r"Got height 570 \(nearest legal: 556 or 572\) and width 10 .*: 188\)"):
        UNetConfig.original().output_size(570, 10)
    assert UNetConfig().output_size(570, 1) == (570, 1)


def test_original_is_the_network_of_the_paper() -> None:
    config = UNetConfig.original()
    assert (config.num_channels, config.num_labels, config.depth) == (1, 2, 4)
    assert (config.padding, config.use_batch_norm, config.upsampling, config.dropout) == (
        "valid",
        False,
        "transpose",
        0.5,
    )
    assert UNetConfig.original(num_labels=5, dropout=0).num_labels == 5


@pytest.mark.parametrize("arguments", [{"hidden_sizes": (3, 4)}, {"num_labels": 1}, {"num_labels": 7, "dropout": 0.5}])
def test_round_trip(arguments: dict[str, Any], tmp_path: Path) -> None:
    config = UNetConfig(**arguments)
    config.save_pretrained(tmp_path)
    assert UNetConfig.from_pretrained(tmp_path).to_dict() == config.to_dict()
    assert UNetConfig.from_pretrained(tmp_path).hidden_sizes == config.hidden_sizes


def test_labels_have_names_that_users_can_read() -> None:
    assert UNetConfig().id2label == {0: "background", 1: "foreground"}
    assert UNetConfig(num_labels=2).label2id == {"background": 0, "foreground": 1}
    assert UNetConfig(num_labels=1).id2label == {0: "foreground"}
    assert UNetConfig(num_labels=3).num_labels == 3
    assert UNetConfig(id2label={0: "sky", 1: "cell", 2: "gap"}).num_labels == 3
    assert UNetConfig(id2label={0: "sky", 1: "cell"}).id2label == {0: "sky", 1: "cell"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_channels": 0}, "`num_channels` must be at least 1, got 0"),
        ({"hidden_sizes": [8]}, r"`hidden_sizes` must hold at least two .* got \[8\]"),
        ({"hidden_sizes": [8, 0]}, r"`hidden_sizes` must hold .* got \[8, 0\]"),
        ({"dropout": 1.0}, "`dropout` must be a probability .* got 1.0"),
        ({"num_labels": 0}, "`num_labels` must be at least 1"),
        ({"padding": "reflect"}, "'padding' expected one of .*'same', 'valid'"),
        ({"upsampling": "nearest"}, "'upsampling' expected one of"),
    ],
)
def test_errors_name_the_argument(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(Exception, match=message):
        tiny_unet_config(**arguments)
