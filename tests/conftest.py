"""What all tests share: the processes that they run in, and fixtures."""

import gc
import os
import signal
import tempfile
from pathlib import Path

import pytest
import torch
from drawn_scenes import draw_cells, draw_photo
from PIL import Image

# Several processes run the tests at once (`make test`), on tiny networks: each has one thread, as have the programs
# that it starts, and its own folder for the code of models and metrics, which their libraries copy without a lock.
torch.set_num_threads(1)
# A shell's background job ignores Ctrl-C, and so would the programs that the tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ["OMP_NUM_THREADS"] = "1"
MODULES = tempfile.TemporaryDirectory(prefix="modules-")
os.environ["HF_MODULES_CACHE"] = MODULES.name
# They are of a CPU, and some fork, which a GPU in use does not survive: only `make test-cuda` shows them one.
os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("TESTED_CUDA_DEVICES", "")

# Files that take longest begin first: a process would otherwise work on one of them alone at the end.
LONGEST = (
    "test_zoo",
    "test_site",
    "test_documented_commands",
    "test_loop",
    "test_startup",
    "test_style",
    "test_published",
    "test_export",
    "test_train_scripts",
)
MEMORY = 3 * 2**30  # that one process of the tests may take, with those that it starts
SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """A process for each core, if the memory has room for so many."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(1, min(len(os.sched_getaffinity(0)), memory // MEMORY))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first."""
    items.sort(key=lambda item: item.path.stem not in LONGEST)


def pytest_collection_finish() -> None:
    """Let no collection of garbage go through all that is imported by now, least of all in each fork of a test."""
    gc.collect()
    gc.freeze()


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
