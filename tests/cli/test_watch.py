"""`remove --watch`: what comes into a folder is done until Ctrl-C."""

import _thread
import sys
import threading
import time
from pathlib import Path

import pytest
from prediction_helpers import noise

from u2net_hf.cli.app import main
from u2net_hf.images import watching

pytest_plugins = ["prediction_helpers"]


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["u2net-hf", "remove", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    return int(stopped.value.code or 0)


def test_watch(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(watching, "SECONDS", 0.01)
    photos, results = tmp_path / "in", tmp_path / "out"
    photos.mkdir()

    def wait(is_so: Path) -> None:
        end = time.monotonic() + 60
        while not is_so.exists() and time.monotonic() < end:
            time.sleep(0.01)

    def use() -> None:
        """Copy a photo slowly, spoil another one, and leave."""
        noise(40, 30).save(tmp_path / "photo.png")
        whole = (tmp_path / "photo.png").read_bytes()
        with (photos / "slow.png").open("wb") as file:
            for start in range(0, len(whole), 100):
                file.write(whole[start : start + 100])
                file.flush()
        (photos / "bad.jpg").write_bytes(b"no photo")
        wait(results / "slow.png")
        noise(40, 30).save(photos / "late.png")
        wait(results / "late.png")
        _thread.interrupt_main()

    user = threading.Thread(target=use)
    user.start()
    status = call(monkeypatch, str(photos), "-o", str(results), "-m", str(folder), "--device", "cpu", "--watch")
    user.join()
    said = capsys.readouterr()
    assert status == 0
    assert {*said.out.split()} >= {str(results / "slow.png"), str(results / "late.png")}
    assert "bad.jpg: is not an image" in said.err
    assert {path.name for path in results.iterdir()} == {"slow.png", "late.png"}


@pytest.mark.parametrize("arguments", [["photo.png", "-o", "out"], ["."], ["nowhere", "-o", "out"]])
def test_only_folders_can_be_watched(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    noise(4, 3).save("photo.png")
    assert call(monkeypatch, *arguments, "--watch") == 1
    assert capsys.readouterr().err == "Error: --watch needs folders, and --output with another one for the results\n"
