"""Train U²-Net: `u2net-hf train-sod` from a checkout: src/u2net_hf/cli/train_sod.py."""

from u2net_hf.cli.train_sod import run

if __name__ == "__main__":
    run()
