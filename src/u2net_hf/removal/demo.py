"""The demo, a page in the browser: drop a photo, see its soft map and its cut-out; compare two models.

Started by `u2net-hf demo`, and published as a Space. Needs gradio.
"""

from __future__ import annotations

import contextlib
import functools
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image, ImageColor

from ..engines import load_engine
from ..engines.interface import Engine
from ..images.drawing import checkerboard
from ..images.files import cut_out, open_image, save_image
from ..models.u2net.render_u2net import RenderOptions, render, render_mask

DEFAULT_MODELS = ("u2netp", "u2net", "isnet")
MAX_FILE_SIZE = "20mb"
MAX_PIXELS = 40_000_000
MAX_WAITING = 20  # visitors in the queue; others are asked to come again
SHOWN_SIZE = 1024  # longer side of the pictures on the page; the download has the photo's size
KEPT_SECONDS = 3600  # then uploads and results are deleted
TRANSPARENT, COLOR, PICTURE = "Transparent", "Color", "Picture"

ABOUT = """# Background removal with U²-Net
Drop a photo: the object that stands out is cut from its background."""
ONE_AT_A_TIME: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "network"}

_load_engine = functools.cache(load_engine)


def build_app(models: Sequence[str] = DEFAULT_MODELS, *, examples: Sequence[str | Path] = ()) -> gr.Blocks:
    """Build the page; `launch(max_file_size=MAX_FILE_SIZE)` starts it.

    A model is fetched and loaded when it is first used.

    Args:
        models: What visitors choose from: published names, folders, or Hub ids. The first is the default.
        examples: Photos to try.

    Raises:
        ValueError: If there is no model.
    """
    if not models:
        raise ValueError("the demo needs at least one model")
    with gr.Blocks(
        title="Background removal with U²-Net", analytics_enabled=False, delete_cache=(KEPT_SECONDS, KEPT_SECONDS)
    ) as app:
        gr.Markdown(ABOUT)
        with gr.Tab("Cut out"):
            _build_cut_out(models, examples)
        if len(models) > 1:
            with gr.Tab("Compare two models"):
                _build_comparison(models, examples)
    return app.queue(max_size=MAX_WAITING)


def _build_cut_out(models: Sequence[str], examples: Sequence[str | Path]) -> None:
    with gr.Row():
        with gr.Column():
            photo = _picture_field("Photo")
            model = gr.Radio(list(models), value=models[0], label="Model")
            matting = gr.Checkbox(label="Refine the edge (matting)", info="For hair and fur; takes some seconds.")
            threshold = gr.Slider(0, 1, value=0, step=0.05, label="Threshold", info="0 keeps the soft edge.")
            kind = gr.Radio([TRANSPARENT, COLOR, PICTURE], value=TRANSPARENT, label="Background")
            color = gr.ColorPicker(value="#ffffff", label="Background color", visible=False)
            picture = _picture_field("Background picture", visible=False)
            start = gr.Button("Cut out", variant="primary")
        with gr.Column():
            slider = gr.ImageSlider(label="Before and after", buttons=[], interactive=False)
            with gr.Row():
                soft_map = gr.Image(label="Soft map", format="png", buttons=[], interactive=False)
                result = gr.Image(label="Cut-out", format="png", buttons=[], interactive=False)
            download = gr.DownloadButton("Download PNG", interactive=False)

    def remove(*values: Any) -> tuple[Any, ...]:
        return _remove(*values, folder=download.GRADIO_CACHE)

    kind.change(lambda chosen: [gr.update(visible=chosen == one) for one in (COLOR, PICTURE)], kind, [color, picture])
    inputs = [photo, model, matting, threshold, kind, color, picture]
    start.click(remove, inputs, [slider, soft_map, result, download], api_name="remove", **ONE_AT_A_TIME)
    if examples:
        gr.Examples([[str(example)] for example in examples], photo)


def _build_comparison(models: Sequence[str], examples: Sequence[str | Path]) -> None:
    with gr.Row():
        with gr.Column():
            photo = _picture_field("Photo")
            left = gr.Radio(list(models), value=models[0], label="Left model")
            right = gr.Radio(list(models), value=models[1], label="Right model")
            start = gr.Button("Compare", variant="primary")
        with gr.Column():
            slider = gr.ImageSlider(label="Cut-outs, left and right", buttons=[], interactive=False)
            with gr.Row():
                maps = [
                    gr.Image(label=f"Soft map, {side}", format="png", buttons=[], interactive=False)
                    for side in ("left", "right")
                ]
    start.click(_compare, [photo, left, right], [slider, *maps], api_name="compare", **ONE_AT_A_TIME)
    if examples:
        gr.Examples([[str(example)] for example in examples], photo)


