"""Train U-Net: `u2net-hf train-unet` from a checkout: src/u2net_hf/cli/train_unet.py."""

from u2net_hf.cli.train_unet import run

if __name__ == "__main__":
    run()
