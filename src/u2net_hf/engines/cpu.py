"""What the engines ask of the processor."""

from __future__ import annotations

import os
import re
from pathlib import Path


def cpu_has_bfloat16() -> bool:
    """Whether the CPU multiplies in bfloat16 (AVX-512 BF16, AMX, or Arm's BF16); known on Linux only.

    On another CPU bfloat16 is slower than float32.
    """
    try:
        described = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    return re.search(r"^(flags|Features)\b.*\b(avx512_bf16|amx_bf16|bf16)\b", described, re.MULTILINE) is not None


def num_threads() -> int:
    """How many threads the environment allows (`OMP_NUM_THREADS`, which torchrun sets); 0 if it says nothing.

    PyTorch obeys it by itself. ONNX Runtime and OpenVINO would take all cores in each of several processes.
    """
    allowed = os.environ.get("OMP_NUM_THREADS", "")
    return int(allowed) if allowed.isdecimal() else 0
