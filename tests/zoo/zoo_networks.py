"""Every verb that takes a model over every model folder: `remove` in each engine, `export`, `push model`."""

import shutil
from pathlib import Path

from zoo_keeper import Zoo
from zoo_runs import Run, command, is_picture

ENGINES: tuple[tuple[str, ...], ...] = (("torch",), ("torch", "--dtype", "float32"), ("onnxruntime",), ("openvino",))
SLOW = 90
WARNINGS = ("holds weights that its network has not",)


def _check(zoo: Zoo, done: Run, model: Path, result: Path) -> None:
    if done.status not in (0, 1):
        zoo.blame(done, f"status {done.status}")
    if (done.status == 0) != result.exists():
        zoo.blame(done, f"status {done.status}, and the result is {'there' if result.exists() else 'not there'}")
    if (zoo.desk / "CODE RAN").exists():
        zoo.blame(done, "runs the code of the folder")
        (zoo.desk / "CODE RAN").unlink()
    if done.status == 1 and len(done.error_lines) != 1:
        zoo.blame(done, f"{len(done.error_lines)} lines of errors")


def models_in_remove(zoo: Zoo) -> None:
    """A good photo through every model, in torch and in one of the engines that need an export."""
    photo = zoo.folder / "good" / "jpg-RGB.jpg"
    result = zoo.desk / "result.png"
    for number, model in enumerate(zoo.some(zoo.models)):
        for engine in ENGINES[number % 2 :: 2] if zoo.every == 1 else (ENGINES[number % len(ENGINES)],):
            call = command("remove", "-m", model, "-o", result, photo, "--engine", *engine)
            answers = zoo.folder / "yes"
            done = zoo.call(
                "remove -m", f"{model.name} {' '.join(engine)}", call, stdin=answers, limit=SLOW, noise=WARNINGS
            )
            _check(zoo, done, model, result)
            if done.status == 0 and not is_picture(result):
                zoo.blame(done, "writes no picture")
            result.unlink(missing_ok=True)


def models_in_export(zoo: Zoo) -> None:
    """Every model exported."""
    for model in zoo.some(zoo.models, start=3):
        output = zoo.desk / "exported"
        call = command("export", model, output, "--dtype", "float32")
        done = zoo.call("export", model.name, call, stdin=zoo.folder / "yes", limit=SLOW, noise=WARNINGS)
        _check(zoo, done, model, output)
        shutil.rmtree(output, ignore_errors=True)


def models_in_push(zoo: Zoo) -> None:
    """Every model prepared for the Hub."""
    for model in zoo.some(zoo.models, start=7):
        output = zoo.desk / "pushed"
        call = command("push", "model", model, "me/net", "--dry-run", output)
        done = zoo.call("push model", model.name, call, stdin=zoo.folder / "yes", limit=SLOW, noise=WARNINGS)
        _check(zoo, done, model, output)
        shutil.rmtree(output, ignore_errors=True)
