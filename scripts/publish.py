"""Publish a model, a metric, a data set or the demo on the Hugging Face Hub; the same as `u2net-hf push`.

    python scripts/publish.py model u2netp me/u2netp --results outputs/sod --example docs/images/coffee.jpg
    python scripts/publish.py model outputs/cats me/cats --license apache-2.0 --training_data "Our cats (MIT)"
    python scripts/publish.py metric sod_metrics me/sod_metrics
    python scripts/publish.py dataset outputs/duts me/duts --private
    python scripts/publish.py space me/background-removal --dry-run outputs/space

With --dry-run the folder that would be uploaded is written, and nothing is uploaded. The token is that of
`hf auth login`, of the environment variable HF_TOKEN, or of --token. An upload is one commit: the Hub has all of it or
nothing.
"""

from u2net_hf.cli.push import app
from u2net_hf.utils.console import reported_errors

if __name__ == "__main__":
    with reported_errors():
        app()
