"""Tests of scripts/train_sod.py and train_unet.py: the command lines, from a folder of files to a saved model."""

import json
import os
import re
import runpy
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn_discs import draw_cells, draw_discs
from PIL import Image
from tiny_models import tiny_u2net_config
from training_helpers import SCRIPTS, drawn_corpus, run_in_processes, write_corpus
from training_helpers import run_training_script as run
from transformers import AutoImageProcessor, AutoModelForImageSegmentation

from u2net_hf import U2NetForImageSegmentation, U2NetImageProcessorPil
from u2net_hf.cli import train_sod
from u2net_hf.training import loop as training_module
from u2net_hf.training.arguments import EXIT_STOPPED


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_corpus(tmp_path / "corpus", train=6, validation=3)


@pytest.fixture
def folded(tmp_path: Path) -> Path:
    """A saved network like the published ones: BatchNorm folded into the convolutions."""
    folder = tmp_path / "folded"
    torch.manual_seed(0)
    U2NetForImageSegmentation(tiny_u2net_config(use_batch_norm=False)).save_pretrained(folder)
    U2NetImageProcessorPil().save_pretrained(folder)
    return folder


SMALL = ("--max_train_steps", 2, "--per_device_train_batch_size", 2, "--validation_steps", 2)


def test_train_sod_refuses_an_image_processor_of_another_kind(corpus: Path, folded: Path, tmp_path: Path) -> None:
    (folded / "preprocessor_config.json").write_text('{"image_processor_type": "ViTImageProcessor"}')
    log = tmp_path / "log"
    options = ("--dataset_name", corpus, "--model_name_or_path", folded, "--output_dir", tmp_path / "out", *SMALL)
    assert run("train_sod.py", log, *options) == 1
    assert re.search(r"^Error: .*folded: its ViTImageProcessor\w* makes no saliency maps", log.read_text(), re.M)


def test_train_sod_from_scratch(tmp_path: Path, corpus: Path) -> None:
    output, log = tmp_path / "run", tmp_path / "log"
    options = ("--config", "u2netp", "--resolution", 32, "--recipe", "strong", *SMALL)
    assert run("train_sod.py", log, "--dataset_name", corpus, "--output_dir", output, *options) == 0, log.read_text()
    model = AutoModelForImageSegmentation.from_pretrained(output)
    assert model.num_parameters() == 1_131_181
    assert AutoImageProcessor.from_pretrained(output).size == {"height": 32, "width": 32}


def test_train_sod_trains_isnet_with_its_gt_encoder(tmp_path: Path, corpus: Path) -> None:
    encoder, output, log = tmp_path / "encoder", tmp_path / "run", tmp_path / "log"
    options = ("--dataset_name", corpus, "--config", "isnet_small", "--resolution", 32, *SMALL)
    assert run("train_sod.py", log, "--gt_encoder", "train", "--output_dir", encoder, *options) == 0, log.read_text()
    assert json.loads((encoder / "config.json").read_text())["architectures"] == ["MaskEncoder"]
    assert run("train_sod.py", log, "--gt_encoder", encoder, "--output_dir", output, *options) == 0, log.read_text()
    model, processor = (
        AutoModelForImageSegmentation.from_pretrained(output),
        AutoImageProcessor.from_pretrained(output),
    )
    assert (model.config.stem_channels, model.config.fuse_side_maps) == (64, False)
    assert ([*processor.image_mean], [*processor.image_std], processor.do_scale_by_max) == ([0.5] * 3, [1] * 3, False)
    assert processor.size == {"height": 32, "width": 32}
    assert "gt_encoder" in (output / "step_2" / "trainer_state.json").read_text()
    assert run("train_sod.py", log, "--gt_encoder", output, "--output_dir", tmp_path / "x", *options) == 1
    assert f"Error: {output} holds no GT encoder: make one with" in log.read_text()


@pytest.mark.parametrize(("config", "side"), [("u2netp", 320), ("isnet_small", 1024)])
def test_a_new_network_has_the_input_of_its_family(config: str, side: int) -> None:
    arguments = train_sod.SODArguments(dataset_name="x", output_dir="y", config=config)
    assert train_sod.load_image_processor(arguments).size == {"height": side, "width": side}


def test_train_sod_goes_on_from_folded_weights(tmp_path: Path, corpus: Path, folded: Path) -> None:
    """With a vanishing learning rate the fine-tuned network still predicts what the folded one does."""
    output, log = tmp_path / "run", tmp_path / "log"
    options = ("--model_name_or_path", folded, "--resolution", 32, "--learning_rate", 1e-30, *SMALL)
    assert run("train_sod.py", log, "--dataset_name", corpus, "--output_dir", output, *options) == 0, log.read_text()
    before, after = (AutoModelForImageSegmentation.from_pretrained(path).eval() for path in (folded, output))
    assert after.config.use_batch_norm
    processor, photos = AutoImageProcessor.from_pretrained(output), list(drawn_corpus(4)["image"])
    pixels = processor(photos, return_tensors="pt").pixel_values
    with torch.no_grad():
        difference = (after(pixels).logits - before(pixels).logits).abs().max()
        spread = before(pixels).logits.std()
    assert difference < 0.2 * spread  # the statistics moved a little, by a tenth of each batch


