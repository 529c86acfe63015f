"""The stages of U²-Net as data, read without any library: table 1 of the paper (arXiv 2005.09007)."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

# A block of height L halves its map L - 2 times: more than this no image has room for.
MAX_HEIGHT = 32


def parse_stage(stage: Sequence[str | int], argument: str = "stage") -> tuple[int, bool, int, int]:
    """Read `["RSU-4F", mid_channels, out_channels]` into `(height, dilated, mid_channels, out_channels)`.

    Raises:
        ValueError: If the stage has another form; the message names `argument`.
    """
    is_triple = isinstance(stage, list | tuple) and len(stage) == 3
    match = re.fullmatch(r"RSU-(\d{1,4})(F?)", str(stage[0])) if is_triple else None
    if match is None or not 2 <= int(match[1]) <= MAX_HEIGHT or not all(map(_is_count, stage[1:])):
        raise ValueError(
            f"`{argument}` has the stage {stage!r}; expected [block, mid channels, out channels] with a block such as "
            f'"RSU-7" (height 7, at most {MAX_HEIGHT}) or "RSU-4F" (height 4, dilated) and channels above 0.'
        )
    return int(match[1]), match[2] == "F", int(stage[1]), int(stage[2])


def check_architecture(config: Mapping[str, Any]) -> None:
    """Check the channels and the stages of a configuration; channels that it leaves out have their defaults.

    Raises:
        ValueError: If one of them is no architecture, or they do not fit together.
    """
    for name in ("num_channels", "out_channels"):
        if not _is_count(config.get(name, 1)):
            raise ValueError(f"`{name}` must be at least 1 and whole, got {config[name]!r}.")
    if config.get("stem_channels") is not None and not _is_count(config["stem_channels"]):
        raise ValueError(f"`stem_channels` must be at least 1, or None for no stem, got {config['stem_channels']!r}.")
    if not isinstance(config.get("fuse_side_maps", True), bool):
        raise ValueError(f"`fuse_side_maps` must be true or false, got {config['fuse_side_maps']!r}.")
    stages = {name: config.get(name) for name in ("encoder_stages", "decoder_stages")}
    for name, listed in stages.items():
        if not isinstance(listed, list | tuple):
            raise ValueError(f"`{name}` must be a list of stages, got {listed!r}.")
        for stage in listed:
            parse_stage(stage, name)
    encoder, decoder = (len(listed or ()) for listed in stages.values())
    if decoder != encoder - 1 or not decoder:
        raise ValueError(
            f"`decoder_stages` has {decoder} stages, but {encoder} `encoder_stages` need one decoder stage fewer, and "
            "at least one."
        )


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
