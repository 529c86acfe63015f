"""The export: what the graphs compute beside torch, what is written, and what is refused."""

import copy
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from export_helpers import SIDE, drawn_photo, run, save_isnet, save_u2net, save_unet, trained_looking
from PIL import Image
from run_script import run_script
from torch import nn
from transformers import SegformerConfig
from typer.testing import CliRunner

from u2net_hf import U2NetForImageSegmentation, U2NetImageProcessorPil, UNetForSemanticSegmentation
from u2net_hf.cli.app import app
from u2net_hf.evaluation.results import read_results
from u2net_hf.images.files import ImageError
from u2net_hf.models.unet.configuration_unet import nearest_valid_sizes
from u2net_hf.onnx_export import export, graphs
from u2net_hf.onnx_export.export import export_graph, export_onnx
from u2net_hf.utils.resources import find_template
from u2net_hf.weights.published import CheckpointError, pull_onnx

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

pytest_plugins = ["export_fixtures"]

CONFIGURATIONS = ("config.json", "preprocessor_config.json")


@pytest.mark.parametrize("size", [(2, 64, 64), (1, 37, 90), (3, 128, 1), (1, 7, 200)])
def test_the_graph_gives_the_maps_of_the_model(u2net: Path, exported: Path, size: tuple[int, int, int]) -> None:
    model, processor = (c.from_pretrained(u2net) for c in (U2NetForImageSegmentation, U2NetImageProcessorPil))
    batch_size, height, width = size
    images = [drawn_photo(width, height, brightness) for brightness in (1.0, 0.8, 0.6)[:batch_size]]
    pixel_values = processor(images, do_resize=False, return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        expected = torch.stack(processor.post_process_saliency(model(pixel_values)))[:, None]
    found = run(exported / "onnx" / "model.onnx", pixel_values)
    assert found.shape == (batch_size, 1, height, width)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)


