"""What `hub_server.Hub` answers: the endpoints of the Hugging Face Hub that its clients call."""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from card_rules import card_problems, front_matter

if TYPE_CHECKING:
    from hub_server import Hub

WRITE_TOKEN, READ_TOKEN = "hf_write", "hf_read"
USER = "me"
CUT = "cut"
# What the Hub keeps as large files whatever their size; the rest travels inside the commit.
LARGE_FILES = re.compile(r".*\.(safetensors|onnx|parquet|arrow|bin|png|jpg|zip)")


class HubError(Exception):
    """An answer that is not 200."""

    def __init__(self, status: int, message: str, code: str | None = None, **body: Any):
        super().__init__(message)
        self.status, self.code, self.body = status, code, {"error": message} | body
        self.headers: dict[str, str] = {}


@dataclass
class StoredFile:
    """One file of a commit. Its content lies in `Hub.blobs` under its SHA-256."""

    sha256: str
    size: int
    oid: str
    is_large: bool


@dataclass
class Repository:
    """Snapshots by commit, commits by branch, newest last."""

    commits: dict[str, dict[str, StoredFile]] = field(default_factory=dict)
    branches: dict[str, list[str]] = field(default_factory=lambda: {"main": []})

    def commit(self, branch: str, files: dict[str, StoredFile], parent: str | None = None) -> str:
        if parent is not None and parent != self.branches[branch][-1]:
            raise HubError(412, f"{branch} has moved on since {parent}")
        sha = hashlib.sha1(f"{branch}{len(self.commits)}{sorted(files)}".encode()).hexdigest()
        self.commits[sha] = files
        self.branches[branch].append(sha)
        return sha

    def resolve(self, revision: str) -> str:
        sha = self.branches[revision][-1] if revision in self.branches else revision
        if sha not in self.commits:
            raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return sha


@dataclass
class Fault:
    """How to fail a request whose "METHOD path" contains a match of `pattern`."""

    pattern: str
    failure: int | str
    """A status, or "cut": read and answer half of it, then hang up."""
    times: float = 1
    headers: dict[str, str] = field(default_factory=dict)


