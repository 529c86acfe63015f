import runpy
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "training_memory.py"
GIB = 2**30


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(SCRIPT))


def test_table_names_the_largest_batch_that_leaves_room_for_the_context(script):
    rows = [
        {"size": 512, "bf16": bf16, "checkpointing": False, "batch": batch, "reserved": gib * GIB, "ms": 1.0}
        for bf16, batch, gib in ((True, 1, 3.0), (True, 2, 7.4), (True, 3, 7.5), (False, 1, 9.0))
    ]
    lines = script["table"](rows, [8, 16]).splitlines()
    assert lines[2:] == ["| 512x512 | bf16 | no | 2 | 3 |", "| 512x512 | float32 | no | – | 1 |"]


def test_wrong_network_is_named(script):
    with pytest.raises(ValueError, match="--config must be one of u2netp, u2net, isnet, got 'unet'"):
        script["main"](config="unet")
