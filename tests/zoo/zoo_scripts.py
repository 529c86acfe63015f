"""The other verbs and the scripts: `convert`, `pull`, `push`, the demo, evaluation, preparation, training."""

import os
import re
import shutil
from pathlib import Path

from zoo_keeper import Zoo
from zoo_runs import Run, command, is_picture, names, script

PROTOBUF = (r"absl::InitializeLog", r"^[WE]0000 .*descriptor|^[WE]\d{4} ")  # what OpenVINO's writes of damaged files
TINY = ("--resolution", "32", "--max_train_steps", "1", "--validation_split", "train", "--logging_steps", "1")


def _emptied(zoo: Zoo, name: str) -> Path:
    folder = zoo.desk / name
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def _check(zoo: Zoo, done: Run, result: Path) -> None:
    if (done.status == 0) != result.exists():
        zoo.blame(done, f"status {done.status}, and the result is {'there' if result.exists() else 'not there'}")
    if (zoo.desk / "CODE RAN").exists():
        zoo.blame(done, "runs the code of the file")
        (zoo.desk / "CODE RAN").unlink()
    hidden = [path.name for path in zoo.desk.iterdir() if path.name.endswith((".part", ".tmp"))]
    if hidden and done.status >= 0:
        zoo.blame(done, f"leaves {hidden}")


def weights_in_convert(zoo: Zoo) -> None:
    """Every file of weights, and some pictures and folders, through `convert`."""
    for path in zoo.some([*zoo.weights, *zoo.damaged[:9], *zoo.models[:2], *zoo.special.iterdir()], start=1):
        if path.name == "sparse.png":
            continue  # torch maps it: 3 GB of address, none of memory
        output = _emptied(zoo, "converted")
        done = zoo.call("convert", path.name, command("convert", "--", path, output), limit=60)
        _check(zoo, done, output)
        if done.status == 1 and (len(done.error_lines) != 1 or not names(done, path)):
            zoo.blame(done, f"does not name the file once: {done.err[-300:]!r}")
        if (
            path.stem.startswith(("good", "nested", "prefixed", "old-format")) != (done.status == 0)
            and path.suffix
            in (
                ".pth",
                ".onnx",
            )
            and path.stem != "nested-in-itself"
        ):
            zoo.blame(done, f"status {done.status}: {done.err[-300:]!r}")


def exports_in_remove(zoo: Zoo) -> None:
    """Exported folders whose graphs are odd, in both engines that run them."""
    photo, result = zoo.folder / "good" / "jpg-RGB.jpg", zoo.desk / "result.png"
    for number, folder in enumerate(zoo.some(zoo.exports, start=2)):
        for engine in ("onnxruntime", "openvino")[number % 2 if zoo.every > 1 else 0 :][: 1 if zoo.every > 1 else 2]:
            call = command("remove", "-m", folder, "-o", result, photo, "--engine", engine)
            done = zoo.call("remove -m", f"exported {folder.name} {engine}", call, noise=PROTOBUF)
            _check(zoo, done, result)
            if done.status == 0 and not is_picture(result):
                zoo.blame(done, "writes no picture")
            result.unlink(missing_ok=True)


def names_in_pull(zoo: Zoo) -> None:
    """Names that are published, and others."""
    for name in (
        "u2netp",
        "u2netpp",
        "",
        "..",
        "../u2netp",
        "\x1b[31mu2net",
        "-x",
        "--",
        "u" * 9999,
        "me/net",
        "u2net",
    ):
        done = zoo.call("pull", name[:40], command("pull", "--", name), limit=120)
        if (done.status == 0) != (name == "u2netp") and name != "--":
            zoo.blame(done, f"status {done.status}: {done.err[-200:]}")


def others_in_push(zoo: Zoo) -> None:
    """Metrics, data sets and the Space, with sources and names that are odd."""
    calls = [("metric", name) for name in ("sod_metrics", "cell_metrics", "x", "", "../hub", "\x1b[31m")]
    calls += [("dataset", path) for path in zoo.some([*zoo.corpora, *zoo.special.iterdir()], start=4)]
    for kind, source in [*calls, ("space", None)]:
        output = _emptied(zoo, "pushed")
        arguments = [] if source is None else [source]
        call = command("push", kind, "--dry-run", output, "--", *arguments, "me/thing")
        _check(zoo, zoo.call(f"push {kind}", source, call, limit=120), output)
    for repository in ("", "a/b/c", "-x/y", "\x1b[31m/x", "x" * 200 + "/y", "a b/c", "../.."):
        output = _emptied(zoo, "pushed")
        call = command("push", "metric", "--dry-run", output, "--", "sod_metrics", repository)
        done = zoo.call("push metric", repository, call)
        _check(zoo, done, output)
        if done.status == 0:
            zoo.blame(done, "takes the name of a repository that cannot be")


def pictures_in_demo(zoo: Zoo) -> None:
    """What the page does with a picture: a result, or an error for the visitor."""
    for path in zoo.some([*zoo.good, *zoo.damaged], start=9):
        done = zoo.call("demo", path.name, lambda path=path: _show(zoo, path), limit=60, free=True)
        if path in zoo.good and done.status and path.name != "icc-huge-L.png":
            zoo.blame(done, f"refuses a good picture: {done.err[-300:]!r}")


def _show(zoo: Zoo, path: Path) -> None:
    import gradio

    from u2net_hf.removal import demo

    try:
        demo._remove(
            str(path), str(zoo.model), False, 0.0, demo.TRANSPARENT, "#fff", None, folder=str(zoo.desk / "page")
        )
    except gradio.Error as error:
        raise SystemExit(f"Error: {error.message!a}") from error


