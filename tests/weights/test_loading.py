"""Models of strangers: their code is not run unasked, and what is wrong with them is said in one line."""

import ast
import io
import json
import shutil
from pathlib import Path

import httpx2
import numpy as np
import pytest
import torch
from fresh_process import run_fresh
from PIL import Image
from prediction_helpers import Pair
from run_script import SCRIPTS
from transformers import AutoModelForImageSegmentation
from typer.testing import CliRunner

from u2net_hf.cli.app import app
from u2net_hf.engines.torch_engine import load_model
from u2net_hf.weights.loading import load_whole_model, reading

pytest_plugins = ["prediction_helpers"]

ROOT = Path(__file__).parents[2]
CODE = """
from pathlib import Path
Path({marker!r}).touch()
from transformers import PreTrainedConfig
class FooConfig(PreTrainedConfig):
    model_type = "foo"
"""


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "the code was run"


@pytest.fixture
def stranger(tmp_path: Path, marker: Path) -> Path:
    """A model whose configuration brings code along."""
    folder = tmp_path / "stranger"
    folder.mkdir()
    auto_map = {"AutoConfig": "foo.FooConfig", "AutoImageProcessor": "foo.FooConfig"}
    (folder / "config.json").write_text(json.dumps({"model_type": "foo", "auto_map": auto_map}))
    (folder / "preprocessor_config.json").write_text(json.dumps({"auto_map": auto_map}))
    (folder / "foo.py").write_text(CODE.format(marker=str(marker)))
    return folder


def photo() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


RUN = """
import runpy, sys
del sys.argv[0]
if sys.argv[0] == "-m":
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__")
else:
    runpy.run_path(sys.argv[0], run_name="__main__")
"""
COMMANDS = {
    "remove": ["-m", "u2net_hf", "remove", "-", "-o", "{out}/cut-out.png", "--model", "{model}"],
    "export": ["-m", "u2net_hf", "export", "{model}", "{out}/exported"],
    "push": ["-m", "u2net_hf", "push", "model", "{model}", "me/net", "--license", "mit", "--dry-run", "{out}/pushed"],
    "evaluate_sod": [f"{SCRIPTS}/evaluate_sod.py", "--model", "{model}", "--data", "{data}", "--output_dir", "{out}"],
    "train_sod": [f"{SCRIPTS}/train_sod.py", "--model_name_or_path", "{model}", "--dataset_name", "{data}"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_is_asked_on_standard_input(command: str, stranger: Path, marker: Path, tmp_path: Path) -> None:
    for name in ("images", "masks"):
        (tmp_path / "data" / name).mkdir(parents=True)
        Image.fromarray(np.eye(16, dtype=np.uint8) * 255).save(tmp_path / "data" / name / "0.png")
    places = {"out": tmp_path / "out", "model": stranger, "data": tmp_path / "data"}
    (tmp_path / "out").mkdir()
    arguments = [argument.format(**places) for argument in COMMANDS[command]]
    if command == "train_sod":
        arguments += ["--output_dir", str(tmp_path / "out"), "--train_split", "train", "--validation_split", "train"]
    done = run_fresh(RUN, *arguments, stdin=b"y\n" + photo())
    assert done.returncode == 1
    assert not marker.exists()
    assert "[y/N]" not in done.stdout
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(f"Error: {stranger} needs code of its own, which is not run unasked")
    assert "Traceback" not in done.stderr


def test_code_is_run_for_those_who_trust_it(stranger: Path, marker: Path) -> None:
    with pytest.raises(ValueError, match="stranger"):
        load_model(stranger, trust_remote_code=True)  # it is no image processor
    assert marker.exists()


def test_the_command_has_a_flag_for_them(stranger: Path, marker: Path, tmp_path: Path) -> None:
    arguments = ["remove", str(tmp_path / "photo.jpg"), "--model", str(stranger), "--trust-remote-code"]
    (tmp_path / "photo.jpg").write_bytes(photo())
    assert CliRunner().invoke(app, arguments).exit_code == 1  # it is no image processor
    assert marker.exists()


def test_every_call_says_whether_code_may_be_run() -> None:
    """Left to itself, transformers asks."""
    silent = []
    for path in [*(ROOT / "src").rglob("*.py"), *(ROOT / "scripts").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                asks = called == "pipeline" or (called.endswith(".from_pretrained") and called.startswith("Auto"))
                if asks and "trust_remote_code" not in [keyword.arg for keyword in node.keywords]:
                    silent.append(f"{path}:{node.lineno}")
    assert silent == []


def test_errors_of_every_kind_name_the_source() -> None:
    for error, expected in [
        (KeyError("stages"), ValueError),
        (ValueError("wrong\nin two lines"), ValueError),
        (RuntimeError("size mismatch"), ValueError),
        (FileNotFoundError("gone"), OSError),
        (AssertionError(), ValueError),
        (httpx2.RemoteProtocolError("peer closed connection"), ValueError),
    ]:
        with pytest.raises(expected, match=r"^mine cannot be read.*: \S.*$") as caught, reading("mine"):
            raise error
        assert caught.value.__cause__ is error
        assert "\n" not in str(caught.value)
    with pytest.raises(KeyboardInterrupt), reading("mine"):
        raise KeyboardInterrupt


def test_missing_weights_are_not_made_up(tiny: Pair, tmp_path: Path) -> None:
    model, _ = tiny
    state_dict = {name: value for name, value in model.state_dict().items() if not name.startswith("side2")}
    model.save_pretrained(tmp_path, state_dict=state_dict)
    with pytest.raises(ValueError, match=r"lacks weights that its configuration needs: side2\.bias and 1 more"):
        load_whole_model(AutoModelForImageSegmentation, tmp_path)


def test_libraries_are_quiet_and_weights_too_many_are_named(
    tiny: Pair, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    model, _ = tiny
    model.save_pretrained(tmp_path, state_dict=model.state_dict() | {"more\x1b[31m": torch.ones(1)})
    capfd.readouterr()
    load_whole_model(AutoModelForImageSegmentation, tmp_path)
    assert capfd.readouterr().err == ""
    assert caplog.messages == [rf"{tmp_path} holds weights that its network has not: more\x1b[31m."]


def damage(folder: Path, what: str) -> None:
    weights = folder / "model.safetensors"
    content = weights.read_bytes()
    config = json.loads((folder / "config.json").read_text())
    match what:
        case "cut":
            weights.write_bytes(content[: len(content) // 2])
        case "no weights at all":
            weights.write_bytes(b"")
        case "no SafeTensors":
            weights.write_bytes(b"<html>404</html>" * 100)
        case "foreign pickle":
            weights.unlink()
            torch.save({"weights": Path("/")}, folder / "pytorch_model.bin")
        case "null":
            (folder / "config.json").write_text(json.dumps(config | {"encoder_stages": None}))
        case "processor":
            (folder / "preprocessor_config.json").write_text("[1")


@pytest.mark.parametrize("what", ["cut", "no weights at all", "no SafeTensors", "foreign pickle", "null", "processor"])
def test_damaged_folders(what: str, folder: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(folder, tmp_path / "copied"))
    damage(copied, what)
    with pytest.raises((ValueError, OSError), match=r"copied.* cannot be read") as caught:
        load_model(copied)
    assert "\n" not in str(caught.value)
