"""The page of the metric: give a label image and its reference, see the measures."""

from pathlib import Path

import evaluate
import gradio as gr
from PIL import Image

metric = evaluate.load(str(Path(__file__).with_name("cell_metrics.py")))


def measure(prediction: str | None, reference: str | None) -> list[list[str]]:
    """Score one label image against another; both as files, since a browser would make colors of the labels."""
    if prediction is None or reference is None:
        raise gr.Error("Give a predicted label image and its reference.")
    try:
        with Image.open(prediction) as predicted, Image.open(reference) as true:
            scores = metric.compute(predictions=[predicted], references=[true])
    except (OSError, TypeError, ValueError) as error:
        raise gr.Error(str(error)) from error
    return [[name, f"{value:.4f}"] for name, value in scores.items()]


page = gr.Interface(
    fn=measure,
    inputs=[
        gr.File(label="Label image (PNG or TIFF, 8, 16 or 32 bits, 0 for background)"),
        gr.File(label="Its reference"),
    ],
    outputs=gr.Dataframe(headers=["measure", "value"], label="Measures of this one image"),
    title="Cell metrics",
    description="The measures of segmented cells and nuclei, of a module for `evaluate`. See the README for more.",
    flagging_mode="never",
)

if __name__ == "__main__":
    page.launch()