def corpora_in_prepare(zoo: Zoo) -> None:
    """Every corpus through prepare_corpus.py: each image is in it, or named."""
    for corpus in zoo.some(zoo.corpora, start=5):
        output = _emptied(zoo, "prepared")
        done = zoo.call(
            "prepare_corpus", corpus.name, script("prepare_corpus.py", corpus, output), limit=120, free=True
        )
        _check(zoo, done, output)
        if done.status == 0 and (corpus / "images").is_dir() and (told := re.search(rb"(\d+) pairs", done.out)):
            _check_account(zoo, done, corpus, int(told[1]))


def _check_account(zoo: Zoo, done: Run, corpus: Path, pairs: int) -> None:
    from u2net_hf.utils.console import printable

    images = {path.stem for path in (corpus / "images").iterdir() if not path.is_dir()}
    if list(corpus.glob("metadata.*")):
        return
    named = {stem for stem in images if printable(stem) in done.err}
    if pairs + len(named) < len(images):
        zoo.blame(done, f"{pairs} pairs and {len(named)} names of {len(images)} images; {done.err[-300:]!r}")


def corpora_in_evaluation(zoo: Zoo) -> None:
    """Every corpus measured: with a model, and with maps that are the zoo's pictures."""
    for number, corpus in enumerate(zoo.some(zoo.corpora, start=6)):
        output = _emptied(zoo, "scores")
        source = ("--model", zoo.model) if number % 3 else ("--maps", zoo.folder / "corpora" / "masks-0-255" / "masks")
        call = script("evaluate_sod.py", *source, "--data", corpus, "--output_dir", output)
        done = zoo.call("evaluate_sod", corpus.name, call, limit=240, free=True)
        if done.status == 0 and not (output / "results.json").is_file():
            zoo.blame(done, "writes no results")
        for file in output.rglob("*.json"):
            if re.search(r"\b(NaN|Infinity)\b", file.read_text()):
                zoo.blame(done, f"writes NaN into {file.name}")
    for kind in ("good", "damaged"):
        call = script(
            "evaluate_sod.py", "--maps", zoo.folder / kind, "--data", zoo.corpora[0], "--output_dir", "scores"
        )
        zoo.call("evaluate_sod", f"maps {kind}", call, free=True)


def corpora_in_cell_evaluation(zoo: Zoo) -> None:
    """Every corpus as one of label images, which few are."""
    for corpus in zoo.some(zoo.corpora, start=10):
        output = _emptied(zoo, "scores")
        call = command("evaluate-cells", "--model", zoo.unet, "--data", corpus, "--output-dir", output)
        done = zoo.call("evaluate-cells", corpus.name, call, limit=240, free=True)
        if (done.status == 0) != (output / "results.json").is_file():
            zoo.blame(done, f"status {done.status}, and it leaves {[*output.glob('*')]}")


def corpora_in_predict(zoo: Zoo) -> None:
    """Every corpus, and folders of pictures, to a data set: each photo is a row, with its error if there was one."""
    import pyarrow.parquet as pq

    for corpus in zoo.some([*zoo.corpora, zoo.folder / "good", zoo.folder / "damaged", zoo.special], start=12):
        output = _emptied(zoo, "predicted")
        call = command("predict", "-m", zoo.model, "--", corpus, output)
        done = zoo.call("predict", corpus.name, call, limit=240, free=True)
        told = re.search(rb"(\d+) done, (\d+) failed", done.out)
        rows = sum(pq.read_table(path).num_rows for path in output.rglob("*.parquet"))
        if done.status == 1 and corpus.parent == zoo.folder:
            zoo.blame(done, f"gives up a folder of pictures: {done.err[-300:]!r}")
        if done.status == 0 and (not told or rows != int(told[1]) + int(told[2])):
            zoo.blame(done, f"tells of {told and told[0]!r}, and there are {rows} rows")


def corpora_in_training(zoo: Zoo) -> None:
    """One step of training on every corpus."""
    for number, corpus in enumerate(zoo.some(zoo.corpora, start=8)):
        for kind in ("sod", "unet") if zoo.every == 1 else (("sod", "unet")[number % 2],):
            output = _emptied(zoo, "trained")
            options = ("--dataset_name", corpus, "--output_dir", output, *TINY)
            if kind == "sod":
                options += ("--model_name_or_path", zoo.model, "--per_device_train_batch_size", "2")
            else:
                options += ("--hidden_sizes", "4", "8", "--config", "modern")
            done = zoo.call(f"train_{kind}", corpus.name, script(f"train_{kind}.py", *options), limit=240, free=True)
            if (
                done.status == 0
                and not (output / "model.safetensors").is_file()
                and not list(output.rglob("*.safetensors"))
            ):
                zoo.blame(done, f"writes no model, only {os.listdir(output)}")
            for file in output.rglob("*.json"):
                if re.search(r"\b(NaN|Infinity)\b", file.read_text()):
                    zoo.blame(done, f"writes NaN into {file.name}")


def models_in_training(zoo: Zoo) -> None:
    """One step from every model."""
    for model in zoo.some(zoo.models, start=11):
        output = _emptied(zoo, "trained")
        options = ("--dataset_name", zoo.corpora[0], "--output_dir", output, *TINY, "--model_name_or_path", model)
        call = script("train_sod.py", *options, "--per_device_train_batch_size", "2")
        done = zoo.call("train_sod -m", model.name, call, stdin=zoo.folder / "yes", limit=240, free=True)
        if (zoo.desk / "CODE RAN").exists():
            zoo.blame(done, "runs the code of the folder")