def test_train_unet(tmp_path: Path, corpus: Path) -> None:
    output, log = tmp_path / "run", tmp_path / "log"
    options = ("--hidden_sizes", 4, 8, 16, "--resolution", 60, "--elastic_std", 2, *SMALL)
    assert run("train_unet.py", log, "--dataset_name", corpus, "--output_dir", output, *options) == 0, log.read_text()
    model = AutoModelForImageSegmentation.from_pretrained(output)
    assert (model.config.padding, model.config.hidden_sizes, model.config.num_channels) == ("valid", [4, 8, 16], 1)
    processor = AutoImageProcessor.from_pretrained(output)
    assert processor.tile_size == {"height": 60, "width": 60}
    again = ("--model_name_or_path", output, "--resolution", 60, "--output_dir", tmp_path / "more", *SMALL)
    assert run("train_unet.py", log, "--dataset_name", corpus, *again) == 0, log.read_text()


def test_train_unet_on_label_maps(tmp_path: Path) -> None:
    """With a worker, which must end with the training."""
    output, log, corpus = tmp_path / "run", tmp_path / "log", tmp_path / "cells"
    for split in ("train", "validation"):
        for number in range(3):
            instances = draw_discs((40, 40), [(12, 12, 8), (12, 27, 8), (30, 20 + number, 7)])
            for name, picture in (
                ("images", draw_cells(instances)),
                ("instances", Image.fromarray(instances.astype(np.uint16))),
            ):
                (corpus / split / name).mkdir(parents=True, exist_ok=True)
                picture.save(corpus / split / name / f"{number}.png")
    options = ("--config", "modern", "--hidden_sizes", 4, 8, 16, "--upsampling", "bilinear", "--resolution", 32)
    options += ("--label_maps", "--num_levels", 3, "--percentiles", 1, 99.8, "--optimizer", "adamw", *SMALL)
    options += ("--average_rotations", "--dataloader_num_workers", 1)
    assert run("train_unet.py", log, "--dataset_name", corpus, "--output_dir", output, *options) == 0, log.read_text()
    model = AutoModelForImageSegmentation.from_pretrained(output)
    assert list(model.config.id2label.values()) == ["background", "depth 1/3", "depth 2/3", "depth 3/3"]
    processor = AutoImageProcessor.from_pretrained(output)
    assert (processor.percentiles, processor.instances) == ([1, 99.8], {})


def test_streamed_corpus(tmp_path: Path, corpus: Path) -> None:
    log = tmp_path / "log"
    options = ("--config", "u2netp", "--resolution", 32, "--streaming", "--output_dir", tmp_path / "run", *SMALL)
    assert run("train_sod.py", log, "--dataset_name", corpus, *options) == 0, log.read_text()


def test_sigterm_has_a_status_of_its_own(tmp_path: Path, corpus: Path) -> None:
    """The signal comes before the first step: it is taken, the step is done and saved."""
    log, output = tmp_path / "log", tmp_path / "run"
    train = training_module.Training._batches

    def batches(self: Any, first_step: int) -> Any:
        for batch in train(self, first_step):
            os.kill(os.getpid(), signal.SIGTERM)
            yield batch

    def start() -> None:
        training_module.Training._batches = batches  # type: ignore[method-assign]
        options = ("--config", "u2netp", "--resolution", 32, "--output_dir", output, *SMALL)
        sys.argv = ["train_sod.py", "--dataset_name", str(corpus), *map(str, options)]
        runpy.run_path(str(SCRIPTS / "train_sod.py"), run_name="__main__")

    assert run_in_processes(start, log) == [EXIT_STOPPED], log.read_text()
    assert "Stopped as asked; the state is saved in" in log.read_text()
    assert (output / "step_1" / "trainer_state.json").is_file()


@pytest.mark.parametrize("script", ["train_sod.py", "train_unet.py"])
def test_help_shows_launch_lines_and_defaults(tmp_path: Path, script: str) -> None:
    log = tmp_path / "log"
    assert run(script, log, "--help") == 0
    text = log.read_text()
    assert f"accelerate launch --mixed_precision bf16 -m u2net_hf.cli.{Path(script).stem}" in text
    assert re.search(r"--learning_rate LEARNING_RATE.*\n?.*warm-up[^(]*\(default:\s+0\.001\)", text)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--no_such_option", "3"], "no_such_option"),
        (["--max_train_steps", "0"], "--max_train_steps must be at least 1, got 0."),
        (["--max_train_steps", "many"], "--max_train_steps"),
        (["--learning_rate", "-1"], "--learning_rate must be above 0"),
        (["--streaming"], "--streaming needs --max_train_steps"),
        (["--push_to_hub"], "--push_to_hub needs --hub_model_id"),
        (["--train_split", "test"], "has no split 'test'"),
        (["--dataset_name", "nowhere/at/all"], "nowhere/at/all"),
        (["--model_name_or_path", "./nothing"], "There is no model ./nothing"),
        (["--lr_scheduler_type", "wavy"], "wavy"),
        (["--num_labels", "1"], "--num_labels must be at least 2, got 1"),
        (["--num_labels", "2", "--object_values", "1"], "give one of them"),
        (["--object_values", "red"], "'red' is no number"),
        (["--gt_encoder", "train"], "A GT encoder teaches an IS-Net for one object"),
        (["--config", "isnet_small", "--gt_encoder", "./nothing"], "There is no model ./nothing"),
        (["--object_values", "7"], "masks are empty"),
    ],
)
def test_mistakes_are_one_line_and_status_1(tmp_path: Path, corpus: Path, options: list[str], message: str) -> None:
    log = tmp_path / "log"
    given = ["--dataset_name", str(corpus), "--output_dir", str(tmp_path / "run"), *options]
    assert run("train_sod.py", log, *given) == 1
    lines = [line for line in log.read_text().splitlines() if line]
    assert len(lines) == 1
    assert lines[0].startswith("Error: ")
    assert message in lines[0]


