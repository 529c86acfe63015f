"""What is read out of the description of a CPU and out of the environment."""

from pathlib import Path

import pytest

from u2net_hf.engines.cpu import cpu_has_bfloat16, num_threads


@pytest.mark.parametrize(
    ("described", "expected"),
    [
        ("flags\t\t: fpu avx512f avx512_bf16 vnni\n", True),
        ("flags\t\t: fpu amx_bf16\n", True),
        ("Features\t: fp asimd bf16 i8mm\n", True),
        ("flags\t\t: fpu avx2 avx512f\n", False),
        ("model name : amx_bf16 in name only\nflags : fpu\n", False),
        ("flags\t\t: fpu notavx512_bf16x\n", False),
    ],
)
def test_flags(described: str, expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda *arguments, **options: described)
    assert cpu_has_bfloat16() is expected


def test_other_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*arguments: object, **options: object) -> str:
        raise FileNotFoundError("/proc/cpuinfo")

    monkeypatch.setattr(Path, "read_text", missing)
    assert cpu_has_bfloat16() is False


@pytest.mark.parametrize(("allowed", "expected"), [("3", 3), ("", 0), ("4,2", 0), ("many", 0)])
def test_threads(allowed: str, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", allowed)
    assert num_threads() == expected
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert num_threads() == 0
