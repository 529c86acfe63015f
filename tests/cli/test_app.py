"""The command line, with a tiny model of random weights: what is written, said, and which status it ends with."""

import io
import os
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_models import tiny_u2net_config

from u2net_hf import U2NetForImageSegmentation, U2NetImageProcessorPil
from u2net_hf.cli import app as cli


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny-model")
    torch.manual_seed(0)
    model = U2NetForImageSegmentation(tiny_u2net_config())
    torch.nn.init.normal_(model.outconv.weight, std=30)  # maps that are not 0.5 everywhere
    model.save_pretrained(folder)
    U2NetImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def photo(path: Path, size: tuple[int, int] = (40, 30)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def run(*arguments: object) -> int:
    """Run the command in this process; return its exit status."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["u2net-hf", *map(str, arguments)])
        try:
            cli.main()
        except SystemExit as stopped:
            return int(stopped.code or 0)
        return 0


def test_one_photo_beside_itself(model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = photo(tmp_path / "cat.jpg")
    assert run("remove", source, "-m", model_dir) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "cat.cut-out.png")
    with Image.open(tmp_path / "cat.cut-out.png") as cut_out:
        assert (cut_out.mode, cut_out.size) == ("RGBA", (40, 30))
    assert run("remove", source, "-m", model_dir) == 0
    assert "--overwrite" in capsys.readouterr().out


def test_several_models_give_the_mean_of_their_maps(model_dir: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    other = U2NetForImageSegmentation(tiny_u2net_config())
    torch.nn.init.normal_(other.outconv.weight, std=30)
    other.save_pretrained(tmp_path / "other")
    U2NetImageProcessorPil(size={"height": 48, "width": 40}).save_pretrained(tmp_path / "other")
    source, maps = photo(tmp_path / "cat.png"), {}
    for name, models in {
        "one": [model_dir],
        "two": [tmp_path / "other"],
        "mean": [model_dir, tmp_path / "other"],
    }.items():
        options = [part for model in models for part in ("-m", model)]
        path = tmp_path / f"{name}.png"
        assert run("remove", source, "--mask", "--dtype", "float32", "-o", path, *options) == 0
        maps[name] = np.asarray(Image.open(path), np.float64)
    assert abs(maps["one"] - maps["two"]).mean() > 5
    np.testing.assert_allclose(maps["mean"], (maps["one"] + maps["two"]) / 2, atol=1)


def test_mask_background_threshold_and_format(model_dir: Path, tmp_path: Path) -> None:
    source = photo(tmp_path / "cat.png")
    assert run("remove", source, "-m", model_dir, "--mask", "-o", tmp_path / "mask.png") == 0
    assert run("remove", source, "-m", model_dir, "--mask", "--threshold", 0.5, "-o", tmp_path / "hard.png") == 0
    assert run("remove", source, "-m", model_dir, "--background", "#ff0000", "-o", tmp_path / "red.jpg") == 0
    soft, hard = (np.asarray(Image.open(tmp_path / name)) for name in ("mask.png", "hard.png"))
    assert soft.shape == (30, 40)
    assert set(np.unique(hard)) <= {0, 255}
    assert np.ptp(soft) > 50
    certain = np.abs(soft - 127.5) > 1
    assert np.array_equal((hard == 255)[certain], (soft > 127)[certain])
    assert Image.open(tmp_path / "red.jpg").mode == "RGB"


def test_a_folder_with_bad_files_does_the_rest_and_says_so(
    model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "photos"
    photo(folder / "a.png")
    photo(folder / "deep" / "a.png")
    photo(folder / "one.png", (1, 1))
    (folder / "text.jpg").write_text("not a picture")
    (folder / "empty.png").touch()
    assert run("remove", folder, "-o", tmp_path / "out", "-m", model_dir, "--format", "webp", "--batch-size", 2) == 1
    said = capsys.readouterr()
    assert "3 done, 0 skipped, 2 failed" in said.out
    assert "text.jpg" in said.err
    assert "empty.png" in said.err
    assert "Traceback" not in said.err
    written = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert written == {"a.webp", "deep/a.webp", "one.webp"}
    assert run("remove", folder, "-o", tmp_path / "out", "-m", model_dir, "--format", "webp") == 1
    assert "0 done, 3 skipped, 2 failed" in capsys.readouterr().out


def test_compress_level(model_dir: Path, tmp_path: Path) -> None:
    source = photo(tmp_path / "cat.png", (200, 100))
    sizes = []
    for level in (0, 1, 9):
        target = tmp_path / f"{level}.png"
        assert run("remove", source, "-m", model_dir, "--compress-level", level, "-o", target) == 0
        sizes.append(target.stat().st_size)
    assert sizes[0] > 200 * 100 * 4 > max(sizes[1:])
    pixels = [np.asarray(Image.open(tmp_path / f"{level}.png")) for level in (0, 1, 9)]
    assert np.array_equal(pixels[0], pixels[1])
    assert np.array_equal(pixels[0], pixels[2])
    assert run("remove", source, "-m", model_dir, "--compress-level", 10) == 2


@pytest.mark.slow
def test_a_run_killed_half_way_leaves_whole_files_and_is_finished_by_the_next(
    model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "photos", tmp_path / "out"
    for number in range(24):
        photo(folder / f"{number:02}.bmp", (1200, 900))
    command = [sys.executable, "-m", "u2net_hf", "remove", str(folder), "-o", str(out), "-m", str(model_dir)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not any(out.glob("*.png")):
            time.sleep(0.001)
        process.kill()  # SIGKILL: nothing can be tidied up
    written = sorted(out.glob("*.png"))
    assert 0 < len(written) < 24
    left_behind = [path for path in out.iterdir() if path not in written]
    assert all(path.name.startswith(".") and path.suffix == ".part" for path in left_behind)
    for path in written:
        with Image.open(path) as image:
            image.load()
            assert (image.mode, image.size) == ("RGBA", (1200, 900))
    hour_ago = time.time() - 3700
    for path in [*left_behind, out / f".{'0' * 32}.part"]:
        path.touch()
        os.utime(path, (hour_ago, hour_ago))
    assert run("remove", folder, "-o", out, "-m", model_dir) == 0
    assert f"{24 - len(written)} done, {len(written)} skipped, 0 failed" in capsys.readouterr().out
    assert sorted(path.name for path in out.iterdir()) == [f"{number:02}.png" for number in range(24)]


@pytest.mark.parametrize("verb", ["remove", "segment"])
def test_processes_that_would_do_the_same_are_refused(
    tmp_path: Path, verb: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    photo(tmp_path / "photos" / "a.png")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert run(verb, tmp_path / "photos", "-o", tmp_path / "out") == 1
    assert f"{verb} is one process (WORLD_SIZE is set)" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_predict_makes_a_data_set(model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo(tmp_path / "photos" / "a.png")
    (tmp_path / "photos" / "b.png").write_text("not a picture")
    arguments = ("predict", tmp_path / "photos", tmp_path / "maps", "-m", model_dir, "--shard-size", 1)
    assert run(*arguments) == 0
    assert capsys.readouterr().out.strip() == "1 done, 1 failed"
    assert len(list((tmp_path / "maps" / "data").glob("*.parquet"))) == 2
    assert run(*arguments) == 0
    assert capsys.readouterr().out.strip() == "0 done, 0 failed, 2 parquet files were there"
    assert run(*arguments, "--bits", 16) == 1
    assert "was made with bits 8, not 16" in capsys.readouterr().err
    assert run(*arguments, "--push-to-hub", "me/maps") == 1
    assert "needs --license" in capsys.readouterr().err


def test_standard_input_to_standard_output(model_dir: Path, tmp_path: Path) -> None:
    source = photo(tmp_path / "cat.png")
    command = [sys.executable, "-m", "u2net_hf", "remove", "-", "-m", str(model_dir)]
    done = subprocess.run(command, input=source.read_bytes(), capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    cut_out = Image.open(io.BytesIO(done.stdout))
    assert (cut_out.format, cut_out.mode, cut_out.size) == ("PNG", "RGBA", (40, 30))
    bad = subprocess.run(command, input=b"nonsense", capture_output=True)
    assert bad.returncode == 1
    assert bad.stdout == b""
    assert bad.stderr.startswith(b"Error: ")
    assert bad.stderr.count(b"\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.jpg"], "missing.jpg"),
        (["cat.png", "-m", "no-such-model"], "no-such-model"),
        (["cat.png", "--background", "blurple"], "blurple"),
        (["cat.png", "--threshold", "2"], "threshold"),
        (["cat.png", "--mask", "--background", "red"], "mask"),
        (["cat.png", "-o", "cat.bmp"], "cat.bmp"),
        (["cat.png", "-o", "cat.png"], "cat.png"),
        (["-", "cat.png"], "name no others"),
        (["cat.png", "--device", "cuda:77"], "cuda:77"),
    ],
)
def test_mistakes_are_one_line_and_status_1(
    arguments: list[str],
    message: str,
    model_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    original = photo(tmp_path / "cat.png").read_bytes()
    model = [] if "-m" in arguments else ["-m", str(model_dir)]
    assert run("remove", *arguments, *model) == 1
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said
    assert (tmp_path / "cat.png").read_bytes() == original
    assert [path.name for path in tmp_path.iterdir()] == ["cat.png"]


def test_pull_lists_what_is_published(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("pull") == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in ("u2net", "u2netp", "u2net_human_seg", "silueta", "u2net_cloth_seg"))


def test_convert_refuses_what_is_not_a_u2net(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "weights.pth").write_bytes(b"nonsense")
    assert run("convert", tmp_path / "weights.pth", tmp_path / "out") == 1
    assert "weights.pth" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("verb", cli.MODULES)
def test_verbs_with_files_of_their_own(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What comes after the verb is theirs: `--help`, and mistakes."""
    assert run(verb, "--help") == 0
    said = capsys.readouterr().out
    assert f"u2net-hf {verb} --" in said or f"u2net-hf {verb} [" in said, said
    assert "launch" in said or verb.endswith(("cells", "corpus"))
    assert run(verb) != 0
    assert capsys.readouterr().err.startswith(("Error: ", f"Usage: u2net-hf {verb}"))


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out == f"u2net-hf {version('u2net-hf')}\n"
