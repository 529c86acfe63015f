"""Score cells: `u2net-hf evaluate-cells` from a checkout: src/u2net_hf/cli/evaluate_cells.py."""

from u2net_hf.cli.evaluate_cells import run

if __name__ == "__main__":
    run()
