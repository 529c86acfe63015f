"""IS-Net at 1024x1024: time and memory of one image beside ONNX Runtime on the published file."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from u2net_hf.engines import load_engine
from u2net_hf.engines.cpu import cpu_computes_in
from u2net_hf.utils.process import keep_freed_memory
from u2net_hf.weights.published import pull, pull_onnx

from .options import CORES, PAGE, Output, Rounds, Threads
from .report import EMULATED, is_cap_partial, note_cap, save
from .timing import Side, Work, compare

NETWORK, SIDE = "isnet", 1024
TITLE = f"IS-Net at {SIDE}x{SIDE}"
NOTE = """Random pixel values, {threads} threads; the peak is that of the process, loading included. The published
file as npm has it holds its weights in half precision; here they are widened to float32, which is exact."""


def run(rounds: Rounds = 5, threads: Threads = CORES, output: Output = PAGE) -> None:
    """IS-Net at 1024x1024, beside ONNX Runtime on the published file."""
    pull(NETWORK)  # before any clock runs
    sides = [Side("PyTorch, plain, float32", build_plain, (threads,))]
    sides.append(Side("PyTorch, fused, float32", build_fused, (threads, "float32")))
    notes = [NOTE.format(threads=threads), *note_cap()]
    if cpu_computes_in("bfloat16") is False:
        notes.append(EMULATED)
    else:
        sides.append(Side("PyTorch, fused, bfloat16", build_fused, (threads, "bfloat16")))
    with tempfile.TemporaryDirectory() as folder:
        if not is_cap_partial():
            file = in_single_precision(pull_onnx(NETWORK), Path(folder) / "isnet.onnx")
            rival = Side("ONNX Runtime, the published file, float32", build_onnxruntime, (str(file), threads))
            sides.insert(0, rival)
        save(output, "detail", TITLE, [compare(f"{TITLE}, 1 image", sides, rounds)], notes)


def in_single_precision(published: Path, path: Path) -> Path:
    """The published graph with float32 weights, computed in float32, written to `path`."""
    import onnx
    from onnx import TensorProto, numpy_helper

    content = onnx.load(published)

    def widen(tensor: TensorProto) -> None:
        if tensor.data_type == TensorProto.FLOAT16:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))

    for tensor in content.graph.initializer:
        widen(tensor)
    for node in content.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.i == TensorProto.FLOAT16:
                attribute.i = TensorProto.FLOAT
            elif node.op_type == "Constant":
                widen(attribute.t)
    for value in (*content.graph.value_info, *content.graph.output):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT16:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    onnx.save(content, path)
    return path


def _pixel_values() -> np.ndarray:
    return np.random.default_rng(0).normal(scale=0.3, size=(1, 3, SIDE, SIDE)).astype(np.float32)


def build_onnxruntime(file: str, threads: int) -> Work:
    """The published graph, asked for the map alone."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    name, wanted, pixel_values = session.get_inputs()[0].name, session.get_outputs()[0].name, _pixel_values()
    return lambda: session.run([wanted], {name: pixel_values})


def build_plain(threads: int) -> Work:
    """The network as transformers loads it, without gradients."""
    import torch

    from u2net_hf.models.u2net.modeling_u2net import U2NetForImageSegmentation

    torch.set_num_threads(threads)
    model = U2NetForImageSegmentation.from_pretrained(pull(NETWORK)).eval()
    pixel_values = torch.from_numpy(_pixel_values())

    @torch.inference_mode()
    def predict() -> Any:
        return model(pixel_values).logits.sigmoid()

    return predict


def build_fused(threads: int, dtype: str) -> Work:
    """The engine of the commands."""
    import torch

    keep_freed_memory()
    torch.set_num_threads(threads)
    engine, pixel_values = load_engine(NETWORK, "torch", device="cpu", dtype=dtype), _pixel_values()
    return lambda: engine.probabilities(pixel_values)  # type: ignore[attr-defined]
