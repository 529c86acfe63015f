"""Where results go, and which are done."""

from pathlib import Path

import pytest

from u2net_hf.segmentation.jobs import Outputs, companion, plan_segmentations


def test_results_lie_beside_and_earlier_ones_are_no_input(tmp_path: Path) -> None:
    for name in (
        *("a.tif", "a.labels.tif", "a.overlay.png", "a.overlay.tif", "a.probabilities.tif"),
        *("b.overlay.png", "b.png", "c.overlay.png"),
    ):
        (tmp_path / name).touch()
    jobs = plan_segmentations(sorted(tmp_path.iterdir()), None, ".tif", Outputs())
    planned = {job.source.name: job.destination.name for job in jobs}
    assert planned == {"a.tif": "a.labels.tif", "b.png": "b.labels.tif", "c.overlay.png": "c.overlay.labels.tif"}


@pytest.mark.parametrize("labels", ["cells.labels.tif", "cells.png"])
def test_names_of_companions(labels: str) -> None:
    assert companion(Path("out", labels), "table", ".csv") == Path("out/cells.table.csv")


def test_two_results_of_one_name_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a.tif", "a.overlay.jpg"):
        (folder / name).touch()
    plan_segmentations([folder], tmp_path / "out", ".png", Outputs())
    with pytest.raises(ValueError, match=r"a\.overlay\.png: is named like what is written beside .*a\.png"):
        plan_segmentations([folder], tmp_path / "out", ".png", Outputs(overlay=True))


def test_what_exists(tmp_path: Path) -> None:
    labels, outputs = tmp_path / "a.tif", Outputs(overlay=True, table=True)
    for name in ("a.tif", "a.overlay.tif", "a.table.csv"):
        assert not outputs.exist(labels)
        (tmp_path / name).touch()
    assert outputs.exist(labels)
    assert not Outputs(probabilities=True).exist(labels)
