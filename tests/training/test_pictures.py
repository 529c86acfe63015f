"""Tests of u2net_hf.training.pictures: what is drawn where."""

from pathlib import Path

import numpy as np
from PIL import Image

from u2net_hf.training.pictures import STRIP_HEIGHT, Strip, save_curves, save_strips

GAP = 4


def test_strips_show_photo_mask_and_map_side_by_side(tmp_path: Path) -> None:
    red, blue = Image.new("RGB", (20, 10), (200, 0, 0)), Image.new("RGB", (10, 10), (0, 0, 200))
    full, empty = Image.new("L", (20, 10), 255), Image.new("L", (10, 10), 0)
    strips = [Strip(red, full, np.full((10, 20), 0.2)), Strip(blue, empty, np.full((10, 10), 1.0))]
    path = tmp_path / "validation" / "step_1.png"
    save_strips(strips, path)
    sheet = Image.open(path)
    wide = 2 * STRIP_HEIGHT
    assert sheet.size == (3 * wide + 2 * GAP, 2 * STRIP_HEIGHT + GAP)
    first = [sheet.getpixel((wide // 2 + place * (wide + GAP), 10)) for place in range(3)]
    assert first == [(200, 0, 0), (255, 255, 255), (51, 51, 51)]
    below = STRIP_HEIGHT + GAP + 10
    second = [sheet.getpixel((STRIP_HEIGHT // 2 + place * (STRIP_HEIGHT + GAP), below)) for place in range(3)]
    assert second == [(0, 0, 200), (0, 0, 0), (255, 255, 255)]
    assert [file.name for file in path.parent.iterdir()] == ["step_1.png"]


def test_curves_are_drawn_from_the_log(tmp_path: Path) -> None:
    log = [{"step": step, "loss": 5 / step, "learning_rate": 0.1} for step in (10, 20)]
    save_curves([*log, {"step": 20, "validation/max_f": 0.5}], tmp_path / "curves.png")
    picture = np.asarray(Image.open(tmp_path / "curves.png").convert("RGB"))
    save_curves(log[:1], tmp_path / "other.png")
    assert picture.shape == (400, 1000, 3)
    assert (np.asarray(Image.open(tmp_path / "other.png").convert("RGB")) != picture).any()


def test_curves_of_an_empty_log(tmp_path: Path) -> None:
    save_curves([], tmp_path / "curves.png")
    assert Image.open(tmp_path / "curves.png").size == (1000, 400)
