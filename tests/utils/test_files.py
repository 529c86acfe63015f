"""Tests of u2net_hf.utils.files: files are whole or not there, and what killed processes left is tidied up."""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from u2net_hf.utils.files import new_folder, remove_abandoned, temporary_folder, write_atomically


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


def contents(folder: Path) -> dict[str, str]:
    """All files below a folder, hidden ones too, with their text."""
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def write_folder(target: Path, **options: bool) -> None:
    with new_folder(target, **options) as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "a.txt").write_text("new")
        (folder / "b.txt").write_text("new")


def test_a_new_folder_appears_whole(tmp_path: Path) -> None:
    with new_folder(tmp_path / "parent" / "out") as folder:
        (folder / "a.txt").write_text("new")
        assert not (tmp_path / "parent" / "out").exists()
    assert contents(tmp_path) == {"parent/out/a.txt": "new"}
    assert [path.name for path in tmp_path.rglob("*")] == ["parent", "out", "a.txt"]


def test_an_error_leaves_a_folder_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "b.txt").write_text("old")
    for options in ({"overwrite": True}, {"overwrite": True, "merge": True}):
        with contextlib.suppress(ZeroDivisionError), new_folder(tmp_path / "out", **options) as folder:
            (folder / "b.txt").write_text("half")
            raise ZeroDivisionError
    assert contents(tmp_path) == {"a.txt": "old", "out/b.txt": "old"}


def test_what_may_be_overwritten(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    write_folder(tmp_path / "empty")
    (tmp_path / "file").write_text("old")
    with pytest.raises(FileExistsError, match="file is a file"):
        write_folder(tmp_path / "file", overwrite=True)
    with pytest.raises(FileExistsError, match=r"empty is not empty: choose another folder\.$"):
        write_folder(tmp_path / "empty")
    with pytest.raises(FileExistsError, match="--overwrite"):
        write_folder(tmp_path / "empty", overwrite=False)
    assert contents(tmp_path) == {"empty/sub/a.txt": "new", "empty/b.txt": "new", "file": "old"}


def test_overwriting_replaces_or_merges(tmp_path: Path) -> None:
    for name in ("replaced", "merged"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "b.txt").write_text("old")
        (tmp_path / name / "c.txt").write_text("old")
    (tmp_path / "link").symlink_to("replaced")
    write_folder(tmp_path / "link", overwrite=True)
    write_folder(tmp_path / "merged", overwrite=True, merge=True)
    new = {"b.txt": "new", "sub/a.txt": "new"}
    assert contents(tmp_path / "replaced") == new
    assert contents(tmp_path / "merged") == {**new, "c.txt": "old"}
    assert (tmp_path / "link").is_symlink()
    assert sorted(os.listdir(tmp_path)) == ["link", "merged", "replaced"]


KILLED = """
import os, pathlib, sys
from u2net_hf.utils import files
replace = os.replace
def kill(source, target):
    if pathlib.Path(target).name != "replaced":
        os._exit(9)
    replace(source, target)
os.replace = kill
with files.new_folder(sys.argv[1], overwrite=True) as folder:
    (folder / "b.txt").write_text("half")
"""


@pytest.mark.parametrize("existed", [False, True])
def test_the_next_run_tidies_up_after_a_killed_one(tmp_path: Path, existed: bool) -> None:
    out = tmp_path / "o[u]t"
    if existed:
        out.mkdir()
        (out / "old.txt").write_text("old")
    assert subprocess.run([sys.executable, "-c", KILLED, str(out)]).returncode == 9
    assert len([*tmp_path.glob(".o*.tmp")]) == 1  # with the old folder in it, if there was one
    with temporary_folder(out) as temporary:
        assert [path for path in tmp_path.iterdir() if path != temporary] == ([out] if existed else [])
    assert contents(tmp_path) == ({"o[u]t/old.txt": "old"} if existed else {})


ALIVE = """
import sys
from u2net_hf.utils.files import temporary_folder
with temporary_folder(sys.argv[1]):
    print("ready", flush=True)
    input()
"""


def test_the_folder_of_a_living_process_stays(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ALIVE, str(tmp_path / "out")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        (theirs,) = tmp_path.iterdir()
        write_folder(tmp_path / "out")
        assert theirs.is_dir()
        other.communicate(b"\n")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_rest_of_a_folder_whose_process_was_killed_while_tidying_up_goes(tmp_path: Path) -> None:
    """The lock was gone already, some files were not."""
    rest, young = tmp_path / ".a.tif.0123abcd.tmp", tmp_path / ".b.tif.0123abcd.tmp"
    for folder in (rest, young):
        folder.mkdir()
        (folder / "maps").write_bytes(b"1")
    os.utime(rest, (0, 0))
    remove_abandoned([tmp_path])
    assert [*tmp_path.iterdir()] == [young]
