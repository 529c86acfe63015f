"""Threads that sleep while they wait."""

import os
import subprocess
import sys

import pytest

from u2net_hf.utils.process import set_passive_wait_policy

CODE = """
from u2net_hf.utils.process import set_passive_wait_policy
assert set_passive_wait_policy()
import torch
"""


def test_openmp_reads_it() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    shown = subprocess.run(
        [sys.executable, "-c", CODE], env=environment | {"OMP_DISPLAY_ENV": "true"}, check=True, capture_output=True
    )
    if b"OMP_WAIT_POLICY" not in shown.stderr:
        pytest.skip("torch has another thread library than OpenMP")
    assert b"OMP_WAIT_POLICY = 'PASSIVE'" in shown.stderr


def test_a_user_s_choice_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    assert not set_passive_wait_policy()  # torch is there: the tests import it
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"
