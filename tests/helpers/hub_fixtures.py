"""Fixtures with a Hub for tests; a test file asks for them by `pytest_plugins = ["hub_fixtures"]`."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_requests import WRITE_TOKEN
from hub_server import Hub
from huggingface_hub import constants


@pytest.fixture(scope="session")
def _hub_server() -> Iterator[Hub]:
    with Hub() as hub:
        yield hub


@pytest.fixture
def hub(_hub_server: Hub) -> Hub:
    """An empty Hub."""
    _hub_server.reset()
    return _hub_server


@pytest.fixture
def connected_hub(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """An empty Hub to which `huggingface_hub` talks in this very process; its cache lies in `tmp_path`.

    The clients read the environment only once, when they are imported: hence the patches.
    """
    home = tmp_path / "hf-home"
    patches = {
        "ENDPOINT": hub.url,
        "HUGGINGFACE_CO_URL_TEMPLATE": f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}",
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_OFFLINE": False,
        "HF_HUB_CACHE": str(home / "hub"),
        "HF_TOKEN_PATH": str(home / "token"),
    }
    for name, value in patches.items():
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setattr("transformers.utils.hub._hf_api", None)
    monkeypatch.setenv("HF_TOKEN", WRITE_TOKEN)
    return hub


@pytest.fixture
def connected_datasets(connected_hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A [`connected_hub`] to which `datasets` and `evaluate` talk as well."""
    import datasets.config
    import evaluate.config

    home = tmp_path / "hf-home"
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", connected_hub.url)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", home / "datasets")
    space_files = f"{connected_hub.url}/spaces/{{path}}/resolve/{{revision}}/{{name}}"
    monkeypatch.setattr(evaluate.config, "HUB_EVALUATE_URL", space_files)
    monkeypatch.setattr(evaluate.config, "HF_MODULES_CACHE", home / "modules")
    monkeypatch.setattr(evaluate.config, "HF_EVALUATE_CACHE", home / "evaluate")
    monkeypatch.setattr(evaluate.config, "HF_METRICS_CACHE", home / "metrics")
    monkeypatch.syspath_prepend(home / "modules")
    _forget_loaded_metrics()
    yield connected_hub
    _forget_loaded_metrics()


def _forget_loaded_metrics() -> None:
    """Python keeps the package of loaded metrics, and would look for the next one in the folder of the last test."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "evaluate_modules"]:
        del sys.modules[name]
