"""How the threads of a network wait for each other."""

from __future__ import annotations

import os
import sys

VARIABLE = "OMP_WAIT_POLICY"


def let_idle_threads_sleep() -> bool:
    """Let torch's threads sleep, not spin, while they wait for each other; call it before torch is imported.

    OpenMP's threads spin for milliseconds at the end of each layer. Where other work wants the cores at that time (the
    decoding and encoding of a folder's photos, other processes) they keep the very thread that they wait for from
    running: on two busy cores a network took three times as long. A user's own `OMP_WAIT_POLICY` stays.

    Returns:
        Whether it takes effect: false if torch was there already.
    """
    os.environ.setdefault(VARIABLE, "PASSIVE")
    return "torch" not in sys.modules
