"""PySODMetrics, the independent implementation of most measures, where it is installed."""

import importlib
import sys
from types import ModuleType
from unittest.mock import MagicMock

import pytest


@pytest.fixture(scope="session")
def pysodmetrics() -> ModuleType:
    """The module, imported without OpenCV and scikit-learn: the measures compared here need neither."""
    unused = ("cv2", "sklearn", "sklearn.neighbors", "sklearn.preprocessing")
    absent = [name for name in unused if name not in sys.modules]
    sys.modules.update((name, MagicMock()) for name in absent)
    try:
        return importlib.import_module("py_sod_metrics")
    except ImportError as error:
        pytest.skip(f"needs PySODMetrics ({error}): pip install --no-deps pysodmetrics")
    finally:
        for name in absent:
            del sys.modules[name]
