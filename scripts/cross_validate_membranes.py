"""Cross-validate a U-Net on membranes: each image is measured by a network that has not seen it.

The 30 electron microscopy images of ISBI 2012 in five folds, in the modern form, with a budget for a CPU:

    python scripts/cross_validate_membranes.py --dataset_name isbi2012 --folds 5 --output_dir outputs/membranes \\
        --config modern --hidden_sizes 16 32 64 128 256 --resolution 256 --per_device_train_batch_size 4 \\
        --optimizer adamw --learning_rate 2e-3 --weight_decay 1e-2 --lr_scheduler_type cosine --num_warmup_steps 50 \\
        --max_train_steps 600 --ema_decay 0.99 --max_grad_norm 1

and again with --gap_weight 0 and another folder, to see what the gap term of the weight map is worth. Folds are runs
of images that follow each other, for neighbors in a stack look alike. --fold 2 does that one alone, so that several
may run side by side; what is done is not done again. When all folds are there, results.json and results.md are
written: the measures of each fold, without and with the averaging of eight rotations and mirrorings. All other options
are those of `u2net-hf train-unet`.
"""

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from u2net_hf import UNetForSemanticSegmentation, UNetImageProcessorPil
from u2net_hf.cell_metrics import CellMetrics
from u2net_hf.cli.train_unet import UNetArguments, train
from u2net_hf.data.corpora import load_corpus
from u2net_hf.data.pixels import OBJECT_ABOVE
from u2net_hf.engines.torch_engine import usable_device
from u2net_hf.training.arguments import option, run_script
from u2net_hf.training.validation import predict_tiles
from u2net_hf.utils.files import write_atomically
from u2net_hf.weights.loading import load_pretrained, load_whole_model

MEASURES = ("pixel_error", "v_rand", "v_info", "v_rand_thinned", "v_info_thinned", "warping_error")
WAYS = {"plain": False, "rotations averaged": True}
DIGITS = {"warping_error": 6}


@dataclass
class CrossValidation(UNetArguments):
    """The options of `train-unet`, and how to divide the images."""

    folds: int = option(5, "Number of parts; each is measured by a network that was trained on the others.")
    fold: int | None = option(None, "Do only this part, counted from 1.")

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        super().__post_init__()
        if self.folds < 2 or not 1 <= (self.fold or 1) <= self.folds:
            raise ValueError(f"--folds must be at least 2 and --fold one of them, got {self.folds} and {self.fold}.")


def main(arguments: CrossValidation) -> None:
    """Train and measure the folds that are left, and write the table when all are there."""
    corpus = load_corpus(arguments.dataset_name, arguments.train_split, object_values=arguments.object_values)
    if len(corpus) < arguments.folds:
        raise ValueError(f"{arguments.dataset_name} has {len(corpus)} images, too few for {arguments.folds} folds.")
    order = sorted(range(len(corpus)), key=lambda index: _natural(corpus[index]["name"]))
    parts = [part.tolist() for part in np.array_split(order, arguments.folds)]
    files = [Path(arguments.output_dir) / f"fold_{number}" / "measures.json" for number in range(1, len(parts) + 1)]
    for number, (part, file) in enumerate(zip(parts, files, strict=True), start=1):
        if file.is_file() or arguments.fold not in (None, number):
            continue
        held_out, others = corpus.select(part), corpus.select([index for index in order if index not in part])
        train(replace(arguments, output_dir=str(file.parent)), others, held_out)
        measured = {way: measure(file.parent, held_out, averaged) for way, averaged in WAYS.items()}
        write_atomically(file, json.dumps(measured, indent=2) + "\n")
    if all(file.is_file() for file in files):
        write_results([json.loads(file.read_text(encoding="utf-8")) for file in files], Path(arguments.output_dir))


@torch.inference_mode()
def measure(folder: Path, corpus: Any, averaged: bool) -> dict[str, float]:
    """The measures of a trained network on a corpus."""
    processor: Any = load_pretrained(UNetImageProcessorPil, folder)
    model: Any = load_whole_model(UNetForSemanticSegmentation, folder, dtype=torch.float32)
    model = model.eval().to(usable_device(None))
    metrics = CellMetrics(MEASURES)
    for record in corpus:
        tiles = processor(record["image"], return_tensors="pt")["pixel_values"].to(model.device)
        size = (record["image"].height, record["image"].width)
        (cells,) = processor.post_process_saliency(predict_tiles(model, tiles, 1, averaged), target_sizes=[size])
        metrics.update([cells.cpu().numpy()], [np.asarray(record["mask"]) > OBJECT_ABOVE])
    return metrics.compute()


def write_results(folds: list[dict[str, dict[str, float]]], folder: Path) -> None:
    """Write the measures of all folds, their mean and their standard deviation."""
    lines = ["| | " + " | ".join(MEASURES) + " |", "|---" * (len(MEASURES) + 1) + "|"]
    for way in WAYS:
        values = np.array([[fold[way][name] for name in MEASURES] for fold in folds])
        rows = {f"fold {number}, {way}": row for number, row in enumerate(values, start=1)}
        rows |= {f"mean, {way}": values.mean(0), f"standard deviation, {way}": values.std(0, ddof=1)}
        for title, row in rows.items():
            cells = (f"{value:.{DIGITS.get(name, 4)}f}" for name, value in zip(MEASURES, row, strict=True))
            lines.append(f"| {title} | " + " | ".join(cells) + " |")
    write_atomically(folder / "results.json", json.dumps(folds, indent=2) + "\n")
    write_atomically(folder / "results.md", "\n".join(lines) + "\n")
    print("\n".join(lines))


def _natural(name: str) -> list[Any]:
    """A key by which 2 comes before 10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


if __name__ == "__main__":
    run_script(main, CrossValidation, __doc__)
