"""What `scripts/benchmark.py` measures: a function for each verb, `timing` for how, `report` for where to."""
