"""The rules by which the Hub accepts or refuses the metadata of a card: those that our cards could break."""

import re
from typing import Any

import yaml


def front_matter(card: str) -> Any:
    """The metadata at the head of a card."""
    found = re.match(r"\A---\r?\n(.*?)\r?\n---\s", card, re.DOTALL)
    return yaml.safe_load(found[1]) if found else None


def card_problems(card: str, repo_type: str) -> list[str]:
    """What the Hub would refuse a card for: the rules of its validator that our cards can break."""
    data = front_matter(card)
    if data is None:
        return []  # the Hub only warns of a card without metadata
    if not isinstance(data, dict):
        return ["the metadata must be a mapping"]
    problems = []
    for key in ("tags", "datasets", "metrics"):
        if not all(isinstance(value, str) for value in data.get(key) or []):
            problems.append(f'"{key}" must be a list of strings')
    license_ids = {"apache-2.0", "mit", "cc-by-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "other", "unknown"}
    if "license" in data and data["license"] not in license_ids:
        problems.append(f'"license" must be one of {sorted(license_ids)}')
    if repo_type == "space":
        colors = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
        allowed = {"sdk": {"gradio", "docker", "static"}, "colorFrom": colors, "colorTo": colors}
        problems += [
            f'"{key}" must be one of {sorted(names)}' for key, names in allowed.items() if data[key] not in names
        ]
        if len(data.get("short_description", "")) > 60:
            problems.append('"short_description" length must be less than or equal to 60 characters long')
    for entry in data.get("model-index") or []:
        for result in entry["results"]:
            if not re.fullmatch(r"(?:[\w-]+/)?[\w.-]+", str(result["dataset"]["type"])):
                problems.append('"model-index[0].results[0].dataset.type" fails to match the required pattern')
            if not (result["task"]["type"] and result["dataset"]["name"]):
                problems.append('"model-index" lacks a task or a dataset name')
            problems += ['"metrics" lack a type' for metric in result["metrics"] if not metric.get("type")]
    return problems
