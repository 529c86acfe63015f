"""`u2net-hf segment` with a network that finds what is bright: what is written and said, and the exit status."""

import csv
import io
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from cell_models import bright_cells, bright_finder, same_objects
from PIL import Image

from u2net_hf.cli import app as cli
from u2net_hf.segmentation import writing
from u2net_hf.segmentation.sources import open_source


def run(*arguments: object) -> int:
    """Run the command in this process; return its exit status."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["u2net-hf", *map(str, arguments)])
        try:
            cli.main()
        except SystemExit as stopped:
            return int(stopped.code or 0)
        return 0


def test_one_image_and_all_that_can_be_had(finder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image, cells = bright_cells(0, dtype=np.uint16, top=4000)
    source = tmp_path / "cells.tif"
    tifffile.imwrite(source, image, imagej=True, resolution=(4, 2), metadata={"unit": "um"})
    line = ("segment", source, "-m", finder, "--overlay", "--table", "--probabilities")
    assert run(*line) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "cells.labels.tif")
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"cells.tif"} | {
        f"cells.{what}" for what in ("labels.tif", "overlay.png", "table.csv", "probabilities.tif")
    }
    labels = tifffile.imread(tmp_path / "cells.labels.tif")
    assert labels.dtype == np.uint16
    assert same_objects(labels, cells)
    with (tmp_path / "cells.table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["label"]) for row in rows] == list(range(1, cells.max() + 1))
    for row in rows:
        mask = labels == int(row["label"])
        assert float(row["area"]) == mask.sum()
        assert float(row["area_um2"]) == pytest.approx(mask.sum() / 8)
        assert float(row["mean_intensity"]) == pytest.approx(image[mask].mean(), rel=1e-6)
        assert float(row["centroid_x_um"]) == pytest.approx(np.nonzero(mask)[1].mean() / 4, rel=1e-6)
    with Image.open(tmp_path / "cells.overlay.png") as overlay:
        assert (overlay.mode, overlay.size) == ("RGB", (960, 720))
    probabilities = tifffile.imread(tmp_path / "cells.probabilities.tif")
    assert probabilities.dtype == np.float32
    cells[-1, -1] = 1  # a bright pixel, too small for an object
    assert np.array_equal(probabilities > 0.5, cells > 0)

    assert run(*line) == 0
    assert "--overwrite" in capsys.readouterr().out
    (tmp_path / "cells.table.csv").unlink()  # a result is missing: it is made
    assert run(*line) == 0
    assert (tmp_path / "cells.table.csv").exists()


@pytest.mark.parametrize("axes", ["ZYX", "TYX"])
def test_a_stack_keeps_its_axes(axes: str, finder: Path, tmp_path: Path) -> None:
    pairs = [bright_cells(seed) for seed in range(5)]
    source = tmp_path / "stack.tif"
    stack = np.stack([image for image, _ in pairs])
    metadata = {"axes": axes, "unit": "um"}
    tifffile.imwrite(source, stack, imagej=True, metadata=metadata, resolution=(2, 2), compression="zlib")
    assert run("segment", source, "-m", finder, "-o", tmp_path / "out", "--overlay", "--table") == 0
    with tifffile.TiffFile(tmp_path / "out" / "stack.tif") as tiff:
        assert (tiff.series[0].axes, tiff.is_imagej) == (axes, True)
        labels = tiff.asarray()
    assert all(same_objects(found, cells) for found, (_, cells) in zip(labels, pairs, strict=True))
    with tifffile.TiffFile(tmp_path / "out" / "stack.overlay.tif") as tiff:
        assert (tiff.series[0].axes, tiff.series[0].shape) == (axes + "S", (5, 720, 960, 3))
    for name, expected in (("stack", 0.5), ("stack.overlay", 0.5 / 8)):  # enlarged 8 times
        with open_source(tmp_path / "out" / f"{name}.tif") as opened:
            assert opened.pixel_size == pytest.approx((expected, expected))
    with (tmp_path / "out" / "stack.table.csv").open() as file:
        counts = np.bincount([int(row["page"]) for row in csv.DictReader(file)], minlength=6)
    assert list(counts) == [0, *(cells.max() for _, cells in pairs)]
    assert len(list((tmp_path / "out").iterdir())) == 3


def test_ome_channels(finder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = [bright_cells(seed, dtype=np.uint16, top=900) for seed in range(3)]
    source = tmp_path / "cells.ome.tif"
    stack = np.stack([image for image, _ in pairs])
    tifffile.imwrite(source, stack, metadata={"axes": "CYX"}, photometric="minisblack")
    assert run("segment", source, "-m", finder, "--table") == 1
    assert (
        "cells.ome.tif: has 3 channels, the network takes 1: choose one (--channel 1 to 3)" in capsys.readouterr().err
    )
    assert run("segment", source, "-m", finder, "--table", "--channel", 2) == 0
    assert same_objects(tifffile.imread(tmp_path / "cells.ome.labels.tif"), pairs[1][1])
    header = (tmp_path / "cells.ome.table.csv").read_text().splitlines()[0]
    assert "mean_intensity_1,mean_intensity_2,mean_intensity_3" in header


@pytest.mark.parametrize("kind", ["color.png", "gray.jpg", "deep.png", "float.tif", "int32.tif"])
def test_other_kinds(kind: str, finder: Path, tmp_path: Path) -> None:
    image, cells = bright_cells(0)
    if kind == "float.tif":
        tifffile.imwrite(tmp_path / kind, image / np.float32(7))
    elif kind == "int32.tif":
        tifffile.imwrite(tmp_path / kind, image.astype(np.int32) * 1000)
    else:
        array = image.astype(np.uint16) * 100 if kind == "deep.png" else image
        picture = Image.fromarray(np.stack([array] * 3, -1) if kind == "color.png" else array)
        picture.save(tmp_path / kind, quality=99)
    assert run("segment", tmp_path / kind, "-m", finder, "-o", tmp_path / "labels.png") == 0
    labels = np.asarray(Image.open(tmp_path / "labels.png"))
    assert labels.dtype == np.uint16
    assert labels.max() == cells.max()
    assert ((labels > 0) == (cells > 0)).mean() > 0.99


def bad_folder(folder: Path) -> Path:
    folder.mkdir()
    image = bright_cells(0)[0]
    tifffile.imwrite(folder / "good.tif", image)
    tifffile.imwrite(folder / "dark.tif", np.zeros_like(image))
    (folder / "text.tif").write_text("no image")
    (folder / "nothing.png").touch()
    series = np.stack([np.stack([image] * 3)] * 2)
    tifffile.imwrite(folder / "series.tif", series, imagej=True, metadata={"axes": "TZYX"})
    tifffile.imwrite(folder / "negative.tif", image.astype(np.float32) - 30)
    stack = np.stack([image] * 3).astype(np.float32)
    stack[1, 5, 5] = np.nan
    tifffile.imwrite(folder / "nan.tif", stack, photometric="minisblack")
    return folder


def test_bad_files_are_named_and_the_others_done(
    finder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = bad_folder(tmp_path / "in")
    assert run("segment", folder, "-o", tmp_path / "out", "-m", finder, "--table") == 1
    said = capsys.readouterr()
    assert "2 done, 0 skipped, 5 failed" in said.out
    errors = [line for line in said.err.splitlines() if line.startswith("Error: ")]
    expected = {
        "text.tif": "is not an image",
        "nothing.png": "is empty",
        "series.tif": "4-D time series (axes TZYX, 2 x 3 x 90 x 120)",
        "negative.tif": "negative values",
        "nan.tif": "page 2 of 3: holds NaN",
    }
    assert len(errors) == len(expected)
    for name, message in expected.items():
        assert sum(name in line and message in line for line in errors) == 1, name
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "good.tif",
        "good.table.csv",
        "dark.tif",
        "dark.table.csv",
    }
    assert tifffile.imread(tmp_path / "out" / "dark.tif").max() == 0
    assert run("segment", folder, "-o", tmp_path / "out", "-m", finder, "--table") == 1
    assert "0 done, 2 skipped, 5 failed" in capsys.readouterr().out


def test_bad_arguments(finder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = bright_cells(0)[0]
    source = tmp_path / "stack.tif"
    tifffile.imwrite(source, np.stack([image] * 2), photometric="minisblack")
    for arguments, message in {
        ("--format", "png"): "has 2 pages, a PNG holds one",
        ("-o", "labels.jpg"): "use a name that ends in .tif, .tiff, .png",
        ("-o", "-", "--table"): "standard output carries the labels alone",
        ("--channel", "2"): "there is no channel 2",
        ("--min-prominence", "2"): "`min_prominence` must be at least 0 and below 1",
        ("-m", "u2netp"): "is a u2net",
    }.items():
        assert run("segment", source, "-m", finder, *arguments) == 1
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert message in error, arguments
    assert [path.name for path in tmp_path.iterdir()] == ["stack.tif"]


def test_options_of_instances(finder: Path, tmp_path: Path) -> None:
    image, cells = bright_cells(0)
    tifffile.imwrite(tmp_path / "a.tif", image)
    areas = np.bincount(cells.ravel())[1:]
    limit = int(np.median(areas))
    assert run("segment", tmp_path / "a.tif", "-m", finder, "--min-area", limit) == 0
    assert tifffile.imread(tmp_path / "a.labels.tif").max() == (areas >= limit).sum()


def test_streams(finder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: Any) -> None:
    image, cells = bright_cells(0)
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stream.getvalue())))
    assert run("segment", "-", "-m", finder) == 0
    assert same_objects(tifffile.imread(io.BytesIO(capfdbinary.readouterr().out)), cells)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"no image")))
    assert run("segment", "-", "-m", finder) == 1
    assert b"standard input: is not an image" in capfdbinary.readouterr().err


def test_more_labels_than_16_bits(finder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first page has few objects, the second more than the (lowered) limit: both are written with 32 bits."""
    few, many = np.zeros((90, 120), np.uint8), bright_cells(0)[0]
    few[:20] = many[:20]
    monkeypatch.setattr(writing, "MOST_16_BIT", 10)
    tifffile.imwrite(tmp_path / "a.tif", np.stack([few, many]), photometric="minisblack")
    assert run("segment", tmp_path / "a.tif", "-m", finder) == 0
    labels = tifffile.imread(tmp_path / "a.labels.tif")
    assert labels.dtype == np.uint32
    assert 0 < labels[0].max() <= 10 < labels[1].max()


