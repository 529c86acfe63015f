"""What MkDocs calls while it builds the site."""

import os
import re
from typing import Any


def on_startup(**_: Any) -> None:
    """Keep warnings and progress bars of libraries out of the executed notebooks."""
    os.environ |= {"PYTHONWARNINGS": "ignore", "TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}


def on_page_content(html: str, **_: Any) -> str:
    """Show the docstrings of transformers' kind (`int`, *optional*; [`Name`]) without their marks."""
    html = re.sub(r"<code>(`[^<]*)</code>", lambda found: f"<code>{re.sub('[`*]', '', found[1])}</code>", html)
    return re.sub(r"\[(<code>[\w.]+</code>)\](?!\()", r"\1", html)
