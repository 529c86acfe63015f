"""ONNX graphs of the networks: traced from torch, in half precision, and in 8-bit integers."""

from __future__ import annotations

import copy
import itertools
import warnings
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from ..models.u2net.pixels_u2net import saliency
from ..models.unet.configuration_unet import nearest_valid_sizes

if TYPE_CHECKING:
    import onnx
    from transformers import PreTrainedModel

# How far the probabilities may move if one block is rounded to 8 bits.
MAX_BLOCK_ERROR = 0.01
# Operators that lead from one block to the next.
BETWEEN_BLOCKS = ("MaxPool", "Resize", "Concat")


Network = TypeVar("Network", bound=nn.Module)


class LogitsGraph(nn.Module):
    """What the graph of a network computes: logits of images."""

    output_name = "logits"

    def __init__(self, model: PreTrainedModel):
        super().__init__()
        self.network = model

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """`(batch, channels, height, width)` to `(batch, labels, output height, output width)`."""
        return self.network(pixel_values).logits

    def probabilities(self, output: torch.Tensor) -> torch.Tensor:
        """What an output says, in [0, 1]."""
        return output.sigmoid() if output.shape[1] == 1 else output.softmax(dim=1)


class SaliencyGraph(LogitsGraph):
    """What the graph of a U²-Net computes: soft maps of all that is not background.

    Where the image processor divides an image by its maximum, the graph does so too, because not all users of ONNX
    files do. An image that was divided before has the maximum 1 and stays as it is.
    """

    output_name = "saliency"
    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, model: PreTrainedModel, image_processor: Any):
        super().__init__(model)
        self.do_scale_by_max = getattr(image_processor, "do_scale_by_max", False)
        mean, std = image_processor.image_mean, image_processor.image_std
        if not image_processor.do_normalize:
            mean, std = 0.0, 1.0
        self.register_buffer("mean", torch.tensor(mean).reshape(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).reshape(1, -1, 1, 1), persistent=False)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """`(batch, channels, height, width)` to probabilities `(batch, 1, height, width)`."""
        if self.do_scale_by_max:
            image = pixel_values * self.std + self.mean
            # What is darker than the darkest gray is black, and stays so.
            peak = image.amax(dim=(1, 2, 3), keepdim=True).clamp(min=1 / 255)
            pixel_values = (image / peak - self.mean) / self.std
        logits = super().forward(pixel_values)
        return saliency(logits)

    def probabilities(self, output: torch.Tensor) -> torch.Tensor:
        """The output itself."""
        return output


def fold_batch_norm(network: Network, dtype: torch.dtype = torch.float32) -> Network:
    """Copy a network with every BatchNorm folded into the convolution before it, in numbers of a type."""
    folded = copy.deepcopy(network).to(dtype)
    for parent in [*folded.modules()]:
        for (name, convolution), (norm_name, norm) in itertools.pairwise([*parent.named_children()]):
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(parent, name, nn.utils.fuse_conv_bn_eval(convolution.eval(), norm.eval()))
                setattr(parent, norm_name, nn.Identity())
    return folded


def legal_size(model: PreTrainedModel, height: int, width: int) -> tuple[int, int]:
    """The size itself, or for valid convolutions the next larger one that they can take."""
    config = model.config
    if getattr(config, "padding", "same") == "same":
        return height, width
    sizes = [nearest_valid_sizes(size, config.depth, config.upsampling)[1] for size in (height, width)]
    return sizes[0], sizes[1]


def write_float32(path: Path, network: LogitsGraph, opset: int) -> None:
    """Trace a network, with free batch, height and width, and write its graph with all constants folded.

    Args:
        path: File to write.
        network: In evaluation mode, BatchNorms folded.
        opset: Version of the ONNX operators.
    """
    import onnx
    import onnxruntime

    # A map of 1 pixel, anywhere in the network, would be traced as one that is never resized: so a large image.
    images = torch.zeros(2, network.network.config.num_channels, *legal_size(network.network, 320, 288))
    axes = {0: "batch", 2: "height", 3: "width"}
    traced = path.with_suffix(".traced")
    with warnings.catch_warnings():
        # The newer exporter gives the same graph, after half a minute and with the help of another package.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        torch.onnx.export(
            network,
            (images,),
            traced,
            input_names=["pixel_values"],
            output_names=[network.output_name],
            dynamic_axes={"pixel_values": axes, network.output_name: axes},
            opset_version=opset,
            dynamo=False,
        )
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(path)
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    onnxruntime.InferenceSession(str(traced), options, providers=["CPUExecutionProvider"])  # writes the file
    traced.unlink()
    _save(onnx.load(path), path)


