"""A watched folder: what is named, when, and how often."""

import contextlib
import os
from pathlib import Path

import pytest

from u2net_hf.images.outputs import Job, plan_outputs
from u2net_hf.images.watching import watch


class Folder:
    """The folder `in`, whose results go to `out`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "in").mkdir()

    def plan(self) -> list[Job]:
        return plan_outputs([self.root / "in"], self.root / "out", allow_empty=True)

    def write(self, name: str, content: str, time: int) -> None:
        path = self.root / "in" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
        os.utime(path, (time, time))


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def looks(folder: Folder, steps: list[dict[str, tuple[str, int]]], **options: bool) -> list[list[str]]:
    """What is named at each look; before each of them files are written."""
    found: list[list[str]] = []
    remaining = iter(steps)

    def pause() -> None:
        step = next(remaining, None)
        if step is None:
            raise InterruptedError
        for name, (content, time) in step.items():
            folder.write(name, content, time)
        found.append([])

    found.append([])
    named = watch(folder.plan, pause=pause, **options)
    with contextlib.suppress(InterruptedError):
        for jobs in named:
            found[-1] += [job.source.name for job in jobs]
    return found


def test_an_image_is_named_once_it_is_whole(folder: Folder) -> None:
    """Its size grows from look to look, then stays; one look later another one comes."""
    steps = [{"a.png": ("1", 1)}, {"a.png": ("12", 1)}, {"a.png": ("12", 2)}, {}, {"sub/b.png": ("1", 1)}, {}, {}]
    assert looks(folder, steps) == [[], [], [], [], ["a.png"], [], ["b.png"], []]


def test_an_empty_file_is_not_whole(folder: Folder) -> None:
    assert looks(folder, [{"a.png": ("", 1)}, {}, {}, {"a.png": ("1", 1)}, {}]) == [[], [], [], [], [], ["a.png"]]


def test_an_image_that_changes_is_named_again(folder: Folder) -> None:
    steps = [{"a.png": ("1", 1)}, {}, {"a.png": ("1", 2)}, {}, {}]
    assert looks(folder, steps) == [[], [], ["a.png"], [], ["a.png"], []]


@pytest.mark.parametrize("overwrite", [False, True])
def test_results_that_are_there(folder: Folder, overwrite: bool) -> None:
    """They stay, unless it is said or the image changes."""
    (folder.root / "out").mkdir()
    (folder.root / "out" / "a.png").touch()
    steps = [{"a.png": ("1", 1)}, {}, {"a.png": ("2", 2)}, {}]
    assert looks(folder, steps, overwrite=overwrite) == [[], [], ["a.png"] * overwrite, [], ["a.png"]]


def test_an_image_that_goes_is_forgotten(folder: Folder) -> None:
    (folder.root / "in" / "link.png").symlink_to("nowhere")
    assert looks(folder, [{}, {}]) == [[], [], []]
