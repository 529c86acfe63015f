"""PySODMetrics, the independent implementation of most measures, where it is installed."""

from types import ModuleType

import pytest

from benchmarks.metrics import import_pysodmetrics


@pytest.fixture(scope="session")
def pysodmetrics() -> ModuleType:
    """The module, imported without OpenCV and scikit-learn: the measures compared here need neither."""
    try:
        return import_pysodmetrics()
    except ImportError as error:
        pytest.skip(f"needs PySODMetrics: {error}")
