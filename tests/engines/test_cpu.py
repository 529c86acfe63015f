"""What is read out of the description of a CPU and out of the environment."""

from pathlib import Path

import pytest

from u2net_hf.engines.cpu import cpu_computes_in, num_threads


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
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    monkeypatch.setattr(Path, "read_text", lambda *arguments, **options: described)
    assert cpu_computes_in("bfloat16") is expected
    assert cpu_computes_in("float16") is False
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16")
    assert cpu_computes_in("bfloat16") is expected
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert cpu_computes_in("bfloat16") is False


def test_float16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    for described in ("flags\t\t: fpu avx512_fp16\n", "Features\t: fp asimd asimdhp\n"):
        monkeypatch.setattr(Path, "read_text", lambda *arguments, text=described, **options: text)
        assert cpu_computes_in("float16") is True


def test_other_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*arguments: object, **options: object) -> str:
        raise FileNotFoundError("/proc/cpuinfo")

    monkeypatch.setattr(Path, "read_text", missing)
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    assert cpu_computes_in("bfloat16") is None


@pytest.mark.parametrize(("allowed", "expected"), [("3", 3), ("", 0), ("4,2", 0), ("many", 0)])
def test_threads(allowed: str, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", allowed)
    assert num_threads() == expected
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert num_threads() == 0
