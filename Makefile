# Each command makes its own virtual environment in .venv on a fresh machine (Python 3.11 or newer, pip).
# torch from PyPI brings CUDA along; for the smaller CPU build set
#   PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test style clean

demo: .venv/installed  ## cut the object out of a photo
	$(BIN)/u2net-hf remove docs/images/coffee.jpg -o outputs/coffee.png --overwrite

test: .venv/installed-test  ## everything: tests, style, types
	$(BIN)/python -m pytest

style: .venv/installed-test  ## format the code and mend what the linter can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/mypy

clean:
	rm -rf .venv outputs build

.venv/installed: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) --editable .
	touch $@

# PySODMetrics, the oracle of the metrics, pins an old NumPy that it does not need.
.venv/installed-test: .venv/installed
	$(PIP) --editable '.[test]'
	$(PIP) --no-deps pysodmetrics
	touch $@