def write_float16(path: Path, float32: Path) -> None:
    """Write a graph with weights and activations of 16 bits; its input and output stay float32."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    _save(convert_float_to_float16(onnx.load(float32), keep_io_types=True, op_block_list=[]), path)


def write_int8(
    path: Path, float32: Path, network: LogitsGraph, batches: Iterable[torch.Tensor], measured: Iterable[torch.Tensor]
) -> None:
    """Write a graph with weights and activations of 8 bits ("static quantization"), float32 where 8 are too few.

    Args:
        path: File to write.
        float32: The graph of `network`.
        network: In evaluation mode, BatchNorms folded.
        batches: Images to take the ranges of the activations from, `(batch, channels, height, width)` each.
        measured: Some of them, to measure the error of each block on.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.quant_utils import add_pre_process_metadata

    graph = onnx.load(float32)
    nodes_to_keep = _nodes_to_keep(graph.graph.node, block_errors(network, measured))
    add_pre_process_metadata(graph)  # constants are folded: nothing to warn of
    onnx.save(graph, path)
    inputs = ({"pixel_values": batch.numpy()} for batch in batches)
    quantize_static(
        str(path),
        str(path),
        SimpleNamespace(get_next=lambda: next(inputs, None)),  # what a CalibrationDataReader must have
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        reduce_range=True,  # weights of 7 bits: with 8 the sums overflow on x86 processors without VNNI
        nodes_to_exclude=nodes_to_keep,
    )
    _save(onnx.load(path), path)


def _save(model: onnx.ModelProto, path: Path) -> None:
    """Write a graph in the standard's form, without what the tools that made it left over."""
    import onnx
    from onnxruntime.quantization.onnx_model import ONNXModel

    ONNXModel(model).topological_sort()
    used = {node.domain for node in model.graph.node}
    versions = [entry for entry in model.opset_import if entry.domain in used]
    del model.opset_import[:], model.metadata_props[:], model.graph.value_info[:]
    model.opset_import.extend(versions)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


@torch.inference_mode()
def block_errors(network: LogitsGraph, batches: Iterable[torch.Tensor]) -> dict[str, float]:
    """Measure what rounding one block to 8 bits, and no other, does to the probabilities: their mean difference.

    A BatchNorm that divides by a tiny variance leaves, folded, huge numbers that nearly cancel out, and 8 bits cannot
    hold them. So it is in the published U²-Net†: rounding the decoder stage "stage2d" alone moves its probabilities by
    0.3 to 0.4, any other stage by 0.001 at most.

    Args:
        network: In evaluation mode, BatchNorms folded.
        batches: Some images, `(batch, channels, height, width)` each.

    Returns:
        The error of each block, under the name of its module.
    """
    rounded = copy.deepcopy(network)
    for module in rounded.modules():
        if isinstance(module, nn.Conv2d):
            scale = module.weight.abs().amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-12) / 64
            module.weight.copy_((module.weight / scale).round() * scale)
            module.register_forward_pre_hook(lambda _, inputs: (_round(inputs[0]),))

    def error(block: nn.Module, substitute: nn.Module, batch: torch.Tensor, expected: torch.Tensor) -> float:
        hook = block.register_forward_hook(lambda _, inputs, output: substitute(*inputs))
        found = network.probabilities(network(batch))
        hook.remove()
        return (found - expected).abs().mean().item()

    blocks = [name for name, module in network.named_modules() if isinstance(module, GradientCheckpointingLayer)]
    errors: dict[str, list[float]] = {name: [] for name in blocks}
    for batch in batches:
        expected = network.probabilities(network(batch))
        for name in blocks:
            errors[name].append(error(network.get_submodule(name), rounded.get_submodule(name), batch, expected))
    return {name: float(np.mean(values)) for name, values in errors.items()}


def _round(activations: torch.Tensor) -> torch.Tensor:
    """Round to 256 steps between the smallest and the largest value (and 0)."""
    low, high = activations.amin().clamp(max=0), activations.amax().clamp(min=0)
    scale = ((high - low) / 255).clamp(min=1e-12)
    return (activations / scale).round() * scale


def _nodes_to_keep(nodes: Iterable[onnx.NodeProto], errors: dict[str, float]) -> list[str]:
    """The nodes that stay float32: sensitive blocks, and what comes before the first and after the last block.

    The latter make up a hundredth of the work, and the rounding of an output would be seen.
    """
    kept = []
    head: set[str] = set()  # tensors that depend on a convolution outside of blocks
    for node in nodes:
        scope = node.name.strip("/").replace("/", ".")
        block = next((block for block in errors if scope.startswith(f"{block}.")), None)
        if block is not None:
            keep = errors[block] > MAX_BLOCK_ERROR
        else:
            is_head = node.op_type == "Conv" or not head.isdisjoint(node.input)
            head.update(node.output if is_head else ())
            keep = is_head or node.op_type not in BETWEEN_BLOCKS
        if keep:
            kept.append(node.name)
    return kept
