"""Models read through transformers, whatever is in their folder: its code is not run unasked, errors are one line."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..utils.console import printable

logger = logging.getLogger(__name__)


@contextmanager
def reading(source: str | Path) -> Iterator[None]:
    """Read a file or a model that comes from anywhere: whatever fails in here is its fault, and said in one line.

    Raises:
        OSError: If it is not there, or cannot be fetched.
        ValueError: If it is damaged, of another kind, or needs code of its own. The message names `source`.
    """
    try:
        yield
    except OSError as error:
        raise _in_one_line(error, source, "cannot be read") from error
    except Exception as error:
        if "trust_remote_code" in str(error):
            raise ValueError(
                f"{source} needs code of its own, which is not run unasked: read that code, and if you trust it, say "
                "so (u2net-hf remove --trust-remote-code; in Python trust_remote_code=True)."
            ) from error
        raise _in_one_line(error, source, "cannot be read; it is damaged, or of another kind") from error


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep transformers' bars over local files, and its reports of several lines, from the terminal."""
    from transformers.utils import logging as transformers_logging

    verbosity = transformers_logging.get_verbosity()
    hook = transformers_logging.set_tqdm_hook(
        lambda factory, args, kwargs: factory(*args, **kwargs | {"disable": True})
    )
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        transformers_logging.set_tqdm_hook(hook)


def load_pretrained(loader: Any, source: str | Path, *, trust_remote_code: bool = False, **options: Any) -> Any:
    """Call `loader.from_pretrained`, the errors being those of [`reading`].

    Left to itself, transformers asks on standard input whether to run a folder's code, where a photo may be coming in.

    Args:
        loader: An Auto class, or a class of a model, configuration or image processor.
        source: A folder, or a Hub id.
        trust_remote_code: Whether the code that comes with the model may be run.
        options: Others of `from_pretrained`.
    """
    with reading(source), quiet_transformers():
        return loader.from_pretrained(source, trust_remote_code=trust_remote_code, **options)


def load_whole_model(loader: Any, source: str | Path, **options: Any) -> Any:
    """Load a model as [`load_pretrained`] does, all of whose weights must be there; a warning names those too many.

    Raises:
        ValueError: If some are missing, for which transformers would take random numbers.
    """
    model, report = load_pretrained(loader, source, output_loading_info=True, **options)
    begun_anew = {name for name, *_ in report["mismatched_keys"]}  # with `ignore_mismatched_sizes`
    if missing := sorted({*report["missing_keys"]} - begun_anew):
        raise ValueError(f"{source} lacks weights that its configuration needs: {some(missing, 1)}.")
    if unexpected := sorted(report["unexpected_keys"]):
        logger.warning("%s", printable(f"{source} holds weights that its network has not: {some(unexpected, 1)}."))
    return model


def some(names: list[str], limit: int = 8) -> str:
    """The first names of a list, in words."""
    rest = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + rest


def _in_one_line(error: Exception, source: str | Path, what: str) -> Exception:
    """An `OSError` or else a `ValueError` that says what is wrong with `source`."""
    reason = " ".join(str(error).split()) or type(error).__name__
    is_plain = isinstance(error, (OSError, ValueError, RuntimeError))
    reason = reason if is_plain else f"{type(error).__name__}: {reason}"
    return (OSError if isinstance(error, OSError) else ValueError)(f"{source} {what}: {reason}")
