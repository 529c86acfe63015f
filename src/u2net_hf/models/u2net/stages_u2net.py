"""The stages of U²-Net as data, read without any library: table 1 of the paper (arXiv 2005.09007)."""

import re
from collections.abc import Sequence


def parse_stage(stage: Sequence[str | int], argument: str = "stage") -> tuple[int, bool, int, int]:
    """Read `["RSU-4F", mid_channels, out_channels]` into `(height, dilated, mid_channels, out_channels)`.

    Raises:
        ValueError: If the stage has another form; the message names `argument`.
    """
    match = re.fullmatch(r"RSU-(\d+)(F?)", str(stage[0])) if len(stage) == 3 else None
    if match is None or int(match[1]) < 2 or not all(isinstance(size, int) and size > 0 for size in stage[1:]):
        raise ValueError(
            f"`{argument}` has the stage {list(stage)!r}; expected [block, mid channels, out channels] with a block "
            'such as "RSU-7" (height 7) or "RSU-4F" (height 4, dilated) and channels above 0.'
        )
    return int(match[1]), match[2] == "F", int(stage[1]), int(stage[2])
