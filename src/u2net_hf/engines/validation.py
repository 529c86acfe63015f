"""What every engine asks of a U²-Net's files before it runs them; it needs neither torch nor transformers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..models.u2net.stages_u2net import check_architecture, parse_stage
from ..weights.loading import some
from .model_files import CONFIG, PROCESSOR, ModelFiles

Shapes = dict[str, tuple[int, ...]]


def check_model(files: ModelFiles) -> None:
    """Check that configuration, image processor and weights are right and fit together.

    Weights in another form than one SafeTensors file, and configurations that leave something out, only transformers
    can load; it asks the same of them then.

    Raises:
        OSError: If a file is not there or cannot be read.
        ValueError: If anything is wrong; the message names the file and what is wrong in it.
    """
    options, channels = files.input_options, files.config.get("num_channels", 3)
    if files.is_complete:
        try:
            check_architecture(files.config)
        except ValueError as error:
            raise ValueError(f"{files.folder / CONFIG}: {error}") from error
        _check_shapes(files)
    for name in ("image_mean", "image_std"):
        values = getattr(options, name)
        if options.do_normalize and isinstance(values, Sequence) and len(values) not in (1, channels):
            raise ValueError(f"{files.folder / PROCESSOR}: `{name}` has {len(values)} values for {channels} channels.")


def _check_shapes(files: ModelFiles) -> None:
    expected, found = weight_shapes(files.config), files.weight_shapes
    uncounted = {name for name in expected if name.endswith(".num_batches_tracked")}  # PyTorch before 0.4.1
    complaints = {
        "missing": sorted(expected.keys() - found.keys() - uncounted),
        "unexpected": sorted(found.keys() - expected.keys()),
        "of a wrong shape": [
            f"{name} {found[name]}, expected {shape}"
            for name, shape in expected.items()
            if found.get(name, shape) != shape
        ],
    }
    for what, names in complaints.items():
        if names:
            raise ValueError(f"{files.weights} does not fit its config.json; {what}: {some(names, 1)}")


def weight_shapes(config: Mapping[str, Any]) -> Shapes:
    """Name and shape of every weight of a U²-Net, by its configuration, which must be right."""
    shapes: Shapes = {}
    encoder, decoder = config["encoder_stages"], config["decoder_stages"]
    has_batch_norm, labels = config.get("use_batch_norm", True), config.get("out_channels", 1)
    channels, outputs = config.get("num_channels", 3), []
    if stem := config.get("stem_channels"):
        shapes |= _convolution_shapes("conv_in", channels, stem)
        channels = stem
    for number, stage in enumerate(encoder, start=1):
        shapes |= _block_shapes(f"stage{number}", channels, stage, has_batch_norm)
        channels = stage[2]
        outputs.append(channels)
    sides = [channels]
    for number, stage in zip(range(len(decoder), 0, -1), decoder, strict=True):
        shapes |= _block_shapes(f"stage{number}d", channels + outputs[number - 1], stage, has_batch_norm)
        channels = stage[2]
        sides.insert(0, channels)
    for number, channels in enumerate(sides, start=1):
        shapes |= _convolution_shapes(f"side{number}", channels, labels)
    if config.get("fuse_side_maps", True):
        shapes |= _convolution_shapes("outconv", len(sides) * labels, labels, kernel=1)
    return shapes


def _block_shapes(name: str, channels: int, stage: Sequence[str | int], has_batch_norm: bool) -> Shapes:
    """The weights of a residual U-block."""
    height, _, mid, out = parse_stage(stage)
    levels = [("in", channels, out), ("1", out, mid), *((str(level), mid, mid) for level in range(2, height + 1))]
    levels += [(f"{level}d", 2 * mid, mid) for level in range(height - 1, 1, -1)] + [("1d", 2 * mid, out)]
    shapes: Shapes = {}
    for level, before, after in levels:
        layer = f"{name}.rebnconv{level}"
        shapes |= _convolution_shapes(f"{layer}.conv_s1", before, after)
        if has_batch_norm:
            parts = ("weight", "bias", "running_mean", "running_var")
            shapes |= {f"{layer}.bn_s1.{part}": (after,) for part in parts}
            shapes[f"{layer}.bn_s1.num_batches_tracked"] = ()
    return shapes


def _convolution_shapes(name: str, before: int, after: int, kernel: int = 3) -> Shapes:
    return {f"{name}.weight": (after, before, kernel, kernel), f"{name}.bias": (after,)}
