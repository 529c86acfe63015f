"""Tests of u2net_hf.images.drawing: what is drawn where."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from u2net_hf.images.drawing import CAPTION_HEIGHT, captioned_row, checkerboard, contact_sheet, save_figure


def test_rows_of_pictures_of_one_height() -> None:
    red, blue = Image.new("RGB", (20, 10), (200, 0, 0)), Image.new("L", (5, 10), 60)
    sheet = contact_sheet([[red, blue], [blue]], 30, gap=6)
    assert (sheet.mode, sheet.size) == ("RGB", (60 + 6 + 15, 30 + 6 + 30))
    expected = np.full((66, 81, 3), 255)
    expected[:30, :60] = (200, 0, 0)
    expected[:30, 66:] = expected[36:, :15] = 60
    assert np.array_equal(np.asarray(sheet), expected)


def test_captions_stand_above_their_rows() -> None:
    black = Image.new("L", (40, 20))
    sheet = np.asarray(contact_sheet([[], [black]], 20, gap=0, captions=["worst", ""]))
    assert sheet.shape == (2 * CAPTION_HEIGHT + 20, 40, 3)
    assert (sheet[:CAPTION_HEIGHT] < 128).any()
    assert (sheet[CAPTION_HEIGHT : 2 * CAPTION_HEIGHT] == 255).all()
    assert (sheet[2 * CAPTION_HEIGHT :] == 0).all()


@pytest.mark.parametrize("size", [(1000, 1), (1, 1000)])
def test_no_picture_is_too_narrow(size: tuple[int, int]) -> None:
    sheet = contact_sheet([[Image.new("L", size)]], 20)
    assert sheet.height == 20
    assert 1 <= sheet.width <= 80


def test_checkerboard() -> None:
    board = np.asarray(checkerboard((5, 3), square=2))[..., 0]
    assert board.tolist() == [[200, 200, 240, 240, 200], [200, 200, 240, 240, 200], [240, 240, 200, 200, 240]]


def test_a_figure_is_written_whole(tmp_path: Path) -> None:
    save_figure(Figure(figsize=(2, 1)), tmp_path / "new" / "a.png", dpi=50)
    assert Image.open(tmp_path / "new" / "a.png").size == (100, 50)
    save_figure(Figure(), tmp_path / "a.svg")
    assert "<svg" in (tmp_path / "a.svg").read_text()
    with pytest.raises(ValueError, match="xyz"):
        save_figure(Figure(), tmp_path / "a.xyz")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.svg", "new"]


def test_pictures_stand_beside_each_other_below_their_titles() -> None:
    black, gray = Image.new("L", (30, 25)), Image.new("L", (40, 25), 90)
    row = np.asarray(captioned_row({"a": black, "b": gray}))
    assert row.shape == (CAPTION_HEIGHT + 25, 70, 3)
    assert (row[CAPTION_HEIGHT:, :30] == 0).all()
    assert (row[CAPTION_HEIGHT:, 30:] == 90).all()
    assert (row[:CAPTION_HEIGHT, :30] < 128).any()
    assert (row[:CAPTION_HEIGHT, 30:] < 128).any()
