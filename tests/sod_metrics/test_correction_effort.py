"""HCE beside PySODMetrics with OpenCV, and its contours and polygons beside OpenCV's."""

import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from drawn_pairs import PAIRS
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from u2net_hf.sod_metrics import Pair, SODMetrics, hce
from u2net_hf.sod_metrics.correction_effort import contours, count_vertices

cv2 = pytest.importorskip("cv2", minversion="4.13", reason="needs OpenCV 4.13, which the measure itself does not")


@pytest.fixture
def published(pysodmetrics: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Any:
    """PySODMetrics' HCE of one pair."""
    module = pysodmetrics.sod_metrics
    monkeypatch.setattr(module, "cv2", cv2)

    def compute(levels: NDArray[Any], mask: NDArray[np.bool_]) -> float:
        measure = module.HumanCorrectionEffortMeasure()
        measure.step(levels, mask.astype(np.uint8) * 255)
        return float(measure.hces[0])

    return compute


def random_regions(seed: int) -> NDArray[np.bool_]:
    """From noise to lakes with islands, also of one row or pixel."""
    rng = np.random.default_rng(seed)
    size, smooth = rng.integers(1, 48, 2), rng.uniform(0, 2.5)
    return ndimage.gaussian_filter(rng.standard_normal(size), smooth) > rng.normal(0, 0.2 / (1 + smooth) ** 2)


@pytest.mark.parametrize(("levels", "mask"), PAIRS.values(), ids=PAIRS.keys())
def test_drawn_pairs_like_pysodmetrics(published: Any, levels: NDArray[Any], mask: NDArray[np.bool_]) -> None:
    assert hce(Pair(levels, mask)) == published(levels, mask)


def test_random_regions_like_pysodmetrics(published: Any) -> None:
    found = []
    for seed in range(60):
        predicted, mask = random_regions(seed), random_regions(seed + 1000)
        height, width = np.minimum(predicted.shape, mask.shape)
        predicted, mask = predicted[:height, :width], mask[:height, :width]
        if predicted.all() or not predicted.any():
            continue  # PySODMetrics cannot stretch a constant map
        found.append(hce(Pair(predicted, mask)))
        assert found[-1] == published(predicted.astype(np.uint8) * 255, mask), seed
    assert max(found) > 30
    assert len(set(found)) > 15


@pytest.mark.parametrize("method", ["Amulet", "DSS", "PiCANet"])
def test_real_maps_like_pysodmetrics(published: Any, shared_data: Path, method: str) -> None:
    """At the same pixels: PySODMetrics stretches maps first, and leaves out those at exactly one half."""
    folder = shared_data / "sod300"
    for file in sorted((folder / "masks").glob("*.png"))[::40]:
        levels = np.asarray(Image.open(folder / "maps" / method / file.name).convert("L"))
        mask = np.asarray(Image.open(file).convert("L")) > 128
        stretched = levels / 255
        stretched = (stretched - stretched.min()) / (stretched.max() - stretched.min())
        assert hce(Pair(stretched > 0.5, mask)) == published(levels, mask), file.name


def test_contours_and_polygons_are_those_of_opencv() -> None:
    for seed in range(100):
        mask = random_regions(seed)
        found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_TREE, cv2.CHAIN_APPROX_NONE)
        expected = [[(row, column) for column, row in contour[:, 0].tolist()] for contour in found]
        assert [*contours(mask)] == expected
        for contour in expected:
            line = [*dict.fromkeys(contour)]
            for epsilon in (1, 2, 4):
                polygon = cv2.approxPolyDP(np.array(line, np.int32)[:, None, ::-1], epsilon, False)
                assert count_vertices(line, epsilon) == len(polygon)


def test_clicks_that_one_can_count() -> None:
    mask = np.zeros((60, 60), bool)
    mask[20:40, 20:40] = True
    assert hce(Pair(mask, mask)) == 0
    beside = mask.copy()
    beside[50:52, 50:52] = True  # smaller than anybody would correct
    assert hce(Pair(beside, mask)) == 0
    hole = mask.copy()
    hole[28:31, 28:31] = False  # in the middle of the object: its skeleton is lost
    assert hce(Pair(hole, mask)) >= 1
    nothing = np.zeros_like(mask)
    assert hce(Pair(nothing, nothing)) == 0


def test_it_streams_with_the_others() -> None:
    metrics = SODMetrics(["hce", "mae"])
    values = []
    for levels, mask in PAIRS.values():
        metrics.update(levels, mask)
        values.append(hce(Pair(levels, mask)))
    assert metrics.compute()["hce"] == pytest.approx(np.mean(values), abs=1e-12)


def test_opencv_is_not_needed() -> None:
    program = (
        "import sys; sys.modules['cv2'] = None\n"
        "import numpy as np; from u2net_hf.sod_metrics import Pair, hce\n"
        "print(hce(Pair(np.ones((9, 9)), np.zeros((9, 9), bool))))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "1.0\n"