class HubRequest(BaseHTTPRequestHandler):
    """One request. `ROUTES` says which method answers it."""

    hub: "Hub"
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (ConnectionError, TimeoutError):  # the client hung up
            self.close_connection = True

    def answer(self) -> None:
        address = urlsplit(self.path)
        request = f"{self.command} {unquote(address.path)}"
        with self.hub.lock:
            self.hub.requests.append(request)
        self.query = {key: values[0] for key, values in parse_qs(address.query).items()}
        fault = self._next_fault(request)
        size = int(self.headers.get("Content-Length", 0))
        if fault and fault.failure == CUT and size:
            self.rfile.read(size // 2)
            self.close_connection = True
            return
        self.body = self._read_chunks() if self.headers.get("Transfer-Encoding") else self.rfile.read(size)
        try:
            if fault and fault.failure != CUT:
                error = HubError(int(fault.failure), f"told to fail: {fault.failure}")
                error.headers = fault.headers
                raise error
            self._send(200, *self._route(self.command, address.path), cut=fault is not None)
        except HubError as error:
            headers = {"X-Error-Message": str(error), **error.headers}
            if error.code:
                headers["X-Error-Code"] = error.code
            self._send(error.status, error.body, headers)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer  # noqa: N815 (names of http.server)

    def log_message(self, *_: object) -> None:
        """Be silent: `Hub.requests` has the log."""

    def _next_fault(self, request: str) -> Fault | None:
        with self.hub.lock:
            for fault in self.hub.faults:
                if fault.times > 0 and re.search(fault.pattern, request):
                    fault.times -= 1
                    return fault
        return None

    def _read_chunks(self) -> bytes:
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _route(self, command: str, path: str) -> tuple[Any, dict[str, str]]:
        for methods, pattern, method in ROUTES:
            if command in methods.split("|") and (match := re.fullmatch(pattern, path)):
                with self.hub.lock:
                    found = method(self, **{name: unquote(value or "") for name, value in match.groupdict().items()})
                return found if isinstance(found, tuple) else (found, {})
        raise HubError(404, f"no such endpoint: {command} {path}")

    def _send(self, status: int, content: Any, headers: dict[str, str], cut: bool = False) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        if status == 200 and (part := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))):
            start, end = int(part[1]), int(part[2] or len(data) - 1)
            headers = headers | {"Content-Range": f"bytes {start}-{end}/{len(data)}"}
            status, data = 206, data[start : end + 1]
        self.send_response(status)
        kind = "application/octet-stream" if isinstance(content, bytes) else "application/json"
        for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[: len(data) // 2] if cut else data)
        self.close_connection = self.close_connection or cut

    # -- accounts and repositories

    def user(self) -> tuple[str, str] | None:
        """Name and role of the one who asks; None for a visitor."""
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        roles = {WRITE_TOKEN: "write", READ_TOKEN: "read"}
        if token and token not in roles:
            raise HubError(401, "Invalid credentials in Authorization header")
        return (USER, roles[token]) if token else None

    def check_may_write(self, repo_id: str) -> None:
        user = self.user()
        if user is None:
            raise HubError(401, "Invalid username or password.")
        if user[1] != "write" or repo_id.split("/")[0] != user[0]:
            raise HubError(403, f"You don't have the rights to write to {repo_id}")

    def repository(self, kind: str, repo_id: str, write: bool = False) -> Repository:
        self.user()
        if write:
            self.check_may_write(repo_id)
        key = (kind.removesuffix("s") or "model", repo_id)
        if key not in self.hub.repositories:
            raise HubError(404, "Repository not found", "RepoNotFound")
        return self.hub.repositories[key]

    def snapshot(self, kind: str, repo_id: str, revision: str) -> tuple[str, dict[str, StoredFile]]:
        repository = self.repository(kind, repo_id)
        sha = repository.resolve(revision or "main")
        return sha, repository.commits[sha]

    def who_am_i(self) -> dict[str, Any]:
        user = self.user()
        if user is None:
            raise HubError(401, "Invalid username or password.")
        access = {"accessToken": {"displayName": "test", "role": user[1]}}
        return {"type": "user", "name": user[0], "fullname": user[0], "orgs": [], "auth": access}

    def create(self) -> dict[str, Any]:
        wanted = json.loads(self.body)
        repo_type, user = wanted.get("type", "model"), self.user()
        repo_id = f"{wanted.get('organization') or (user[0] if user else '?')}/{wanted['name']}"
        self.check_may_write(repo_id)
        url = f"{self.hub.url}/{'' if repo_type == 'model' else repo_type + 's/'}{repo_id}"
        if (repo_type, repo_id) in self.hub.repositories:
            raise HubError(409, "You already created this repo", url=url)
        repository = self.hub.repositories[repo_type, repo_id] = Repository()
        repository.commit("main", {".gitattributes": self.hub.store(b"", is_large=False)})
        return {"url": url, "name": repo_id}

    def delete(self) -> dict[str, Any]:
        wanted = json.loads(self.body)
        repo_id = f"{wanted.get('organization') or USER}/{wanted['name']}"
        self.repository(wanted.get("type", "model"), repo_id, write=True)
        del self.hub.repositories[wanted.get("type", "model"), repo_id]
        return {}

    # -- reading

    def info(self, kind: str, repo_id: str, revision: str = "") -> dict[str, Any]:
        sha, files = self.snapshot(kind, repo_id, revision)
        card = self.hub.blobs[files["README.md"].sha256].decode() if "README.md" in files else ""
        data = front_matter(card) or {}
        when = "2026-01-01T00:00:00.000Z"
        siblings = [{"rfilename": path, "size": file.size} for path, file in sorted(files.items())]
        about = {"id": repo_id, "modelId": repo_id, "sha": sha, "siblings": siblings, "cardData": data}
        about |= {"private": False, "disabled": False, "gated": False, "downloads": 0, "likes": 0}
        about |= {"tags": data.get("tags") or [], "lastModified": when, "createdAt": when}
        return about | {key: data[key] for key in ("pipeline_tag", "library_name", "sdk") if key in data}

    def refs(self, kind: str, repo_id: str) -> dict[str, Any]:
        heads = {name: commits[-1] for name, commits in self.repository(kind, repo_id).branches.items()}
        branches = [{"name": name, "ref": f"refs/heads/{name}", "targetCommit": sha} for name, sha in heads.items()]
        return {"branches": branches, "tags": [], "converts": []}

    def tree(self, kind: str, repo_id: str, revision: str, folder: str = "") -> list[dict[str, Any]]:
        _, files = self.snapshot(kind, repo_id, revision)
        below = [path for path in sorted(files) if not folder or path.startswith(folder + "/")]
        if folder and not below:
            raise HubError(404, f"{folder} does not exist", "EntryNotFound")
        entries = self.entries(files)
        recursive = self.query.get("recursive", "false").lower() == "true"
        depth = len(folder.split("/")) if folder else 0
        inside = [path for path in entries if any(f"{one}/".startswith(f"{path}/") for one in below)]
        inside = [path for path in inside if path != folder and path.count("/") >= depth]
        return [entries[path] for path in inside if recursive or path.count("/") == depth]

    def paths_info(self, kind: str, repo_id: str, revision: str) -> list[dict[str, Any]]:
        entries = self.entries(self.snapshot(kind, repo_id, revision)[1])
        is_json = self.headers.get("Content-Type", "").startswith("application/json")
        wanted = json.loads(self.body)["paths"] if is_json else parse_qs(self.body.decode())["paths"]
        return [entries[path.strip("/")] for path in wanted if path.strip("/") in entries]

    def entries(self, files: dict[str, StoredFile]) -> dict[str, dict[str, Any]]:
        """What the Hub says of each file and each folder, by path."""
        found: dict[str, dict[str, Any]] = {}
        for path, file in sorted(files.items()):
            for end in [at for at, letter in enumerate(path) if letter == "/"]:
                oid = hashlib.sha1(path[:end].encode()).hexdigest()
                found[path[:end]] = {"type": "directory", "path": path[:end], "oid": oid, "size": 0}
            found[path] = {"type": "file", "path": path, "oid": file.oid, "size": file.size}
            if file.is_large:
                found[path]["lfs"] = {"oid": file.sha256, "size": file.size, "pointerSize": 130}
        return found

    def resolve(self, kind: str, repo_id: str, revision: str, path: str) -> tuple[bytes, dict[str, str]]:
        sha, files = self.snapshot(kind, repo_id, revision)
        if path not in files:
            error = HubError(404, f"{path} does not exist", "EntryNotFound")
            error.headers = {"X-Repo-Commit": sha}
            raise error
        file = files[path]
        headers = {"X-Repo-Commit": sha, "ETag": f'"{file.sha256 if file.is_large else file.oid}"'}
        return self.hub.blobs[file.sha256], headers | {"Accept-Ranges": "bytes"}

    # -- writing

    def branch(self, kind: str, repo_id: str, name: str) -> dict[str, Any]:
        branches = self.repository(kind, repo_id, write=True).branches
        if self.command == "DELETE":
            del branches[name]
        elif name in branches:
            raise HubError(409, "Reference already exists")
        else:
            start = json.loads(self.body or b"{}").get("startingPoint", "main")
            branches[name] = [self.repository(kind, repo_id).resolve(start)]
        return {}

    def validate_card(self) -> dict[str, Any]:
        sent = json.loads(self.body)
        if problems := card_problems(sent["content"], sent["repoType"]):
            raise HubError(400, problems[0], errors=[{"message": problem} for problem in problems])
        return {"errors": [], "warnings": []}

    def preupload(self, kind: str, repo_id: str, revision: str) -> dict[str, Any]:
        self.repository(kind, repo_id, write=True).resolve(revision)
        paths = [file["path"] for file in json.loads(self.body)["files"]]
        modes = ["lfs" if LARGE_FILES.fullmatch(path) else "regular" for path in paths]
        files = [{"path": path, "uploadMode": mode} for path, mode in zip(paths, modes, strict=True)]
        return {"files": [file | {"shouldIgnore": False} for file in files]}

    def lfs_batch(self, kind: str, repo_id: str) -> dict[str, Any]:
        self.repository(kind, repo_id, write=True)
        objects = []
        for wanted in json.loads(self.body)["objects"]:
            actions = {"upload": f"{self.hub.url}/lfs/{wanted['oid']}", "verify": f"{self.hub.url}/lfs/verify"}
            known = wanted["oid"] in self.hub.blobs
            links = {} if known else {"actions": {name: {"href": href} for name, href in actions.items()}}
            objects.append({"oid": wanted["oid"], "size": wanted["size"]} | links)
        return {"transfer": "basic", "objects": objects}

    def lfs_upload(self, oid: str) -> dict[str, Any]:
        if hashlib.sha256(self.body).hexdigest() != oid:
            raise HubError(400, "the content does not fit its digest")
        self.hub.blobs[oid] = self.body
        return {}

    def lfs_verify(self) -> dict[str, Any]:
        if json.loads(self.body)["oid"] not in self.hub.blobs:
            raise HubError(404, "never uploaded")
        return {}

    def commit(self, kind: str, repo_id: str, revision: str) -> dict[str, Any]:
        repository = self.repository(kind, repo_id, write=True)
        files = dict(repository.commits[repository.resolve(revision)])
        lines = [json.loads(line) for line in self.body.splitlines()]
        for key, value in ((line["key"], line["value"]) for line in lines[1:]):
            path = value["path"]
            if not path or path.startswith("/") or ".." in path.split("/"):
                raise HubError(400, f"invalid path: {path}")
            if key == "file":
                files[path] = self.hub.store(base64.b64decode(value["content"]), is_large=False)
            elif key == "lfsFile":
                files[path] = self.hub.store(self.hub.blobs[value["oid"]], is_large=True)
            else:  # deletedFile, deletedFolder
                files = {
                    name: file for name, file in files.items() if not f"{name}/".startswith(path.strip("/") + "/")
                }
        sha = repository.commit(revision, files, lines[0]["value"].get("parentCommit"))
        return {"success": True, "commitOid": sha, "commitUrl": f"{self.hub.url}/{repo_id}/commit/{sha}"}


REPO = r"(?P<repo_id>[\w.-]+/[\w.-]+)"
API = rf"/api/(?P<kind>models|datasets|spaces)/{REPO}"
PAGES = rf"/(?:(?P<kind>datasets|spaces)/)?{REPO}"
REVISION = r"(?P<revision>[^/]+)"
ROUTES: list[tuple[str, str, Callable[..., Any]]] = [
    ("GET", "/api/whoami-v2", HubRequest.who_am_i),
    ("POST", "/api/repos/create", HubRequest.create),
    ("DELETE", "/api/repos/delete", HubRequest.delete),
    ("POST", "/api/validate-yaml", HubRequest.validate_card),
    ("GET", API, HubRequest.info),
    ("GET", f"{API}/revision/{REVISION}", HubRequest.info),
    ("GET", f"{API}/refs", HubRequest.refs),
    ("GET", f"{API}/tree/{REVISION}(?:/(?P<folder>.+))?", HubRequest.tree),
    ("POST", f"{API}/paths-info/{REVISION}", HubRequest.paths_info),
    ("POST|DELETE", f"{API}/branch/(?P<name>[^/]+)", HubRequest.branch),
    ("POST", f"{API}/preupload/{REVISION}", HubRequest.preupload),
    ("POST", f"{API}/commit/{REVISION}", HubRequest.commit),
    ("POST", rf"{PAGES}\.git/info/lfs/objects/batch", HubRequest.lfs_batch),
    ("PUT", "/lfs/(?P<oid>[0-9a-f]{64})", HubRequest.lfs_upload),
    ("POST", "/lfs/verify", HubRequest.lfs_verify),
    ("GET|HEAD", f"{PAGES}/resolve/{REVISION}/(?P<path>.+)", HubRequest.resolve),
]
