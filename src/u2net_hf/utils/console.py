"""What commands and scripts tell their users when something goes wrong: one line, and a status."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.machinery import PathFinder

DEBUG_OPTION = "--debug"
# For typer: options may be spelled --like-this, and --like_this as in the examples of transformers and accelerate.
EITHER_SPELLING = {"token_normalize_func": lambda name: name.replace("_", "-")}
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
# What Python itself raises where code is wrong. All else tells of input: files, the network, options, memory.
_BUGS = (ArithmeticError, AssertionError, AttributeError, LookupError, NameError, SystemError, TypeError)
_INTERRUPTED = 130  # 128 + SIGINT, as shells say it


@contextmanager
def reported_errors() -> Iterator[None]:
    """Run a command: an error becomes one line on standard error and exit status 1, Ctrl-C status 130.

    Our own warnings are one line, too; those of libraries, which would bury them, are not shown. `--debug`, anywhere
    on the command line, is taken out of `sys.argv` here and shows where an error comes from, and all warnings.
    """
    debug = DEBUG_OPTION in sys.argv
    sys.argv[:] = [argument for argument in sys.argv if argument != DEBUG_OPTION]
    try:
        with _warnings_in_one_line(all_of_them=debug):
            yield
    except KeyboardInterrupt:
        raise SystemExit(_INTERRUPTED) from None
    except Exception as error:
        if debug:
            print(*map(printable, traceback.format_exc().splitlines()), sep="\n", file=sys.stderr)
        print(error_line(error), file=sys.stderr)
        raise SystemExit(1) from None


@contextmanager
def _warnings_in_one_line(*, all_of_them: bool) -> Iterator[None]:
    def show(message: Warning | str, category: type[Warning]) -> None:
        is_ours = category.__module__.startswith(f"{__name__.partition('.')[0]}.")
        if is_ours or all_of_them:
            name = "" if is_ours else f"{category.__name__}: "
            say(f"Warning: {name}{' '.join(str(message).split())}")

    with warnings.catch_warnings():
        warnings.simplefilter("default")  # each text once: an epoch after the other reads the same photos
        warnings.showwarning = lambda message, category, *_: show(message, category)
        if not all_of_them:
            _silence_libtiff()
        yield


def _silence_libtiff() -> None:
    """Keep libtiff from writing to the terminal what Pillow then raises as an error. This does not import Pillow."""
    package = importlib.util.find_spec("PIL")
    library = package and PathFinder.find_spec("PIL._imaging", package.submodule_search_locations)
    if library and library.origin:
        with suppress(OSError, AttributeError):  # where Pillow is built in another way
            loaded = ctypes.CDLL(library.origin)
            loaded.TIFFSetErrorHandler(None)
            loaded.TIFFSetWarningHandler(None)


def run_script(main: Callable[..., None], description: str) -> None:
    """Run the function of a script with the arguments of the command line, as `typer.run` would, and report errors.

    Args:
        main: The function.
        description: For `--help`, the docstring of the script.
    """
    import typer

    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    # "\b" keeps the line breaks of the indented example lines.
    text = re.sub(r"\n\n(?=    )", "\n\n\b\n", description)
    app.command(context_settings=EITHER_SPELLING, help=text)(main)
    with reported_errors():
        app(prog_name=os.path.basename(sys.argv[0]))


def error_line(error: Exception) -> str:
    """One line about an error, which may be shown on a terminal."""
    message = str(error).strip()
    if message.startswith("Caught "):  # in a worker of PyTorch, whose whole trace comes along
        message = message.splitlines()[-1].partition(": ")[2]
    line = printable(" ".join(message.split())) or type(error).__name__
    rank = os.environ.get("RANK", "0")
    who = "" if rank == "0" else f"(process {rank}) "
    if not isinstance(error, _BUGS):
        return f"Error: {who}{line}"
    last = traceback.extract_tb(error.__traceback__)[-1:]
    where = f" ({os.path.basename(last[0].filename)}, line {last[0].lineno})" if last else ""
    return f"Internal error: {who}{type(error).__name__}: {line}{where}. Run again with {DEBUG_OPTION} and report it."


def say(text: str) -> None:
    """A line on standard error, beside a progress bar, from any thread."""
    from tqdm import tqdm

    tqdm.write(printable(text), file=sys.stderr)


def printable(text: object) -> str:
    r"""A text, such as the name of a file, without what would control a terminal: that is written as "\x1b" or so."""
    return _CONTROLS.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), str(text))
