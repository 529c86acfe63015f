"""What the engines ask of the processor."""

from __future__ import annotations

import os
import re
from pathlib import Path

# The names that Linux gives to the instructions, of x86 and of Arm.
INSTRUCTIONS = {"bfloat16": "avx512_bf16|amx_bf16|bf16", "float16": "avx512_fp16|amx_fp16|asimdhp"}


def cpu_computes_in(dtype: str) -> bool | None:
    """Whether the CPU has instructions for "bfloat16" or "float16"; `None` where the system does not tell (not Linux).

    Without them such numbers are emulated, far slower than float32. A cap on what oneDNN may use of the processor
    (`ONEDNN_MAX_CPU_ISA`) counts.
    """
    if re.fullmatch(
        r"SSE41|AVX|AVX2|AVX2_VNNI|AVX512_CORE|AVX512_CORE_VNNI", os.environ.get("ONEDNN_MAX_CPU_ISA", "")
    ):
        return False
    try:
        described = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return None
    return re.search(rf"^(flags|Features)\b.*\b({INSTRUCTIONS[dtype]})\b", described, re.MULTILINE) is not None


def num_threads() -> int:
    """How many threads the environment allows (`OMP_NUM_THREADS`, which torchrun sets); 0 if it says nothing.

    PyTorch obeys it by itself. ONNX Runtime and OpenVINO would take all cores in each of several processes.
    """
    allowed = os.environ.get("OMP_NUM_THREADS", "")
    return int(allowed) if allowed.isdecimal() else 0
