"""`u2net-hf remove` over every picture: alone and in folders, in all its forms."""

import os
import re
import shutil
import signal
import threading
from pathlib import Path

from zoo_keeper import Zoo
from zoo_runs import Run, command, is_picture, names

from u2net_hf.images.files import READ_SUFFIXES

FORMS: tuple[tuple[str, ...], ...] = (
    (),
    ("--mask",),
    ("--background", "#ff8800"),
    ("--threshold", "0.5"),
    ("--matting",),
    ("--mask", "--threshold", "0.3"),
    ("--engine", "onnxruntime"),
    ("--engine", "openvino", "--dtype", "int8"),
    ("--compress-level", "9"),
    ("--crop", "5"),
)
WATCHED_SECONDS = 6
SUFFIXES = ("png", "webp", "jpg")
WARNINGS = (r"^Warning: .*(first is done|same color|transparent)", r"^$")


def remove_each(zoo: Zoo) -> None:
    """Each picture on its own, in a third of the forms: done or named, and nothing else written.

    All pictures in all forms are in `remove_folders`.
    """
    for number, path in enumerate(zoo.some([*zoo.good, *zoo.damaged])):
        for form in FORMS[number % 3 :: 3] if zoo.every == 1 else (FORMS[number % len(FORMS)],):
            _remove_one(zoo, path, form, SUFFIXES[number % len(SUFFIXES)])


def _remove_one(zoo: Zoo, path: Path, form: tuple[str, ...], suffix: str) -> None:
    result = zoo.desk / f"result.{suffix}"
    call = command("remove", "-m", zoo.model, "-o", result, *form, "--", path)
    done = zoo.call("remove", f"{path.name} {' '.join(form)} {suffix}", call, noise=WARNINGS, limit=30)
    _check(zoo, done, path, result)


def remove_streams(zoo: Zoo) -> None:
    """Each picture through standard input and output."""
    for path in zoo.some([*zoo.good, *zoo.damaged], start=1):
        call = command("remove", "-m", zoo.model, "-")
        done = zoo.call("remove -", path.name, call, stdin=path, binary=True, noise=WARNINGS, limit=30)
        result = zoo.desk / ".out"
        if done.status == 0 and not is_picture(result):
            zoo.blame(done, "writes no picture")
        elif done.status == 1 and done.out:
            zoo.blame(done, "writes something in spite of its error")
        _check_good(zoo, done, path)


def _check(zoo: Zoo, done: Run, path: Path, result: Path) -> None:
    if done.status == 0 and not is_picture(result):
        zoo.blame(done, "writes no picture")
    elif done.status == 1:
        if result.exists():
            zoo.blame(done, "writes a result in spite of its error")
        if len(done.error_lines) != 1 or not names(done, path):
            zoo.blame(done, f"does not name the file once: {done.err[-300:]!r}")
    _check_good(zoo, done, path)
    zoo.clear_desk(done, result)


def _check_good(zoo: Zoo, done: Run, path: Path) -> None:
    if path in zoo.good and done.status and not zoo.may_refuse(path, done.title):
        zoo.blame(done, f"refuses a good picture: {done.err[-300:]!r}")


def remove_watched(zoo: Zoo) -> None:
    """A folder that is watched, until Ctrl-C: what is in it is done or named, and the command goes on."""
    folder, output = zoo.folder / "watched", zoo.folder / "watched-results"
    folder.mkdir()
    paths = [*zoo.some([*zoo.good, *zoo.damaged], start=5)]
    for path in paths:
        shutil.copyfile(path, folder / path.name)
    watch = command("remove", folder, "-m", zoo.model, "-o", output, "--watch")

    def watch_for_a_while() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
        threading.Timer(WATCHED_SECONDS + len(paths) / 4, os.kill, (os.getpid(), signal.SIGINT)).start()
        watch()

    noise = (*WARNINGS, "^Watching; Ctrl-C ends")
    done = zoo.call("remove --watch", "a folder", watch_for_a_while, limit=60 + len(paths), noise=noise)
    results = {path.stem for path in output.rglob("*") if path.is_file()}
    for path in paths:
        is_read = path.suffix.lower() in READ_SUFFIXES and not path.name.startswith(".") and path.stat().st_size
        if is_read and not names(done, path) and not {path.stem, path.name} & results:
            zoo.blame(done, f"{path.name!a} is neither done nor named")


def remove_folders(zoo: Zoo) -> None:
    """Whole folders: each file that has the suffix of a picture is done, or named."""
    folders = [zoo.folder / name for name in ("good", "damaged", "special")]
    for number, form in enumerate(zoo.some(FORMS)):
        for folder in folders:
            _remove_folder(zoo, folder, form, SUFFIXES[number % len(SUFFIXES)])


def _remove_folder(zoo: Zoo, folder: Path, form: tuple[str, ...], suffix: str) -> None:
    output = zoo.folder / "results"
    options = ("-m", zoo.model, "-o", output, "--format", suffix, "--batch-size", 3, *form)
    done = zoo.call(
        "remove", f"{folder.name}/ {' '.join(form)}", command("remove", folder, *options), limit=300, noise=WARNINGS
    )
    told = re.search(rb"(\d+) done, (\d+) skipped, (\d+) failed", done.out)
    if not told:
        zoo.blame(done, f"gives no account: {done.err[-300:]!r}")
        return
    counts = [int(count) for count in told.groups()]
    inputs = [
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in READ_SUFFIXES and not path.is_dir() and not path.name.startswith(".")
    ]
    results = {path.relative_to(output) for path in output.rglob("*") if path.is_file()}
    if len(inputs) != sum(counts):
        zoo.blame(done, f"has {len(inputs)} files and counts {counts}")
    if counts[0] != len(results) or counts[2] != len(done.error_lines):
        zoo.blame(done, f"counts {counts}, and there are {len(results)} results and {len(done.error_lines)} errors")
    for path in inputs:
        stem = path.relative_to(folder)
        done_as = {stem.with_suffix(f".{suffix}"), stem.with_name(f"{stem.name}.{suffix}")} & results
        named = names(done, path) or (not done_as and names(done, path.with_suffix(f".{suffix}")))
        if bool(done_as) == named:
            zoo.blame(done, f"{path.name!a} is done as {done_as}, named in the errors: {named}")
    for result in results:
        if not is_picture(output / result):
            zoo.blame(done, f"{result} is no picture")
        (output / result).unlink()