@pytest.mark.slow
def test_a_run_killed_half_way_leaves_whole_files_and_is_finished_by_the_next(
    finder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for number in range(12):
        tifffile.imwrite(folder / f"{number:02}.tif", np.stack([bright_cells(number, 200, 200)[0]] * 2))
    command = [sys.executable, "-m", "u2net_hf", "segment", str(folder), "-o", str(out), "-m", str(finder), "--table"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not any(out.glob("*.tif")):
            time.sleep(0.001)
        process.kill()  # SIGKILL: nothing can be tidied up
    written = sorted(out.glob("*.tif"))
    assert 0 < len(written) < 12
    for left in out.glob(".*.tmp"):  # one, at most
        os.utime(left, (time.time() - 3700,) * 2)
    for path in written:
        assert tifffile.imread(path).shape == (2, 200, 200)
        assert path.with_suffix(".table.csv").exists()
    assert run("segment", folder, "-o", out, "-m", finder, "--table") == 0
    assert f"{12 - len(written)} done, {len(written)} skipped, 0 failed" in capsys.readouterr().out
    names = [f"{number:02}.{suffix}" for number in range(12) for suffix in ("table.csv", "tif")]
    assert sorted(path.name for path in out.iterdir()) == names


def test_a_network_of_several_channels(tmp_path: Path) -> None:
    folder = bright_finder(tmp_path / "model", num_channels=2)
    image, cells = bright_cells(0)
    tifffile.imwrite(tmp_path / "a.tif", np.stack([image, image]), imagej=True, metadata={"axes": "CYX"})
    assert run("segment", tmp_path / "a.tif", "-m", folder, "--overlay") == 0
    assert same_objects(tifffile.imread(tmp_path / "a.labels.tif"), cells)
