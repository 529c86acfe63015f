"""The real clients against the Hub of the tests: what they must be able to do before anything is concluded from it."""

import json
from pathlib import Path

import pytest
from hub_requests import CUT, READ_TOKEN
from hub_server import Hub
from huggingface_hub import HfApi, HfFileSystem, ModelCard, hf_hub_download, snapshot_download
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.utils import get_session
from PIL import Image

pytest_plugins = ["hub_fixtures"]

CARD = "---\nlicense: mit\npipeline_tag: image-segmentation\n---\n# A model\n"


@pytest.fixture
def api(connected_hub: Hub) -> HfApi:
    api = HfApi()
    api.create_repo("me/net")
    return api


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    (folder / "onnx").mkdir(parents=True)
    (folder / "README.md").write_text(CARD)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(bytes(range(256)) * 400)
    (folder / "onnx" / "model.onnx").write_bytes(b"o" * 10)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_goes_up_and_comes_down(api: HfApi, connected_hub: Hub, folder: Path) -> None:
    api.upload_folder(repo_id="me/net", folder_path=folder)
    assert connected_hub.files("me/net") == contents(folder) | {".gitattributes": b""}
    assert contents(Path(snapshot_download("me/net", allow_patterns=["*.*"]))) == connected_hub.files("me/net")
    assert ModelCard.load("me/net").data.license == "mit"
    info = api.model_info("me/net")
    assert info.pipeline_tag == "image-segmentation"
    assert {one.rfilename for one in info.siblings} == set(connected_hub.files("me/net"))


def test_listing_and_single_files(api: HfApi, connected_hub: Hub, folder: Path) -> None:
    api.upload_folder(repo_id="me/net", folder_path=folder)
    files = HfFileSystem(endpoint=connected_hub.url)
    assert sorted(files.ls("me/net", detail=False))[-2:] == ["me/net/model.safetensors", "me/net/onnx"]
    assert files.ls("me/net/onnx", detail=False) == ["me/net/onnx/model.onnx"]
    assert files.read_bytes("me/net/onnx/model.onnx") == b"o" * 10
    assert [one.path for one in api.get_paths_info("me/net", ["onnx", "gone"])] == ["onnx"]
    api.upload_file(repo_id="me/net", path_or_fileobj=b"new", path_in_repo="config.json")
    api.delete_file("model.safetensors", repo_id="me/net")
    api.delete_folder("onnx", repo_id="me/net")
    assert connected_hub.files("me/net") == {".gitattributes": b"", "README.md": CARD.encode(), "config.json": b"new"}


def test_branches_and_revisions(api: HfApi, connected_hub: Hub) -> None:
    before = api.upload_file(repo_id="me/net", path_or_fileobj=b"1", path_in_repo="a.txt").oid
    api.create_branch("me/net", branch="try/it")
    api.upload_file(repo_id="me/net", path_or_fileobj=b"2", path_in_repo="a.txt", revision="try/it")
    assert {branch.name for branch in api.list_repo_refs("me/net").branches} == {"main", "try/it"}
    for revision, content in (("main", b"1"), ("try/it", b"2"), (before, b"1")):
        assert Path(hf_hub_download("me/net", "a.txt", revision=revision)).read_bytes() == content
    api.delete_branch("me/net", branch="try/it")
    with pytest.raises(RevisionNotFoundError):
        hf_hub_download("me/net", "a.txt", revision="never")


def test_what_is_missing_is_missing(api: HfApi) -> None:
    with pytest.raises(EntryNotFoundError):
        hf_hub_download("me/net", "none.txt")
    with pytest.raises(RepositoryNotFoundError):
        snapshot_download("me/none")
    api.delete_repo("me/net")
    assert not api.repo_exists("me/net")
    api.delete_repo("me/net", missing_ok=True)


