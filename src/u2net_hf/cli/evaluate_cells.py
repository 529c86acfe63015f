"""Score a network for cells on a corpus of label maps, beside what is simpler than it.

    u2net-hf evaluate-cells --data dsb2018 --split test
    u2net-hf evaluate-cells --model my-model --data mine --split validation --output_dir outputs/mine

Beside the network stand: Otsu's threshold with a watershed on the distance map (scikit-image), the connected
components of the network's own foreground, which leave touching objects together, and those of the perfect
foreground: the best that a semantic mask can do. Writes results.json (every number of the network, with its variant,
data, versions and date: what `u2net-hf push model --results` takes), comparison.json and comparison.md (every method)
and worst.png: the worst images, with the true outlines (green) and those found (magenta).
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image

from ..utils.console import printable, run_script

ROWS = {
    "network": "network",
    "components": "connected components of the network's foreground",
    "otsu": "Otsu + watershed",
    "perfect": "connected components of the perfect foreground",
}
MEASURES = ("ap50", "mean_ap", "f1", "pq", "aji", "relative_count_error")


def main(
    data: Annotated[str, typer.Option(help="A corpus with images/ and instances/: a folder, or a Hub id.")],
    split: Annotated[str | None, typer.Option(help="Its split, where it has several.")] = None,
    model: Annotated[str, typer.Option(help="A published name, a folder, or a Hub id.")] = "nuclei",
    average_rotations: Annotated[bool, typer.Option(help="Average the image in eight positions.")] = False,
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "float32",
    output_dir: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("outputs/cells"),
    shown: Annotated[int, typer.Option(help="How many of the worst images are drawn.")] = 8,
) -> None:
    """Measure every method on every image, all of them and the gray ones alone."""
    from ..data.corpora import check_label_maps, load_corpus
    from ..engines.model_files import find_model
    from ..evaluation.results import Score, corpus_name, make_results, write_results
    from ..segmentation.network import load_network
    from ..utils.files import write_atomically

    start = perf_counter()
    corpus = load_corpus(data, split, label_maps=True)
    check_label_maps(corpus, data)
    network = load_network(model, dtype=dtype, average_rotations=average_rotations)
    measured, found, scores = measure(corpus, network)
    worst = np.argsort(scores, kind="stable")[:shown].tolist()
    draw([(corpus[index], found[index], scores[index]) for index in worst], output_dir / "worst.png")
    comparison = {"measures": measured, "worst": {corpus[index]["name"]: scores[index] for index in worst}}
    write_atomically(output_dir / "comparison.json", json.dumps(comparison, indent=2) + "\n")
    text = "\n\n".join(table(kind, rows) for kind, rows in measured.items()) + "\n"
    write_atomically(output_dir / "comparison.md", text)
    variant = {"average_rotations": average_rotations, "dtype": dtype, **vars(network.options)}
    names = {"all": corpus_name(data), "gray": f"{corpus_name(data)}, gray images"}
    data_scores = [
        Score(names[kind], split, rows["images"], rows["network"], variant) for kind, rows in measured.items()
    ]
    seconds, count = perf_counter() - start, find_model(model).num_parameters
    results = make_results(model, count, data_scores, 1, seconds, task="Instance segmentation")
    write_results(results, output_dir / "results.json")
    print(f"{text}\nwritten to {printable(output_dir)}")


def measure(corpus: Any, network: Any) -> tuple[dict[str, Any], list[np.ndarray], list[float]]:
    """The measures of each method on all images and on the gray ones; what the network found, and its AP per image."""
    from ..cell_metrics import CellMetrics
    from ..utils.progress import progress_bar

    metrics = {(row, kind): CellMetrics(MEASURES) for row in ROWS for kind in ("all", "gray")}
    found, scores = [], []
    for record in progress_bar(corpus, unit="image"):
        true = np.asarray(record["mask"])
        labels_of = segment(record["image"], true, network)
        for row, labels in labels_of.items():
            for kind in ("all", "gray") if is_gray(record["image"]) else ("all",):
                metrics[row, kind].update([labels], [true])
        one = CellMetrics(["mean_ap"])
        one.update([labels_of["network"]], [true])
        found.append(labels_of["network"])
        scores.append(one.compute()["mean_ap"])
    measured: dict[str, Any] = {
        kind: {row: metrics[row, kind].compute() for row in ROWS} | {"images": metrics["network", kind].count}
        for kind in ("all", "gray")
        if metrics["network", kind].count
    }
    return measured, found, scores


def segment(image: Image.Image, true: np.ndarray, network: Any) -> dict[str, np.ndarray]:
    """The label maps of each method."""
    from skimage.measure import label

    from ..segmentation.segmentation import segment_image

    found, min_area = segment_image(image, network), network.options.min_area
    return {
        "network": found.labels,
        "components": without_small(label(found.probabilities > network.options.mask_threshold), min_area),
        "otsu": without_small(otsu_watershed(np.asarray(image.convert("L"))), min_area),
        "perfect": label(true > 0),
    }


def otsu_watershed(gray: np.ndarray) -> np.ndarray:
    """Otsu's threshold on the smoothed image, then a watershed from the summits of the smoothed distance map.

    Summits are 5 pixels apart. The larger side of the threshold is the background.
    """
    from scipy import ndimage
    from skimage.feature import peak_local_max
    from skimage.filters import gaussian, threshold_otsu
    from skimage.segmentation import watershed

    smooth = gaussian(gray, 1)
    if np.ptp(smooth) == 0:
        return np.zeros(gray.shape, np.int32)
    mask = smooth > threshold_otsu(smooth)
    mask = ~mask if mask.mean() > 0.5 else mask
    distances = ndimage.distance_transform_edt(mask)
    places = peak_local_max(gaussian(distances, 1), min_distance=5, labels=mask.astype(int), exclude_border=False)
    summits = np.zeros(gray.shape, np.int32)
    summits[tuple(places.T)] = np.arange(1, len(places) + 1)
    labels: np.ndarray = watershed(-distances, summits, mask=mask)
    return labels


def without_small(labels: np.ndarray, min_area: int) -> np.ndarray:
    """Leave out objects of fewer pixels, as the network does."""
    return np.where(np.bincount(labels.ravel())[labels] >= min_area, labels, 0)


def is_gray(image: Image.Image) -> bool:
    """Whether all channels are the same."""
    pixels = np.asarray(image.convert("RGB"))
    return bool((pixels == pixels[..., :1]).all())


def draw(rows: list[tuple[dict[str, Any], np.ndarray, float]], path: Path) -> None:
    """Write image | true outlines | found outlines of some images as one PNG."""
    from ..images.drawing import contact_sheet
    from ..images.files import save_image
    from ..training.pictures import draw_contours
    from ..training.validation import GREEN, MAGENTA

    pictures, captions = [], []
    for record, labels, score in rows:
        image = record["image"].convert("RGB")
        true = np.asarray(record["mask"])
        pictures.append([image, draw_contours(image, true, GREEN), draw_contours(image, labels, MAGENTA)])
        counts = f"{len(np.unique(true[true > 0]))} true, {labels.max()} found"
        captions.append(f"{record['name']}: mean AP {score:.3f}, {counts}")
    save_image(contact_sheet(pictures, 320, captions=captions), path)


def table(kind: str, rows: dict[str, Any]) -> str:
    """A table in Markdown, a line per method."""
    lines = [f"| {rows['images']} images, {kind} | " + " | ".join(MEASURES) + " |", "|---|" + "---|" * len(MEASURES)]
    lines += [
        f"| {title} | " + " | ".join(f"{rows[row][name]:.3f}" for name in MEASURES) + " |"
        for row, title in ROWS.items()
    ]
    return "\n".join(lines)


run = partial(run_script, main, __doc__)  # with the arguments of the command line

if __name__ == "__main__":
    run()