def test_unreadable_file_is_named(tmp_path: Path, corpus: Path) -> None:
    """A file that is cut short opens, so it is found only when its pixels are needed, here by a worker process."""
    bad, log = corpus / "train" / "images" / "3.png", tmp_path / "log"
    bad.write_bytes(bad.read_bytes()[:-300])
    options = ("--config", "u2netp", "--resolution", 32, "--dataloader_num_workers", 1, "--max_train_steps", 4)
    given = ("--dataset_name", corpus, "--output_dir", tmp_path / "run", "--per_device_train_batch_size", 2)
    assert run("train_sod.py", log, *given, *options) == 1
    [line] = [line for line in log.read_text().splitlines() if line.startswith("Error")]
    assert "Cannot decode the picture" in line
    assert str(bad) in line


def draw_masks(corpus: Path, values: tuple[int, ...]) -> None:
    """Make the white of each mask the last of the values, and its first rows the others."""
    for file in corpus.glob("*/masks/*.png"):
        mask = np.asarray(Image.open(file)) // 255 * values[-1]
        for row, value in enumerate(values[:-1]):
            mask[2 * row : 2 * row + 2] = value
        Image.fromarray(mask).save(file)


def test_train_sod_on_several_classes(tmp_path: Path, corpus: Path, folded: Path) -> None:
    draw_masks(corpus, (0, 1, 255, 2))
    common = ("--dataset_name", corpus, "--num_labels", 3, "--resolution", 32, *SMALL)
    for number, start in enumerate((("--config", "u2netp", "--recipe", "strong"), ("--model_name_or_path", folded))):
        output, log = tmp_path / str(number), tmp_path / f"log_{number}"
        assert run("train_sod.py", log, *common, *start, "--output_dir", output) == 0, log.read_text()
        model = AutoModelForImageSegmentation.from_pretrained(output)
        assert (model.config.out_channels, model.config.num_labels) == (3, 3)
        results = json.loads((output / "all_results.json").read_text())
        assert results["best_mean_iou"] == results["mean_iou"]
        assert 0 <= results["pixel_accuracy"] <= 1


def test_masks_of_classes_need_a_word(tmp_path: Path, corpus: Path) -> None:
    """Refused with the file and its values by both scripts; trained on when the user says what is object."""
    draw_masks(corpus, (0, 1, 2))
    for script, options in (("train_sod.py", ("--config", "u2netp")), ("train_unet.py", ("--config", "modern"))):
        log = tmp_path / script
        given = ("--dataset_name", corpus, "--output_dir", tmp_path / "run", "--resolution", 32, *options, *SMALL)
        assert run(script, log, *given) == 1
        [line] = [line for line in log.read_text().splitlines() if line.startswith("Error")]
        assert re.search(r"masks/\d\.png: the mask holds 3 values, 0, 1, 2, .*--object_values", line)
    given += ("--hidden_sizes", 4, 8)
    assert run("train_unet.py", log, *given, "--object_values", "2") == 0, log.read_text()
    assert json.loads((tmp_path / "run" / "all_results.json").read_text())["pixel_error"] > 0


@pytest.mark.parametrize(
    ("variable", "name"), [("ACCELERATE_USE_FSDP", "FSDP"), ("ACCELERATE_USE_DEEPSPEED", "DeepSpeed")]
)
def test_what_accelerate_launch_cannot_do_is_said_in_one_line(
    tmp_path: Path, corpus: Path, variable: str, name: str
) -> None:
    log = tmp_path / "log"

    def start() -> None:
        os.environ[variable] = "true"
        sys.argv = ["train_sod.py", "--dataset_name", str(corpus), "--output_dir", str(tmp_path / "run")]
        runpy.run_path(str(SCRIPTS / "train_sod.py"), run_name="__main__")

    assert run_in_processes(start, log, 2) == [1, 1]
    [line] = [line for line in log.read_text().splitlines() if line]
    assert line.startswith(f"Error: {name} is not supported ({variable} is set)")
    assert not (tmp_path / "run").exists()
