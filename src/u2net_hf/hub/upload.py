"""A folder to the Hub in one commit, tried again where the server falters, with errors that say what to do."""

from __future__ import annotations

import fnmatch
import itertools
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TypeVar

import httpx2
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled
from huggingface_hub.utils import validate_repo_id

_Outcome = TypeVar("_Outcome")

ATTEMPTS = 4
PAUSE = 2.0  # seconds before the second attempt, twice as many before each further one
LONGEST_PAUSE = 120.0  # whatever the Hub asks for, which may be days
TOKENS = "https://huggingface.co/settings/tokens"


class HubError(RuntimeError):
    """The Hub was not reached or refused; the message says why and what to do. What it had is unchanged."""


def check_repo_id(repo_id: str) -> None:
    """Check the name of a repository before any work is done for it.

    Raises:
        ValueError: If it is not "user/name", with characters that the Hub allows.
    """
    if repo_id.count("/") != 1:
        raise ValueError(f'The repository must be named "user/name", got "{repo_id}".')
    validate_repo_id(repo_id)


def check_account(repo_id: str, token: str | None = None) -> None:
    """Check that there is a token, that the Hub knows it, and that it may write.

    Args:
        repo_id: Where the upload will go, for the messages.
        token: The token; by default that of `hf auth login` or of the environment variable `HF_TOKEN`.

    Raises:
        HubError: If one of these is not so.
    """
    account = retry(repo_id, lambda: HfApi(token=token).whoami())
    if account.get("auth", {}).get("accessToken", {}).get("role") == "read":
        raise HubError(f"The token of {account['name']} may only read: make one that may write at {TOKENS}.")


def upload_folder(
    folder: str | Path,
    repo_id: str,
    *,
    repo_type: str = "model",
    message: str = "Upload",
    replaced: Collection[str] = (),
    private: bool = False,
    token: str | None = None,
    space_sdk: str = "gradio",
) -> str:
    """Upload a folder in one commit, which the Hub takes wholly or not at all.

    Args:
        folder: The folder. Links in it are refused: they could lead out of it.
        repo_id: The repository, "user/name"; it is made if there is none.
        repo_type: "model", "dataset" or "space".
        message: Message of the commit.
        replaced: Patterns of files in the repository that are deleted if the folder does not have them.
        private: Whether a new repository is private. One that exists stays as it is.
        token: As in [`check_account`].
        space_sdk: What a new Space runs on, "gradio" or "static".

    Returns:
        The address of the repository.

    Raises:
        HubError: If the Hub refuses, or still fails after a few attempts.
        ValueError: If the folder holds a link, or nothing.
    """
    files: dict[str, Path] = {}
    for path in sorted(Path(folder).rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise ValueError(f"{path} is a link or no regular file: only what lies in the folder itself is uploaded.")
        if path.is_file():
            files[path.relative_to(folder).as_posix()] = path
    if not files:
        raise ValueError(f"{folder} holds no files to upload.")
    api = HfApi(token=token)

    def make() -> str:
        sdk = space_sdk if repo_type == "space" else None
        return str(api.create_repo(repo_id, repo_type=repo_type, space_sdk=sdk, private=private, exist_ok=True))

    def commit() -> None:
        there = api.list_repo_files(repo_id, repo_type=repo_type)
        gone = [name for name in there if name not in files and any(fnmatch.fnmatch(name, one) for one in replaced)]
        # Made anew for each attempt: the client uses them up.
        operations: list[CommitOperationAdd | CommitOperationDelete] = [CommitOperationDelete(name) for name in gone]
        operations += [CommitOperationAdd(name, path) for name, path in files.items()]
        api.create_commit(repo_id, operations, commit_message=message, repo_type=repo_type)

    existed = retry(repo_id, lambda: api.repo_exists(repo_id, repo_type=repo_type))
    url = retry(repo_id, make)
    try:
        retry(repo_id, commit)
    except HubError as error:
        if existed:
            raise
        raise HubError(
            f"{error} The repository has been made and remains, empty: repeat the command to fill it, or delete it at "
            f"{url}/settings."
        ) from error
    return url


def retry(repo_id: str, action: Callable[[], _Outcome]) -> _Outcome:
    """Do something on the Hub, and again if that may help.

    Args:
        repo_id: The repository, for the messages.
        action: What to do.

    Raises:
        HubError: If the Hub refuses, or still fails after a few attempts.
    """
    for attempt in itertools.count(1):
        try:
            return action()
        except Exception as error:
            wait = _seconds_to_wait(error)
            if wait is None or attempt == ATTEMPTS:
                if explanation := _explain(error, repo_id):
                    raise HubError(explanation) from error
                raise
            time.sleep(min(max(wait, PAUSE * 2 ** (attempt - 1)), LONGEST_PAUSE))
    raise AssertionError("never reached")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what it came from: the client wraps what goes wrong with a large file."""
    while error is not None:
        yield error
        error = error.__cause__


def _seconds_to_wait(error: BaseException) -> float | None:
    """How long to wait before another attempt, at least; None if another would be of no use."""
    for one in _causes(error):
        if isinstance(one, HfHubHTTPError):
            status, asked = one.response.status_code, one.response.headers.get("Retry-After", "")
            if status in (408, 429) or status >= 500:
                return float(asked) if asked.isdigit() else 0.0
            return None
        if isinstance(one, httpx2.TransportError):
            return 0.0
    return None


def _explain(error: BaseException, repo_id: str) -> str | None:
    """Say in a user's words what went wrong and what to do; None if it has nothing to do with the Hub."""
    reason = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, LocalTokenNotFoundError):
        return f"Not logged in: run `hf auth login`, set HF_TOKEN, or give a token that may write ({TOKENS})."
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set: publish without it, or write the folder only (dry run)."
    if _seconds_to_wait(error) is not None:
        return f"The Hub failed {ATTEMPTS} times, {repo_id} is as it was: try again later. ({reason})"
    statuses = [one.response.status_code for one in _causes(error) if isinstance(one, HfHubHTTPError)]
    if 401 in statuses:
        return f"The Hub does not know the token: run `hf auth login`, or make a new one at {TOKENS}. ({reason})"
    if 403 in statuses:
        return f"The token may not write to {repo_id}: choose another repository, or a token of {TOKENS}. ({reason})"
    if statuses or "metadata in README.md" in reason:
        return f"The Hub refuses {repo_id}: {reason}"
    return None
