"""Prepare a corpus for the Hub: `u2net-hf prepare-corpus` from a checkout: src/u2net_hf/cli/prepare_corpus.py."""

from u2net_hf.cli.prepare_corpus import run

if __name__ == "__main__":
    run()