def _picture_field(label: str, visible: bool = True) -> gr.Image:
    """A field for a picture, of which functions get the path of the file as it was uploaded."""
    field = gr.Image(label=label, type="filepath", sources=["upload", "clipboard"], visible=visible, height=320)
    # Gradio would decode the file, and say no more than "Error" if it is no image.
    field.preprocess = lambda payload: payload.path if payload else None  # type: ignore[method-assign]
    return field


def _remove(
    photo: str | None,
    model: str,
    matting: bool,
    threshold: float,
    kind: str,
    color: str,
    picture: str | None,
    *,
    folder: str,
) -> tuple[Any, ...]:
    """What the page shows of a photo: before and after, the soft map, the cut-out, and the file to download."""
    with _errors_on_the_page():
        image = _open(photo, "photo")
        backgrounds = {
            TRANSPARENT: lambda: None,
            COLOR: lambda: Image.new("RGB", (1, 1), _parse_color(color)),
            PICTURE: lambda: _open(picture, "background picture"),
        }
        options = RenderOptions(background=backgrounds[kind](), threshold=threshold or None, matting=matting)
        soft_map = _soft_map(image, _load_engine(model))
        result = render(image, soft_map, options)
        Path(folder).mkdir(parents=True, exist_ok=True)
        file = Path(tempfile.mkdtemp(dir=folder), f"{Path(str(photo)).stem}.cut-out.png")
        save_image(result, file)
    before, after = _shown(image), _shown(result)
    return (
        (_before_checkerboard(before), _before_checkerboard(after)),
        _shown(render_mask(soft_map, image.size)),
        after,
        gr.update(value=str(file), interactive=True),
    )


def _compare(photo: str | None, left: str, right: str) -> tuple[Any, ...]:
    """The cut-outs of two models, for a slider, and their soft maps."""
    with _errors_on_the_page():
        image = _open(photo, "photo")
        masks = [render_mask(_soft_map(image, _load_engine(name)), image.size) for name in (left, right)]
        cut_outs = [_before_checkerboard(_shown(cut_out(image, mask))) for mask in masks]
    return (tuple(cut_outs), *map(_shown, masks))


def _soft_map(image: Image.Image, engine: Engine) -> np.ndarray:
    (soft_map,) = engine([engine.reduce(image)], None, False)
    return soft_map


@contextlib.contextmanager
def _errors_on_the_page() -> Iterator[None]:
    """Show what went wrong to the visitor, who can often mend it."""
    try:
        yield
    except (ValueError, OSError, RuntimeError) as error:
        raise gr.Error(str(error), print_exception=False) from error


def _open(path: str | None, role: str) -> Image.Image:
    """Read an uploaded picture; errors name it as the visitor does."""
    if path is None:
        raise ValueError(f"Choose a {role} first.")
    width, height = _size(path)
    if width * height > MAX_PIXELS:
        raise ValueError(f"The {role} has {width} x {height} pixels; make it smaller first ({MAX_PIXELS:,} at most).")
    try:
        return open_image(path)
    except ValueError as error:
        raise ValueError(str(error).replace(path, Path(path).name)) from error


def _size(path: str) -> tuple[int, int]:
    """Width and height before anything is decoded; (0, 0) of a bad file, of which `open_image` says what is wrong."""
    try:
        with Image.open(path) as image:
            return image.size
    except Exception:  # damaged files make Pillow raise nearly anything
        return 0, 0


def _parse_color(text: str) -> tuple[int, int, int]:
    """A color as the browser's picker gives it: "#00ff88", or "rgba(0, 255, 136.2, 1)"."""
    if text.startswith("rgba("):
        red, green, blue = (min(255, max(0, round(float(part)))) for part in text[5:].split(",")[:3])
        return red, green, blue
    return ImageColor.getrgb(text)[:3]


def _shown(image: Image.Image) -> Image.Image:
    """A copy of no more than the size that the page shows."""
    copy = image.copy()
    copy.thumbnail((SHOWN_SIZE, SHOWN_SIZE))
    return copy


def _before_checkerboard(image: Image.Image) -> Image.Image:
    """Put what is transparent before a gray checkerboard."""
    if image.mode != "RGBA":
        return image
    return cut_out(image.convert("RGB"), image.getchannel("A"), background=checkerboard(image.size))