def test_the_graph_divides_by_the_maximum_itself(u2net: Path, exported: Path) -> None:
    model, processor = (c.from_pretrained(u2net) for c in (U2NetForImageSegmentation, U2NetImageProcessorPil))
    dark = [drawn_photo(brightness=0.3), drawn_photo(brightness=0.7), Image.new("RGB", (SIDE, SIDE))]
    plain = processor(dark, do_scale_by_max=False, return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        divided = model(**processor(dark, return_tensors="pt")).logits.sigmoid().numpy()
        undivided = model(plain).logits.sigmoid().numpy()
    assert abs(divided - undivided).max() > 0.05
    np.testing.assert_allclose(run(exported / "onnx" / "model.onnx", plain), divided, atol=1e-4)


def test_isnet_is_exported_in_both_floating_point_types_and_any_size(tmp_path: Path) -> None:
    torch.manual_seed(4)
    source = save_isnet(tmp_path / "model")
    half = export_onnx(source, tmp_path / "out", dtypes=["float32", "float16"])[1]
    model = U2NetForImageSegmentation.from_pretrained(source)
    for size in ((2, 64, 64), (1, 37, 90), (1, 129, 66)):
        images = torch.rand(size[0], 3, *size[1:]) / 2 - 0.5  # dark: a division by the maximum would change them
        with torch.inference_mode():
            expected = model(images).logits.sigmoid().numpy()
        assert expected.std() > 0.02
        np.testing.assert_allclose(run(tmp_path / "out/onnx/model.onnx", images), expected, rtol=0, atol=1e-5)
        assert abs(run(half.path, images) - expected).mean() < 0.005
    config, processor = (json.loads((tmp_path / "out" / name).read_text()) for name in CONFIGURATIONS)
    assert config["model_type"] == "isnet"
    assert (processor["image_mean"], processor["image_std"]) == ([0.5] * 3, [1.0] * 3)
    assert processor["size"] == {"height": SIDE, "width": SIDE}


def test_int8_of_isnet_is_refused(tmp_path: Path) -> None:
    source = save_isnet(tmp_path / "model")
    with pytest.raises(ValueError, match=r"int8 of IS-Net is not offered, .*: leave int8 out"):
        export_onnx(source, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_processor_that_does_not_divide_makes_a_graph_that_does_not(tmp_path: Path) -> None:
    source = save_u2net(tmp_path / "model")
    processor = U2NetImageProcessorPil.from_pretrained(source, do_scale_by_max=False, do_normalize=False)
    processor.save_pretrained(source)
    export_onnx(source, tmp_path / "out", dtypes=["float32"])
    pixel_values = processor(drawn_photo(brightness=0.3), return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        expected = U2NetForImageSegmentation.from_pretrained(source)(pixel_values).logits.sigmoid()
    np.testing.assert_allclose(run(tmp_path / "out/onnx/model.onnx", pixel_values), expected.numpy(), atol=1e-5)


def test_several_channels_become_one_map_of_all_but_the_background(tmp_path: Path) -> None:
    source = save_u2net(tmp_path / "model", out_channels=3, use_batch_norm=False)
    export_onnx(source, tmp_path / "out", dtypes=["float32"], opset=14)
    pixel_values = U2NetImageProcessorPil.from_pretrained(source)(drawn_photo(), return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        expected = U2NetForImageSegmentation.from_pretrained(source)(pixel_values).logits.softmax(1)[:, 1:].sum(1)
    found = run(tmp_path / "out/onnx/model.onnx", pixel_values)
    np.testing.assert_allclose(found[:, 0], expected.numpy(), atol=1e-5)
    assert [entry.version for entry in onnx.load(tmp_path / "out/onnx/model.onnx").opset_import] == [14]


@pytest.mark.parametrize(
    "config",
    [
        {"num_labels": 3},
        {"num_labels": 1, "upsampling": "bilinear", "num_channels": 1},
        {"padding": "valid", "use_batch_norm": False, "dropout": 0.5},
        {"padding": "valid", "upsampling": "bilinear"},
    ],
    ids=lambda config: "-".join(map(str, config.values())),
)
def test_unet_gives_its_logits(tmp_path: Path, config: dict[str, Any]) -> None:
    source = save_unet(tmp_path / "model", **config)
    model = UNetForSemanticSegmentation.from_pretrained(source)
    export_onnx(source, tmp_path / "out", dtypes=["float32"])
    for batch_size, height, width in ((1, 61, 90), (3, 104, 70)):
        if model.config.padding == "valid":
            height, width = (nearest_valid_sizes(n, 2, model.config.upsampling)[1] for n in (height, width))
        pixel_values = torch.randn(batch_size, model.config.num_channels, height, width)
        with torch.inference_mode():
            expected = model(pixel_values).logits.numpy()
        np.testing.assert_allclose(run(tmp_path / "out/onnx/model.onnx", pixel_values), expected, rtol=1e-4, atol=1e-4)
    has_processor = (tmp_path / "out/preprocessor_config.json").exists()
    assert has_processor == (model.config.padding == "same")


def test_the_graph_is_clean(exported: Path) -> None:
    model = onnx.load(exported / "onnx/model.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]
    assert not {"BatchNormalization", "Dropout", "Constant", "Identity"} & {node.op_type for node in model.graph.node}
    (image,), (saliency,) = model.graph.input, model.graph.output
    assert (image.name, saliency.name) == ("pixel_values", "saliency")
    for value, channels in ((image, 3), (saliency, 1)):
        sides = [side.dim_param or side.dim_value for side in value.type.tensor_type.shape.dim]
        assert sides == ["batch", channels, "height", "width"]
    here = str(Path(export.__file__).parent).encode()
    assert all(here not in file.read_bytes() for file in (exported / "onnx").iterdir())


def test_float16_weighs_half_and_keeps_float32_outside(u2net: Path, exported: Path) -> None:
    def weight_types(name: str) -> set[int]:
        graph = onnx.load(exported / "onnx" / name).graph
        return {tensor.data_type for tensor in graph.initializer if len(tensor.dims) == 4}

    assert weight_types("model.onnx") == {onnx.TensorProto.FLOAT}
    assert weight_types("model_fp16.onnx") == {onnx.TensorProto.FLOAT16}
    casts = [node for node in onnx.load(exported / "onnx/model_fp16.onnx").graph.node if node.op_type == "Cast"]
    assert len(casts) == 2
    processor = U2NetImageProcessorPil.from_pretrained(u2net)
    pixel_values = processor(drawn_photo(), return_tensors="pt")["pixel_values"]
    full, half = (run(exported / "onnx" / name, pixel_values) for name in ("model.onnx", "model_fp16.onnx"))
    assert half.dtype == np.float32
    assert 0 < abs(half - full).max() < 0.02


def test_int8_quantizes_the_blocks_and_nothing_else(exported: Path) -> None:
    graph = onnx.load(exported / "onnx/model_quantized.onnx").graph
    integers = {tensor.name for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.INT8}
    from_integers = {node.output[0] for node in graph.node if node.input and node.input[0] in integers}
    convolutions = {node.name: node.input[1] in from_integers for node in graph.node if node.op_type == "Conv"}
    assert len(convolutions) == 38
    assert not {"/Mul", "/Add"} & {node.name for node in graph.node if node.input[0] in from_integers}
    assert {name for name, is_int8 in convolutions.items() if not is_int8} == {
        *(f"/network/{name}/Conv" for name in ("side1", "side2", "side3", "outconv")),
    }
    weights = [onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer if len(tensor.dims) == 4]
    assert all(abs(weight.astype(int)).max() <= 64 for weight in weights if weight.dtype == np.int8)


def test_int8_leaves_a_block_that_8_bits_would_ruin(tmp_path: Path, photo_folder: Path) -> None:
    """Two huge channels that cancel out, as a folded BatchNorm with a tiny variance leaves them."""
    source = save_u2net(tmp_path / "model", use_batch_norm=False)
    model, processor = (c.from_pretrained(source) for c in (U2NetForImageSegmentation, U2NetImageProcessorPil))
    stage = model.stage1d
    with torch.no_grad():
        stage.rebnconv1.conv_s1.bias[:] = torch.tensor([300.0, 200.0])
        stage.rebnconv2.conv_s1.weight[:, 0] = 5.30
        stage.rebnconv2.conv_s1.weight[:, 1] = -7.95
    trained_looking(model, model.outconv, processor).save_pretrained(source)
    graphs = export_onnx(source, tmp_path / "out", dtypes=["int8"], calibration_images=photo_folder)
    graph = onnx.load(graphs[0].path).graph
    assert not (tmp_path / "out/onnx/model.onnx").exists()
    integers = {tensor.name for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.INT8}
    quantized = {name.split(".")[1] for name in integers if "weight" in name}
    assert quantized == {"stage1", "stage2", "stage3", "stage2d"}


def test_a_graph_that_differs_from_torch_is_not_written(
    u2net: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fold = graphs.fold_batch_norm

    def forget_a_bias(network: graphs.LogitsGraph) -> graphs.LogitsGraph:
        folded = fold(network)
        nn.init.zeros_(folded.network.stage1d.rebnconvin.conv_s1.bias)
        return folded

    monkeypatch.setattr(graphs, "fold_batch_norm", forget_a_bias)
    with pytest.raises(RuntimeError, match=r"float32 graph differs from torch by up to 0\..*Nothing is written"):
        export_onnx(u2net, tmp_path / "out")
    assert [*tmp_path.iterdir()] == []


def test_int8_of_a_u2net_without_photos_takes_the_shipped_one(u2net: Path, tmp_path: Path) -> None:
    (graph,) = export_onnx(u2net, tmp_path / "out", dtypes=["int8"])
    processor = U2NetImageProcessorPil.from_pretrained(u2net)
    pixel_values = processor(Image.open(find_template("space/coffee.jpg")), return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        expected = U2NetForImageSegmentation.from_pretrained(u2net)(pixel_values).logits.sigmoid().numpy()
    assert expected.std() > 0.1
    assert abs(run(graph.path, pixel_values) - expected).mean() < 0.02


def test_int8_of_a_unet_needs_images_of_its_task(tmp_path: Path) -> None:
    source = save_unet(tmp_path / "model")
    with pytest.raises(ValueError, match="int8 of this network needs calibration_images: a few dozen images"):
        export_onnx(source, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_one_graph_alone_is_the_one_in_the_folder(
    u2net: Path, exported: Path, photo_folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "parent" / "graph.onnx"
    for dtype, name in (("float32", "model.onnx"), ("int8", "model_quantized.onnx")):
        graph = export_graph(u2net, path, dtype, calibration_images=photo_folder)
        assert (graph.path, graph.dtype, graph.num_bytes) == (path, dtype, path.stat().st_size)
        assert path.read_bytes() == (exported / "onnx" / name).read_bytes()
    before = path.read_bytes()
    with pytest.raises(ImageError, match="missing"):
        export_graph(u2net, path, "int8", calibration_images=tmp_path / "missing.jpg")
    with pytest.raises(ValueError, match="dtypes must be one or more of float32, float16, int8, got"):
        export_graph(u2net, path, "bfloat16")
    assert path.read_bytes() == before
    assert [*path.parent.iterdir()] == [path]


def test_a_network_in_training_mode_is_exported_as_in_evaluation_mode(
    u2net: Path, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Traced as it is, it would normalize by the statistics of the batch it was traced with."""
    load = export._load

    def load_for_training(source: str | Path) -> Any:
        model, processor = load(source)
        return model.train(), processor

    monkeypatch.setattr(export, "_load", load_for_training)
    graph = export_graph(u2net, tmp_path / "graph.onnx")
    assert graph.path.read_bytes() == (exported / "onnx/model.onnx").read_bytes()


def test_a_graph_with_other_batch_statistics_is_refused(
    u2net: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fold = graphs.fold_batch_norm

    def forget_the_statistics(network: graphs.LogitsGraph) -> graphs.LogitsGraph:
        network = copy.deepcopy(network)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.reset_running_stats()
        return fold(network)

    monkeypatch.setattr(graphs, "fold_batch_norm", forget_the_statistics)
    with pytest.raises(RuntimeError, match="float32 graph differs from torch"):
        export_graph(u2net, tmp_path / "graph.onnx")
    assert [*tmp_path.iterdir()] == []


@pytest.mark.slow
def test_the_published_network_gives_the_authors_maps(tmp_path: Path) -> None:
    """The export beside the one that the authors' weights were published as."""
    try:
        published = pull_onnx("u2netp")
        graph = export_graph("u2netp", tmp_path / "graph.onnx")
    except CheckpointError as error:
        pytest.skip(f"needs the published weights: {error}")
    photo = Image.open(find_template("space/coffee.jpg"))
    pixel_values = U2NetImageProcessorPil()(photo, return_tensors="pt")["pixel_values"]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(published, options, providers=["CPUExecutionProvider"])
    expected = session.run(None, {session.get_inputs()[0].name: pixel_values.numpy()})[0]
    assert expected.std() > 0.2
    np.testing.assert_allclose(run(graph.path, pixel_values), expected, atol=1e-4)
    assert graph.max_difference < 1e-4


def test_only_the_two_networks_can_be_exported(tmp_path: Path) -> None:
    SegformerConfig().save_pretrained(tmp_path / "model")
    with pytest.raises(ValueError, match="model is a network of the type segformer; known here are u2net, unet"):
        export_onnx(tmp_path / "model", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_remains_of_a_killed_export_are_removed(
    u2net: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as killed:
        killed.setattr(shutil, "rmtree", lambda *_, **__: None)  # nothing can be tidied up
        killed.setattr(export, "_load", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            export_onnx(u2net, tmp_path / "out", dtypes=["float32"])
    assert len([*tmp_path.glob(".out*")]) == 1
    export_onnx(u2net, tmp_path / "out", dtypes=["float32"])
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_export_replaces_files_only_if_asked_and_never_those_of_python(
    u2net: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out"
    (folder / "onnx").mkdir(parents=True)
    (folder / "notes.txt").write_text("mine")
    (folder / "onnx/model.onnx").write_text("old")
    with pytest.raises(FileExistsError, match="out is not empty"):
        export_onnx(u2net, folder, dtypes=["float32"])
    export_onnx(u2net, folder, dtypes=["float32"], overwrite=True)
    assert (folder / "notes.txt").read_text() == "mine"
    onnx.load(folder / "onnx/model.onnx")
    export_onnx(u2net, folder, dtypes="float16", overwrite=True)
    assert [path.name for path in (folder / "onnx").iterdir()] == ["model_fp16.onnx"]  # no graph of an older network
    monkeypatch.chdir(folder)
    export_onnx(u2net, ".", dtypes="float32", overwrite=True)
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json",
        "notes.txt",
        "onnx",
        "preprocessor_config.json",
    ]
    with pytest.raises(FileExistsError, match=r"notes\.txt is a file"):
        export_onnx(u2net, folder / "notes.txt")
    python = shutil.copytree(u2net, tmp_path / "python")
    with pytest.raises(FileExistsError, match="python holds a model for Python"):
        export_onnx(u2net, python, overwrite=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"dtypes": ["float32", "q4"]},
            r"dtypes must be one or more of float32, float16, int8, got \['float32', 'q4'\]",
        ),
        ({"dtypes": []}, "dtypes must be one or more"),
        ({"opset": 9}, "opset must be from 14 to 20, got 9"),
        ({"calibration_images": "empty"}, "calibration_images: no image in .*empty"),
        ({"calibration_images": []}, "calibration_images: no image in an empty list"),
        ({"calibration_images": "missing.jpg"}, "missing.jpg"),
    ],
)
def test_wrong_arguments_say_what_was_expected(
    u2net: Path, tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    (tmp_path / "empty").mkdir()
    if isinstance(name := arguments.get("calibration_images"), str):
        arguments = {"calibration_images": tmp_path / name}
    with pytest.raises(ValueError, match=message):
        export_onnx(u2net, tmp_path / "out", **arguments)
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_without_onnxruntime_it_says_how_to_get_it(
    u2net: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(RuntimeError, match=r"pip install 'u2net-hf\[onnx\]'"):
        export_onnx(u2net, tmp_path / "out")


def test_configurations_are_those_that_transformers_js_knows(exported: Path, tmp_path: Path) -> None:
    config, processor = (json.loads((exported / name).read_text()) for name in CONFIGURATIONS)
    assert config["model_type"] == "isnet"
    assert config["transformers.js_config"] == {"dtype": "fp32"}
    assert processor["size"] == {"height": SIDE, "width": SIDE}
    assert processor["feature_extractor_type"] == "ImageFeatureExtractor"
    assert processor["image_mean"] == pytest.approx([0.485, 0.456, 0.406])
    assert not {"do_antialias", "do_scale_by_max", "auto_map"} & set(processor)
    export_onnx(save_unet(tmp_path / "model"), tmp_path / "out", dtypes="float16")
    config, processor = (json.loads((tmp_path / "out" / name).read_text()) for name in CONFIGURATIONS)
    assert config["model_type"] == "segformer"
    assert config["id2label"] == {"0": "background", "1": "foreground"}
    assert config["transformers.js_config"] == {"dtype": "fp16"}
    assert processor["image_processor_type"] == "SegformerImageProcessor"
    assert processor["do_resize"] is False


def test_the_command_reports_what_it_wrote(u2net: Path, photo_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ["export", str(u2net), str(out), "--dtype", "float32", "--dtype", "int8"]
    arguments += ["--calibration", str(photo_folder)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    header, *lines = done.stdout.splitlines()
    assert header.split()[:3] == ["file", "type", "MB"]
    assert [line.split()[:2] for line in lines] == [
        ["onnx/model.onnx", "float32"],
        ["onnx/model_quantized.onnx", "int8"],
    ]
    assert all(float(number) < 1 for line in lines for number in line.split()[2:])
    names = ["config.json", "model.onnx", "model_quantized.onnx", "preprocessor_config.json"]
    assert sorted(path.name for path in out.rglob("*.*")) == names
    again = CliRunner().invoke(app, arguments)
    assert "not empty" in str(again.exception)
    wrong = CliRunner().invoke(app, [*arguments, "--dtype", "q4"])
    assert wrong.exit_code == 2


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Three photos, and which of their pixels are bright."""
    for number in range(3):
        photo = drawn_photo(60 + 10 * number, 50)
        mask = photo.convert("L").point(lambda value: 255 * (value > 99))
        for folder, picture in (("images", photo), ("masks", mask)):
            (tmp_path / "corpus" / folder).mkdir(parents=True, exist_ok=True)
            picture.save(tmp_path / "corpus" / folder / f"{number}.png")
    return tmp_path / "corpus"


def evaluate(corpus: Path, output_dir: Path, *options: object) -> int:
    return run_script("evaluate_sod.py", "--data", corpus, "--output_dir", output_dir, *options)


def test_every_file_of_an_export_is_scored(u2net: Path, exported: Path, corpus: Path, tmp_path: Path) -> None:
    assert evaluate(corpus, tmp_path / "torch", "--model", u2net) == 0
    expected = read_results(tmp_path / "torch").data[0].metrics
    for dtype, tolerance in (("float32", 1e-3), ("float16", 0.02), ("int8", 0.1)):
        options = ("--model", exported, "--engine", "onnxruntime", "--dtype", dtype)
        assert evaluate(corpus, tmp_path / dtype, *options) == 0
        (score,) = read_results(tmp_path / dtype).data
        assert (score.variant["engine"], score.variant["dtype"]) == ("onnxruntime", dtype)
        assert score.metrics == pytest.approx(expected, abs=tolerance)


def test_the_export_of_several_classes_is_scored_by_all_but_the_background(corpus: Path, tmp_path: Path) -> None:
    source = save_u2net(tmp_path / "model", out_channels=3)
    model, processor = (
        U2NetForImageSegmentation.from_pretrained(source),
        U2NetImageProcessorPil.from_pretrained(source),
    )
    errors = []
    for path in sorted((corpus / "images").iterdir()):
        mask = np.asarray(Image.open(corpus / "masks" / path.name)) / 255
        with torch.inference_mode():
            logits = model(**processor(Image.open(path), return_tensors="pt")).logits
        objects = 1 - nn.functional.interpolate(logits.softmax(1)[:, :1], mask.shape, mode="bilinear")
        errors.append(abs(objects[0, 0].numpy() - mask).mean())
    export_onnx(source, tmp_path / "out", dtypes=["float32"])
    assert evaluate(corpus, tmp_path / "scores", "--model", tmp_path / "out", "--engine", "onnxruntime") == 0
    assert read_results(tmp_path / "scores").data[0].metrics["mae"] == pytest.approx(np.mean(errors), abs=5e-3)


def test_the_export_of_a_unet_is_not_scored(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export_onnx(save_unet(tmp_path / "model", num_labels=3), tmp_path / "out", dtypes=["float32"])
    capsys.readouterr()
    assert evaluate(corpus, tmp_path / "scores", "--model", tmp_path / "out", "--engine", "onnxruntime") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("Error: ")
    assert "saliency" in line
    assert not (tmp_path / "scores").exists()
