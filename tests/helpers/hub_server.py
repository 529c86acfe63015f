"""A small Hugging Face Hub on loopback, so that the real clients are tested over a real socket.

It knows models, datasets and Spaces, commits, branches, large files, tokens and front matter, keeps all of it in
memory, and can be told to fail. `python tests/hub_server.py` starts one to try things out by hand. Tests get one by
the fixtures in `hub_fixtures.py`.
"""

import hashlib
import threading
import time
from http.server import ThreadingHTTPServer
from pathlib import Path

from hub_requests import WRITE_TOKEN, Fault, HubRequest, Repository, StoredFile


class Hub:
    """The server. A context manager; `url` is its address."""

    def __init__(self) -> None:
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.blobs: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.requests: list[str] = []
        self.lock = threading.RLock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (HubRequest,), {"hub": self}))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "Hub":
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def environment(self, home: Path, token: str = WRITE_TOKEN) -> dict[str, str]:
        """The environment variables with which a new process talks to this Hub, and keeps its cache in `home`."""
        return {"HF_ENDPOINT": self.url, "HF_HOME": str(home), "HF_TOKEN": token, "HF_HUB_DISABLE_XET": "1"}

    def fail(self, pattern: str, failure: int | str, times: float = 1, **headers: str) -> None:
        """Fail the next `times` requests whose "METHOD path" contains a match of `pattern`."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        self.faults.append(Fault(pattern, failure, times, names))

    def files(self, repo_id: str, repo_type: str = "model", revision: str = "main") -> dict[str, bytes]:
        """The content of a repository as the server has it."""
        repository = self.repositories[repo_type, repo_id]
        commit = repository.commits[repository.resolve(revision)]
        return {path: self.blobs[stored.sha256] for path, stored in commit.items()}

    def reset(self) -> None:
        """Forget everything."""
        for store in (self.repositories, self.blobs, self.faults, self.requests):
            store.clear()

    def store(self, content: bytes, is_large: bool) -> StoredFile:
        sha256 = hashlib.sha256(content).hexdigest()
        self.blobs[sha256] = content
        oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        return StoredFile(sha256, len(content), oid, is_large)


if __name__ == "__main__":
    with Hub() as server:
        for name, value in server.environment(Path("/tmp/hf-home")).items():
            print(f"export {name}={value}")
        while True:
            time.sleep(60)