def test_tokens(api: HfApi) -> None:
    assert api.whoami()["name"] == "me"
    api.create_repo("me/net", exist_ok=True)
    with pytest.raises(HfHubHTTPError, match="already created"):
        api.create_repo("me/net")
    with pytest.raises(HfHubHTTPError, match=r"403.*rights"):
        api.create_repo("me/other", token=READ_TOKEN)
    with pytest.raises(HfHubHTTPError, match="401"):
        api.upload_file(repo_id="me/net", path_or_fileobj=b"", path_in_repo="a.txt", token="hf_wrong")
    with pytest.raises(HfHubHTTPError, match="403"):
        api.create_repo("them/net")


@pytest.mark.parametrize(
    ("card", "problem"),
    [
        ("---\nlicense: free\n---\n", "license"),
        ("---\ntags: [1]\n---\n", "tags"),
        ("---\n- a\n---\n", "mapping"),
    ],
)
def test_bad_metadata_is_refused(api: HfApi, card: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        api.upload_file(repo_id="me/net", path_or_fileobj=card.encode(), path_in_repo="README.md")


def test_paths_that_leave_the_repository_are_refused(api: HfApi, connected_hub: Hub) -> None:
    """The client refuses them too: the request is made by hand."""
    lines = [{"key": "header", "value": {}}, {"key": "file", "value": {"path": "a/../../b", "content": ""}}]
    request = {"headers": api._build_hf_headers(), "content": "\n".join(map(json.dumps, lines))}
    answer = get_session().post(f"{connected_hub.url}/api/models/me/net/commit/main", **request)
    assert answer.status_code == 400
    assert list(connected_hub.files("me/net")) == [".gitattributes"]


def test_a_download_that_breaks_off_is_resumed(api: HfApi, connected_hub: Hub, folder: Path) -> None:
    api.upload_folder(repo_id="me/net", folder_path=folder)
    connected_hub.fail("GET /me/net/resolve/.*/model.safetensors", CUT)
    path = hf_hub_download("me/net", "model.safetensors")
    assert Path(path).read_bytes() == (folder / "model.safetensors").read_bytes()
    assert sum("GET /me/net/resolve" in request for request in connected_hub.requests) == 2


def test_faults_count_down(api: HfApi, connected_hub: Hub) -> None:
    connected_hub.fail("GET /api/models/me/net", 500, times=2)
    for _ in range(2):
        with pytest.raises(HfHubHTTPError, match="500"):
            api.model_info("me/net")
    assert api.model_info("me/net").id == "me/net"


def test_datasets_are_pushed_loaded_and_streamed(connected_datasets: Hub) -> None:
    import datasets

    images = [Image.new("RGB", (8, 6), (40 * i, 0, 0)) for i in range(3)]
    features = datasets.Features({"image": datasets.Image(), "mask": datasets.Image()})
    rows = {"image": images, "mask": [image.convert("L") for image in images]}
    datasets.Dataset.from_dict(rows, features=features).push_to_hub("me/corpus", split="test")
    assert "data/test-00000-of-00001.parquet" in connected_datasets.files("me/corpus", "dataset")
    for streaming in (False, True):
        loaded = datasets.load_dataset("me/corpus", split="test", streaming=streaming)
        assert [row["image"].getpixel((0, 0))[0] for row in loaded] == [0, 40, 80]
        assert loaded.column_names == ["image", "mask"]


METRIC = '''
import datasets
import evaluate


class Counted(evaluate.Metric):
    """Counts."""

    def _info(self):
        features = datasets.Features({"predictions": datasets.Value("int64")})
        return evaluate.MetricInfo(description="", citation="", inputs_description="", features=features)

    def _compute(self, predictions):
        return {"count": len(predictions)}
'''


def test_evaluate_loads_a_metric_from_a_space(api: HfApi, connected_datasets: Hub) -> None:
    import evaluate

    api.create_repo("me/counted", repo_type="space", space_sdk="gradio")
    upload = {"repo_id": "me/counted", "repo_type": "space"}
    api.upload_file(path_or_fileobj=METRIC.encode(), path_in_repo="counted.py", **upload)
    assert evaluate.load("me/counted").compute(predictions=[1, 2]) == {"count": 2}
