"""Keeping freed memory, in a process of its own: it lasts until the process ends."""

import platform
import subprocess
import sys

import pytest

from u2net_hf.utils import process as memory

CODE = """
import resource, numpy
from u2net_hf.utils.process import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(50):
        numpy.ones(20 * 2**20, numpy.uint8)
        numpy.ones(9 * 2**20, numpy.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

assert keep_freed_memory()
faults()
print(faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_pages_are_not_fetched_again() -> None:
    faults = int(subprocess.run([sys.executable, "-c", CODE], check=True, capture_output=True).stdout)
    assert faults < 1000  # each round would take 7000


RELEASE = """
import numpy, re
from u2net_hf.utils.process import keep_freed_memory, release_freed_memory

def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024

keep_freed_memory()
blocks = [numpy.ones(2**20, numpy.uint8) for _ in range(64)]
held = resident()
del blocks
kept = resident()
assert release_freed_memory()
print(held - kept, held - resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_kept_memory_is_given_back_when_asked() -> None:
    before, after = map(float, subprocess.check_output([sys.executable, "-c", RELEASE]).split())
    assert before < 4
    assert after > 60  # of 64 MiB


def test_on_other_systems_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert memory.keep_freed_memory() is False
    assert memory.release_freed_memory() is False
