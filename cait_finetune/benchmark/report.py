"""What a benchmark leaves behind: a table for people, figures for programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from cait_finetune.runs.environment import processor

_OURS, _THEIRS = ("tensorflow", "keras"), ("torch", "timm")


@dataclass(frozen=True)
class Report:
    """`text` is Markdown, `figures` goes to JSON; `draw`, if any, writes a picture to a path."""

    text: str
    figures: dict[str, Any]
    draw: Callable[[Path], None] | None = None


def machine(timm: bool = True, ours: Sequence[str] = _OURS) -> dict[str, Any]:
    """The processor, and the versions of what was measured on it, timm being compared with or not."""
    versions = {}
    for package in (*ours, *_THEIRS * timm):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {"processor": processor(), "packages": versions}


def footnote(threads: int, timm: bool = True) -> str:
    """`machine` in a line, with how many threads each contestant had."""
    facts = machine(timm)
    return f"{facts['processor']}, {threads} thread{'s' * (threads > 1)}; {packages(facts)}.\n"


def packages(facts: Mapping[str, Any]) -> str:
    """Those of a `machine`, and their versions, in words."""
    return ", ".join(f"{name} {version}" for name, version in facts["packages"].items())


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A table."""
    lines = [f"| {' | '.join(cells)} |" for cells in [header, *rows]]
    lines.insert(1, "|---" * len(header) + "|")
    return "\n".join(lines) + "\n"
