"""A network that finds what is bright."""

from pathlib import Path

import pytest
from cell_models import bright_finder


@pytest.fixture(scope="session")
def finder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bright_finder(tmp_path_factory.mktemp("finder"))
