"""Tests of u2net_hf.utils.files: files are whole or not there, and what killed processes left is tidied up."""

import os
import time
from pathlib import Path

import pytest

from u2net_hf.utils.files import remove_abandoned, write_atomically


def test_text_and_bytes(tmp_path: Path) -> None:
    write_atomically(tmp_path / "new" / "a.txt", "é")
    write_atomically(str(tmp_path / "new" / "a.bin"), b"\x00")
    assert (tmp_path / "new" / "a.txt").read_bytes() == b"\xc3\xa9"
    assert sorted(os.listdir(tmp_path / "new")) == ["a.bin", "a.txt"]


def test_only_old_temporary_files_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise SystemError

    monkeypatch.setattr(os, "replace", stop)
    monkeypatch.setattr(Path, "unlink", stop)  # as if the process were killed
    for _ in range(3):
        with pytest.raises(SystemError):
            write_atomically(tmp_path / "a.png", b"half")
    monkeypatch.undo()
    abandoned = list(tmp_path.iterdir())
    assert len(abandoned) == 3
    others = [tmp_path / name for name in ("a.png", ".hidden", "b.part", f".{'x' * 32}.part", f"{'0' * 32}.part")]
    for path in others:
        path.touch()
    for path in [*abandoned[1:], *others]:
        os.utime(path, (time.time() - 3700,) * 2)
    remove_abandoned([tmp_path, tmp_path / "missing"])
    assert sorted(tmp_path.iterdir()) == sorted([abandoned[0], *others])
