"""Tests of u2net_hf.utils.console: one line about an error, the trace only if asked for, no control characters."""

import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from run_script import run_script
from safetensors import SafetensorError

from u2net_hf.cli.app import main
from u2net_hf.utils.console import printable, reported_errors


def run(
    action: Callable[[], object],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    *arguments: str,
) -> tuple[int, str]:
    """The exit status and standard error of a command that does something."""
    monkeypatch.setattr(sys, "argv", ["command", *arguments])
    with pytest.raises(SystemExit) as stopped, reported_errors():
        action()
    assert "--debug" not in sys.argv
    return int(stopped.value.code or 0), capsys.readouterr().err


def fail(error: BaseException) -> Callable[[], object]:
    def action() -> None:
        raise error

    return action


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("size must be\n  positive "), "Error: size must be positive"),
        (FileNotFoundError(2, "No such file", "a.jpg"), "Error: [Errno 2] No such file: 'a.jpg'"),
        (RuntimeError(), "Error: RuntimeError"),
        (ImportError("pip install x"), "Error: pip install x"),
        (SafetensorError("invalid header"), "Error: invalid header"),
        (MemoryError(), "Error: MemoryError"),
        (
            RuntimeError("Caught OSError in worker 0.\nTraceback ...\nOSError: a.jpg is cut"),
            "Error: a.jpg is cut",
        ),
        (ValueError("no \x1b[31mred\x07"), r"Error: no \x1b[31mred\x07"),
    ],
)
def test_an_error_is_one_line(
    error: Exception, line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(fail(error), capsys, monkeypatch) == (1, line + "\n")


def test_a_bug_is_one_line_and_asks_for_a_report(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    status, text = run(lambda: {}["size"], capsys, monkeypatch)
    assert status == 1
    assert text.startswith("Internal error: KeyError: 'size' (test_console.py, line ")
    assert text.endswith(" Run again with --debug and report it.\n")
    assert text.count("\n") == 1


@pytest.mark.parametrize("error", [ValueError("wrong"), KeyError("wrong\x1b")])
def test_debug_shows_where_an_error_comes_from(
    error: Exception, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    status, text = run(fail(error), capsys, monkeypatch, "remove", "--debug", "a.jpg")
    assert status == 1
    assert "Traceback (most recent call last)" in text
    assert "in fail" in text or "in action" in text
    assert "\x1b" not in text


class OurWarning(UserWarning):
    __module__ = "u2net_hf.somewhere"


def test_of_warnings_ours_are_one_line_each_and_those_of_libraries_are_not_shown(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Image.effect_noise((200, 200), 90).save(tmp_path / "a.tif", compression="tiff_lzw")
    data = bytearray((tmp_path / "a.tif").read_bytes())
    data[5000:5100] = bytes(100)
    (tmp_path / "a.tif").write_bytes(data)

    def action() -> None:
        for _ in range(2):
            warnings.warn("a \x1b[31mred\n photo", OurWarning, stacklevel=1)
        warnings.warn("Palette images should be RGBA", UserWarning, stacklevel=1)
        with Image.open(tmp_path / "a.tif") as image:  # of which libtiff would write a line itself
            image.load()

    said, filters = r"Warning: a \x1b[31mred photo", [*warnings.filters]
    status, text = run(action, capfd, monkeypatch)
    assert (status, text.splitlines()[:-1]) == (1, [said])
    assert warnings.filters == filters
    status, text = run(action, capfd, monkeypatch, "--debug")
    assert text.splitlines()[:2] == [said, "Warning: UserWarning: Palette images should be RGBA"]


def test_another_process_says_which_it_is(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "2")
    assert run(fail(ValueError("wrong")), capsys, monkeypatch) == (1, "Error: (process 2) wrong\n")


@pytest.mark.skipif(os.name == "nt", reason="needs SIGINT")
def test_ctrl_c_ends_without_a_trace() -> None:
    code = (
        "import time; from u2net_hf.utils.console import reported_errors\n"
        "with reported_errors(): print('ready', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60)[1] == ""
    assert process.returncode == 130


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("photos/Größe 1 日本 👩‍👧.jpg", "photos/Größe 1 日本 👩‍👧.jpg"),
        ("a\nb\tc\r\x1b]0;title\x07", r"a\nb\tc\r\x1b]0;title\x07"),
        ("\x9b31m\x7f", r"\x9b31m\x7f"),
        ("gpj.\u202etxt", r"gpj.\u202etxt"),
        (os.fsdecode(b"caf\xe9"), r"caf\udce9"),
    ],
)
def test_control_characters_are_spelled_out(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(Path(text)) == shown


@pytest.mark.parametrize("name", ["evil\x1b[2J.jpg", "missing\x1b[2J.jpg"])
def test_the_command_prints_no_control_characters(name: str, tmp_path: Path) -> None:
    if name.startswith("evil"):
        (tmp_path / name).write_bytes(b"no image")
    command = [sys.executable, "-m", "u2net_hf", "remove", str(tmp_path / name), "--debug"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home")}
    ended = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert ended.returncode == 1
    assert b"\x1b" not in ended.stdout + ended.stderr
    assert rb"\x1b[2J.jpg" in ended.stderr


@pytest.mark.parametrize("option", ["--training-data", "--training_data"])
def test_options_of_the_command_have_two_spellings(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dry").write_text("in the way")
    command = ["push", "model", str(tmp_path), "me/net", option, "cats", "--dry_run", str(tmp_path / "dry")]
    monkeypatch.setattr(sys, "argv", ["u2net-hf", *command])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 1
    assert "dry is a file" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--output-dir", "--output_dir"])
@pytest.mark.parametrize("script", ["evaluate_sod.py", "train_sod.py"])
def test_options_of_scripts_have_two_spellings(
    script: str, option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = "--data" if script == "evaluate_sod.py" else "--dataset_name"
    assert (
        run_script(script, data, tmp_path / "nowhere", "--maps" if data == "--data" else "--seed", 1, option, "x") == 1
    )
    assert "nowhere" in capsys.readouterr().err
