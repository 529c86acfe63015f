"""Uploads against a Hub that refuses, falters and hangs up."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from hub_requests import CUT, READ_TOKEN
from hub_server import Hub
from huggingface_hub import HfApi, constants

from u2net_hf.hub import upload
from u2net_hf.hub.upload import HubError, check_account, check_repo_id, upload_folder

pytest_plugins = ["hub_fixtures"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    (folder / "onnx").mkdir(parents=True)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# A model\n")
    (folder / "model.safetensors").write_bytes(bytes(range(256)) * 40)
    (folder / "onnx" / "model.onnx").write_bytes(b"o" * 1000)
    return folder


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that would have been waited, by us and by the client."""
    waited: list[float] = []
    monkeypatch.setattr(upload, "time", SimpleNamespace(sleep=waited.append))
    monkeypatch.setattr("huggingface_hub.utils._http.time", SimpleNamespace(sleep=waited.append))
    return waited


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("repo_type", "url"), [("model", "/me/net"), ("dataset", "/datasets/me/net"), ("space", "/spaces/me/net")]
)
def test_one_commit_has_the_whole_folder(connected_hub: Hub, folder: Path, repo_type: str, url: str) -> None:
    if repo_type == "space":
        card = "---\nsdk: gradio\ncolorFrom: red\ncolorTo: red\n---\n"
        (folder / "README.md").write_text(card)
    assert upload_folder(folder, "me/net", repo_type=repo_type) == connected_hub.url + url
    assert connected_hub.files("me/net", repo_type) == contents(folder) | {".gitattributes": b""}
    assert len(connected_hub.repositories[repo_type, "me/net"].commits) == 2  # the first one made the repository


def test_what_a_new_upload_contradicts_goes(connected_hub: Hub, folder: Path, tmp_path: Path) -> None:
    upload_folder(folder, "me/net")
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "model.safetensors").write_bytes(b"new")
    upload_folder(tmp_path / "new", "me/net", replaced=("*.safetensors", "onnx/*.onnx"))
    files = connected_hub.files("me/net")
    assert files.keys() == {".gitattributes", "README.md", "model.safetensors"}
    assert files["model.safetensors"] == b"new"


REQUESTS = [
    "POST /api/repos/create",
    "GET /api/models/me/net",
    "POST /api/validate-yaml",
    "POST /api/models/me/net/preupload",
    "POST /me/net.git/info/lfs",
    "PUT /lfs/",
    "POST /lfs/verify",
    "POST /api/models/me/net/commit",
]


@pytest.mark.parametrize("failure", [500, 429, CUT])
@pytest.mark.parametrize("request_", REQUESTS)
def test_a_failure_on_the_way_is_retried(
    connected_hub: Hub, folder: Path, waits: list[float], request_: str, failure: int | str
) -> None:
    HfApi().create_repo("me/net")
    connected_hub.fail(request_, failure, **({"Retry_After": "7"} if failure == 429 else {}))
    upload_folder(folder, "me/net")
    assert connected_hub.files("me/net") == contents(folder) | {".gitattributes": b""}
    assert connected_hub.faults[0].times == 0
    assert max(waits) >= (7 if failure == 429 else 1)


def test_nobody_waits_for_days(connected_hub: Hub, folder: Path, waits: list[float]) -> None:
    connected_hub.fail("POST /api/models/me/net/commit", 429, Retry_After="100000")
    upload_folder(folder, "me/net")
    assert waits
    assert max(waits) <= 120


@pytest.mark.parametrize("request_", ["POST /api/repos/create", "PUT /lfs/", "POST /api/models/me/net/commit"])
@pytest.mark.parametrize("failure", [503, CUT])
def test_a_hub_that_keeps_failing_is_named_and_unchanged(
    connected_hub: Hub, folder: Path, waits: list[float], request_: str, failure: int | str
) -> None:
    upload_folder(folder, "me/net")
    before = connected_hub.files("me/net")
    (folder / "model.safetensors").write_bytes(b"new" * 1000)
    (folder / "README.md").write_text("# New\n")
    connected_hub.fail(request_, failure, times=float("inf"))
    with pytest.raises(HubError, match=r"failed 4 times, me/net is as it was: try again later"):
        upload_folder(folder, "me/net")
    assert connected_hub.files("me/net") == before
    connected_hub.faults.clear()
    upload_folder(folder, "me/net")
    assert connected_hub.files("me/net") == contents(folder) | {".gitattributes": b""}


@pytest.mark.parametrize("request_", ["PUT /lfs/", "POST /api/models/me/net/commit"])
def test_a_failed_first_upload_says_that_an_empty_repository_remains(
    connected_hub: Hub, folder: Path, waits: list[float], request_: str
) -> None:
    connected_hub.fail(request_, 503, times=float("inf"))
    with pytest.raises(HubError, match=r"has been made and remains, empty: .* delete it at http.*/me/net/settings"):
        upload_folder(folder, "me/net")
    assert connected_hub.files("me/net").keys() <= {".gitattributes"}
    with pytest.raises(HubError, match="failed 4 times") as second:
        upload_folder(folder, "me/net")
    assert "empty" not in str(second.value)


def test_errors_of_the_caller_are_not_retried(connected_hub: Hub, folder: Path, waits: list[float]) -> None:
    (folder / "README.md").write_text("---\nlicense: my own\n---\n")
    with pytest.raises(HubError, match=r"refuses me/net.*license"):
        upload_folder(folder, "me/net")
    with pytest.raises(HubError, match=r"may not write to them/net: choose another repository"):
        upload_folder(folder, "them/net")
    assert waits == []
    assert list(connected_hub.files("me/net")) == [".gitattributes"]


@pytest.mark.parametrize(
    ("token", "message"),
    [
        ("hf_wrong", "does not know the token: run `hf auth login`"),
        (READ_TOKEN, "token of me may only read"),
    ],
)
def test_tokens_that_do_not_serve(connected_hub: Hub, folder: Path, token: str, message: str) -> None:
    with pytest.raises(HubError, match=message):
        check_account("me/net", token)
    with pytest.raises(HubError, match=r"does not know the token|may not write to me/net"):
        upload_folder(folder, "me/net", token=token)
    assert connected_hub.repositories == {}


def test_no_token_and_no_network(connected_hub: Hub, monkeypatch: pytest.MonkeyPatch, waits: list[float]) -> None:
    check_account("me/net")
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(HubError, match=r"Not logged in: run `hf auth login`, set HF_TOKEN"):
        check_account("me/net")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubError, match="failed 4 times"):
        check_account("me/net", "hf_write")
    assert waits == [2, 4, 8]


@pytest.mark.parametrize("repo_id", ["net", "a/b/c", "me/", "../net", "me/..", "me/n t", ""])
def test_names_of_repositories(repo_id: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        check_repo_id(repo_id)
    check_repo_id("me/u2net.p-2_x")


def test_links_are_refused(connected_hub: Hub, folder: Path, tmp_path: Path) -> None:
    """A folder that came from elsewhere must not make anybody publish their own files."""
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").write_text("secret")
    for name, target in {"file": tmp_path / "secret" / "key", "sub": tmp_path / "secret"}.items():
        os.symlink(target, folder / name)
        with pytest.raises(ValueError, match=rf"{name} is a link"):
            upload_folder(folder, "me/net")
        (folder / name).unlink()
    with pytest.raises(ValueError, match="holds no files"):
        upload_folder(tmp_path / "nothing", "me/net")
    assert connected_hub.requests == []
