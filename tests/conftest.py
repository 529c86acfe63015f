"""Fixtures shared by all tests."""

from pathlib import Path

import pytest
import torch

# The networks of the tests are tiny: more threads only wait for each other, badly so on a busy machine.
torch.set_num_threads(1)

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(autouse=True)
def _seed() -> None:
    """Every test starts from the same random state."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images with masks that lies beside a checkout on the project's own machines."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"needs the real images in {SHARED_DATA}, which are not part of the repository")
    return SHARED_DATA
