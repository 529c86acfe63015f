"""Score a saliency model: `u2net-hf evaluate-sod` from a checkout: src/u2net_hf/cli/evaluate_sod.py."""

from u2net_hf.cli.evaluate_sod import run

if __name__ == "__main__":
    run()
