"""The script that scores networks for cells, on images whose scores are known beforehand."""

import json
from pathlib import Path

import numpy as np
import pytest
from cell_models import bright_finder
from PIL import Image
from run_script import run_script
from skimage.draw import disk

from u2net_hf.evaluation.results import read_results


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A gray image with two discs apart, and a color picture with two that touch."""
    for name in ("images", "instances"):
        (tmp_path / "cells" / name).mkdir(parents=True)
    for number, (shift, channels) in enumerate([(30, 1), (21, 3)]):
        labels = np.zeros((64, 80), np.uint16)
        for label, column in enumerate((25, 25 + shift), start=1):
            labels[disk((32, column), 11)] = label
        pixels = np.repeat(np.where(labels > 0, 220, 20).astype(np.uint8)[..., None], channels, 2)
        pixels[0, 0, 0] = 30  # which makes the last one colored
        Image.fromarray(pixels.squeeze()).save(tmp_path / "cells" / "images" / f"{number}.png")
        Image.fromarray(labels).save(tmp_path / "cells" / "instances" / f"{number}.png")
    return tmp_path / "cells"


def test_scores_of_all_methods(corpus: Path, tmp_path: Path) -> None:
    model, output_dir = bright_finder(tmp_path / "finder"), tmp_path / "results"
    assert run_script("evaluate_cells.py", "--data", corpus, "--model", model, "--output_dir", output_dir) == 0
    comparison = json.loads((output_dir / "comparison.json").read_text())
    every, gray = comparison["measures"]["all"], comparison["measures"]["gray"]
    assert (every["images"], gray["images"]) == (2, 1)
    # Two equal discs that touch are one component, half of which is each: an IoU of .5 is not above .5.
    assert every["perfect"]["mean_ap"] == every["components"]["ap50"] == 0.5
    assert {gray[row]["ap50"] for row in ("network", "components", "otsu", "perfect")} == {1}
    assert every["otsu"]["ap50"] == 1
    assert list(comparison["worst"].values()) == sorted(comparison["worst"].values())
    assert Image.open(output_dir / "worst.png").height > 2 * 320
    assert "| Otsu + watershed | 1.000 |" in (output_dir / "comparison.md").read_text()
    results = read_results(output_dir)
    assert (results.model, results.task) == (str(model), "Instance segmentation")
    scores = [(score.name, score.images, dict(score.metrics)) for score in results.data]
    assert scores == [("cells", 2, every["network"]), ("cells, gray images", 1, gray["network"])]
