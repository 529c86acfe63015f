"""Fixtures shared by all tests."""

from pathlib import Path

import pytest
import torch
from drawn_scenes import draw_cells, draw_photo
from PIL import Image

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


@pytest.fixture(params=["drawn", "real"])
def photos(request: pytest.FixtureRequest) -> list[Image.Image]:
    """Photos in RGB."""
    if request.param == "drawn":
        return [draw_photo(seed) for seed in range(2)]
    folder = request.getfixturevalue("shared_data") / "sod300" / "images"
    return [Image.open(file).convert("RGB") for file in sorted(folder.iterdir())[:2]]


@pytest.fixture(params=["drawn", "real"])
def cells(request: pytest.FixtureRequest) -> tuple[Image.Image, Image.Image]:
    """A gray picture of cells between dark membranes, and its mask: cells 255."""
    if request.param == "drawn":
        return draw_cells(0)
    folder = request.getfixturevalue("shared_data") / "isbi2012"
    image, mask = (Image.open(folder / kind / "0.png").convert("L") for kind in ("images", "masks"))
    return image, mask
