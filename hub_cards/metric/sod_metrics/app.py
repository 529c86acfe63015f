"""The page of the metric: give a saliency map and its mask, see the measures."""

from pathlib import Path

import evaluate
import gradio as gr
from PIL import Image

metric = evaluate.load(str(Path(__file__).with_name("sod_metrics.py")))


def measure(saliency: Image.Image | None, mask: Image.Image | None) -> list[list[str]]:
    """Score one map against one mask; both as pictures of one size."""
    if saliency is None or mask is None:
        raise gr.Error("Give a saliency map and its mask.")
    if saliency.size != mask.size:
        raise gr.Error(f"The map has the size {saliency.size}, the mask {mask.size}: they must be the same.")
    scores = metric.compute(predictions=[saliency.convert("L")], references=[mask.convert("L")])
    return [[name, f"{value:.4f}"] for name, value in scores.items()]


page = gr.Interface(
    fn=measure,
    inputs=[gr.Image(type="pil", label="Saliency map"), gr.Image(type="pil", label="Mask (white = object)")],
    outputs=gr.Dataframe(headers=["measure", "value"], label="Measures of this one image"),
    title="SOD metrics",
    description="The measures of salient object detection, of a module for `evaluate`. See the README for their use.",
    flagging_mode="never",
)

if __name__ == "__main__":
    page.launch()
