"""What `scripts/benchmark.py` measures: a module for each verb, `timing` for how, `report` for where to."""
