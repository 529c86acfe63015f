"""Score the ONNX files of an export beside the network in torch, on a corpus of photos with masks.

    u2net-hf export u2netp out/
    python scripts/evaluate_export.py --model u2netp --data path/to/SOD \\
        --graph out/onnx/model.onnx --graph out/onnx/model_fp16.onnx --graph out/onnx/model_quantized.onnx

Images are prepared by the model's own image processor, so that the numbers show what the graphs lose, and nothing
else. Writes results.json, a score for torch and for each file, and results.md, a table.
"""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import numpy as np
import torch
import typer
from tqdm import tqdm

from u2net_hf.utils.console import reported_errors

MEASURES = {"max_f": "max F-beta ↑", "mae": "MAE ↓", "s_measure": "S-measure ↑"}


def main(
    model: Annotated[str, typer.Option(help="A published name, a folder, or a Hub id.")],
    graph: Annotated[list[Path], typer.Option(help="An ONNX file of its export. Repeatable.")],
    data: Annotated[str, typer.Option(help="A corpus: a folder with images/ and masks/, or a Hub id.")],
    split: Annotated[str | None, typer.Option(help="Split of the corpus, if it has several.")] = None,
    output_dir: Annotated[Path, typer.Option("--output_dir", "--output-dir")] = Path("outputs/export"),
) -> None:
    """Score the ONNX files of an export beside the network in torch."""
    from u2net_hf.data.corpora import load_corpus
    from u2net_hf.evaluation.results import make_results, make_score, write_results
    from u2net_hf.images.files import mask_image
    from u2net_hf.models.u2net.image_processing_u2net import resize_each
    from u2net_hf.sod_metrics import SODMetrics
    from u2net_hf.utils.files import write_atomically

    start, corpus, sessions = perf_counter(), load_corpus(data, split), [load_graph(path) for path in graph]
    network, image_processor = load_network(model)
    metrics = [SODMetrics(list(MEASURES)) for _ in range(1 + len(graph))]
    differences = np.zeros((len(corpus), len(graph), 2))
    for number, row in enumerate(tqdm(corpus, unit="image", disable=None)):
        inputs = image_processor(images=row["image"], return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            expected = network(inputs).logits.sigmoid()
        found = [torch.from_numpy(session.run(None, {"pixel_values": inputs.numpy()})[0]) for session in sessions]
        for which, saliency in enumerate(found):
            difference = (saliency - expected).abs()
            differences[number, which] = difference.mean().item(), difference.max().item()
        for accumulator, saliency in zip(metrics, [expected, *found], strict=True):
            (resized,) = resize_each(saliency, [(row["mask"].height, row["mask"].width)])
            accumulator.update([mask_image(resized[0].numpy())], [row["mask"]])

    variants: list[dict[str, Any]] = [{"engine": "torch"}]
    for path, (means, largest) in zip(graph, differences.transpose(1, 2, 0), strict=True):
        measured = {"mean_difference": float(means.mean()), "max_difference": float(largest.max())}
        variants.append({"engine": "onnxruntime", "file": path.name, "bytes": path.stat().st_size, **measured})
    pairs = zip(metrics, variants, strict=True)
    scores = [make_score(Path(data).name, split, accumulator, "dataset", variant) for accumulator, variant in pairs]
    write_results(
        make_results(model, network.num_parameters(), scores, 1, perf_counter() - start), output_dir / "results.json"
    )
    write_atomically(output_dir / "results.md", table(scores))
    print(f"{table(scores)}\nwritten to {output_dir}")


def load_network(model: str) -> tuple[Any, Any]:
    """Load the network in torch and its image processor."""
    from u2net_hf.engines.torch_engine import load_model

    return load_model(model, device="cpu")


def load_graph(path: Path) -> Any:
    """Open an ONNX file on the CPU."""
    import onnxruntime

    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def table(scores: list[Any]) -> str:
    """A row for torch and for each file: its size, its measures, and how far its probabilities are from torch."""
    header = ["", "MB", *MEASURES.values(), "mean difference", "max difference"]
    rows = [header, ["---", *["--:"] * (len(header) - 1)]]
    for score in scores:
        variant, measures = score.variant, [f"{score.metrics[name]:.4f}" for name in MEASURES]
        if "file" in variant:
            size = f"{variant['bytes'] / 1e6:.1f}"
            differences = [f"{variant[f'{which}_difference']:.1e}" for which in ("mean", "max")]
            rows.append([variant["file"], size, *measures, *differences])
        else:
            rows.append(["torch", "", *measures, "", ""])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


if __name__ == "__main__":
    with reported_errors():
        typer.run(main)
