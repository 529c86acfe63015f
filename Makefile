# Each command makes its own virtual environment in .venv on a fresh machine (Python 3.11 or newer, pip).
# torch from PyPI brings CUDA along; for the smaller CPU build set
#   PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
PYTHON ?= python3
BIN := .venv/bin
INSTALL := -m pip install --quiet --disable-pip-version-check
PIP := $(BIN)/python $(INSTALL) --constraint constraints.txt
# In several processes, each of which takes a file at a time, so that what its tests share is made once.
PYTEST := -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

.PHONY: demo test coverage zoo docs docs-serve test-cuda test-torchvision test-oldest style clean

demo: .venv/installed  ## cut the object out of a photo
	$(BIN)/u2net-hf remove hub_cards/space/coffee.jpg -o outputs/coffee.png --overwrite

test: .venv/installed-test  ## everything: tests, style, types
	$(BIN)/python $(PYTEST)

coverage: .venv/installed-test  ## the same, and which lines no test runs
	$(BIN)/python $(PYTEST) --cov --cov-report term:skip-covered

zoo: .venv/installed-test  ## every verb over every awkward file: about an hour, of which the tests run a part
	$(BIN)/python tests/zoo/run.py --every 1

docs: .venv/installed-test  ## the documentation site, in outputs/site
	$(BIN)/python -m mkdocs build

docs-serve: .venv/installed-test  ## the same, on this machine, built anew when a page changes
	$(BIN)/python -m mkdocs serve

test-cuda: .venv/installed-test  ## what runs on a CUDA GPU only
	TESTED_CUDA_DEVICES=0 $(BIN)/python -m pytest tests/engines/test_cuda_graph.py

# PyPI's torchvision fits only PyPI's torch, which brings CUDA along: some GB, so in an environment of its own.
test-torchvision: .venv-torchvision/installed  ## the image processors that use torchvision
	.venv-torchvision/bin/python $(PYTEST) tests/models tests/removal/test_removal.py

test-oldest: .venv-oldest/installed  ## the oldest releases that setup.cfg allows
	.venv-oldest/bin/python $(PYTEST) --ignore tests/test_style.py

style: .venv/installed-test  ## format the code and mend what the linter can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/mypy

clean:
	rm -rf .venv .venv-torchvision .venv-oldest outputs build

.venv/installed: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) --editable .
	touch $@

# PySODMetrics, the oracle of the metrics, pins an old NumPy that it does not need.
.venv/installed-test: .venv/installed
	$(PIP) --editable '.[test]'
	$(PIP) --no-deps pysodmetrics
	touch $@

.venv-torchvision/installed: setup.cfg constraints.txt
	$(PYTHON) -m venv .venv-torchvision
	grep -v '^torch==' constraints.txt > .venv-torchvision/constraints.txt
	.venv-torchvision/bin/python $(INSTALL) torch torchvision
	.venv-torchvision/bin/python $(INSTALL) --constraint .venv-torchvision/constraints.txt --editable '.[test,torchvision]'
	touch $@

# The lower bounds of all but the tests' own tools, as exact versions.
.venv-oldest/installed: setup.cfg
	$(PYTHON) -m venv .venv-oldest
	sed -n '1,/^test =/s/^    \([a-z0-9-]*\)>=\([^;]*\).*/\1==\2/p' setup.cfg > .venv-oldest/constraints.txt
	.venv-oldest/bin/python $(INSTALL) --constraint .venv-oldest/constraints.txt --editable '.[test]'
	.venv-oldest/bin/python $(INSTALL) --no-deps pysodmetrics
	touch $@
