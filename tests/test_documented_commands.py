"""Every command line of the README and of the guides runs, in the order in which they stand, with small files."""

import os
import shutil
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from accelerate.state import AcceleratorState
from documented_commands import Command, documented_commands
from drawn_discs import draw_cells, draw_discs
from drawn_videos import drawn_frames, write_video
from PIL import Image, ImageDraw
from tiny_models import tiny_u2net_config

from u2net_hf import U2NetForImageSegmentation, U2NetImageProcessorPil
from u2net_hf.cli import app

ROOT = Path(__file__).parents[1]
TINY = "tiny-model/"  # in the place of the networks for photos, whose weights are large or elsewhere
# What waits for visitors, needs a cluster, a bucket or npm: only its options are read.
ONLY_READ = {"demo", "serve", "browser", "--num-actors", "--address", "--watch"}
ONE_STEP = "--max_train_steps 1 --per_device_train_batch_size 2 --resolution 32 --num_warmup_steps 0"


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a reader, with all that the lines name."""
    monkeypatch.chdir(tmp_path)
    for name in ("hub_cards", "docs"):
        Path(name).symlink_to(ROOT / name)
    torch.manual_seed(0)
    for name in (TINY, "my-model"):
        model = U2NetForImageSegmentation(tiny_u2net_config())
        model.save_pretrained(name)
        U2NetImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(name)
    torch.save(model.state_dict(), "my_u2net.pth")
    write_photos_and_masks()
    write_cells()
    write_video(Path("clip.mp4"), drawn_frames(3), audio="aac")
    return tmp_path


def write_photos_and_masks() -> None:
    """Thirty pairs under each name, and one photo."""
    for number in range(30):
        photo, mask = Image.new("RGB", (40, 32), (number * 5, 90, 60)), Image.new("L", (40, 32))
        for picture, fill in ((photo, (250, 240, 30)), (mask, 255)):
            ImageDraw.Draw(picture).ellipse((8 + number % 8, 6, 30, 26), fill=fill)
        for corpus in ("photos", "more-photos", "path/to/SOD", "DIS5K", "salient", "cats", "isbi2012"):
            for split in ("train", "validation") if corpus in ("DIS5K", "salient", "cats") else ("",):
                for kind, picture in (("images", photo), ("masks", mask)):
                    path = Path(corpus, split, kind, f"{number:02}.png")
                    path.parent.mkdir(parents=True, exist_ok=True)
                    picture.save(path)
    photo.save("photo.jpg")
    photo.save("dance.gif", save_all=True, append_images=[photo.rotate(90)])
    shutil.copytree("path/to/SOD/masks", "path/to/maps")


def write_cells() -> None:
    """Microscope images under each name, with label images where they are corpora."""
    labels = draw_discs((64, 72), [(16, 18, 9), (16, 34, 9), (44, 40, 12)])
    cells = draw_cells(labels).convert("L")
    for folder in ("plate", "cells", "inbox"):
        Path(folder).mkdir()
        cells.save(Path(folder, "a.png"))
    cells.save("cells.png")
    tifffile.imwrite("cells.tif", np.asarray(cells))
    tifffile.imwrite("stack.ome.tif", np.stack([np.asarray(cells)] * 2)[None], metadata={"axes": "ZCYX"})
    for corpus, number in (("mine", 5), ("dsb2018/train", 2), ("dsb2018/val", 2), ("dsb2018/test", 2)):
        for kind, picture in (("images", cells), ("instances", Image.fromarray(labels.astype(np.uint16)))):
            Path(corpus, kind).mkdir(parents=True)
            for index in range(number):
                picture.save(Path(corpus, kind, f"{index}.png"))


def made_small(command: Command) -> list[str]:
    """The arguments, with the tiny network in the place of large ones, a bucket's files here, one step of training."""
    verb, *rest = command.arguments
    names = {"u2netp": TINY, "u2net": TINY, "isnet": TINY}
    models = {"-m", "--model", "--model_name_or_path"} | ({verb} if verb == "export" else set())
    previous, words = verb, [verb]
    for word in rest:
        words.append(names.get(word, word) if previous in models else word.replace("s3://shop/", ""))
        previous = word
    if verb == "segment":
        words = ["nuclei" if word == "my-cells/" else word for word in words]
    if verb.startswith("train"):
        words = ["isnet_small" if word == "isnet" else word for word in words]
        words += [*ONE_STEP.split(), "--overwrite_output_dir"]
    if not ONLY_READ.isdisjoint(words):
        words.append("--help")
    return words


def run(arguments: list[str], stdin: str | None, stdout: str | None) -> int:
    """Run the command in this process, with standard input and output from and to files; return its exit status."""
    with (
        open(stdin or "photo.jpg", encoding="latin-1") as given,
        open(stdout or os.devnull, "w", encoding="utf-8") as kept,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(sys, "argv", ["u2net-hf", *arguments])
        if stdin:
            patch.setattr(sys, "stdin", given)
            patch.setattr(sys, "stdout", kept)
        try:
            app.main()
        except SystemExit as ended:
            return int(ended.code or 0)
        return 0


def clear(arguments: list[str]) -> None:
    """Remove what an earlier line of another page left where this one writes."""
    named = [after for word, after in pairwise(arguments) if word in ("-o", "--output_dir", "--dry-run")]
    named += arguments[2:3] if arguments[0] in ("export", "convert", "prepare-corpus", "predict") else []
    for path in map(Path, named):
        if path.is_dir() and path.resolve().is_relative_to(Path.cwd()):
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


@pytest.mark.slow
@pytest.mark.usefixtures("workplace")
def test_documented_commands(capsys: pytest.CaptureFixture[str]) -> None:
    commands = documented_commands()
    assert len(commands) > 30
    problems = []
    for command in commands:
        arguments = made_small(command)
        AcceleratorState._reset_state(reset_partial_state=True)  # else a process trains in one precision only
        clear(arguments)
        status = run(arguments, command.stdin, command.stdout)
        said = capsys.readouterr()
        if status:
            problems.append(f"{command.place}: u2net-hf {' '.join(arguments)}\n{said.out[-300:]}{said.err[-600:]}")
    assert not problems, "\n\n".join(problems)
