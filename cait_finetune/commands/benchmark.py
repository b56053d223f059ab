"""``python -m cait_finetune benchmark input|model|gpu|start|scale|transfer key=value …``: prints tables, and keeps them.

``input`` is how fast images come, ``model`` how fast the model is on a CPU, ``gpu`` on a graphics card,
``start`` how long it takes to the first step, ``scale`` what a larger model or batch costs, ``transfer``
what pretrained weights are worth.
``--help`` after one of them shows its keys.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import sys
from pathlib import Path

from cait_finetune.cli.arguments import helped, read_keys
from cait_finetune.cli.entry import command
from cait_finetune.config.places import expanded_path
from cait_finetune.errors import bad_value, suggest
from cait_finetune.runtime.console import plain_console
from cait_tf.atomic import write_text
from cait_tf.quiet import quiet_imports

#: Each a module with a `SCHEMA`, a `check` and a `report`.
_KINDS = {
    **{
        kind: f"cait_finetune.benchmark.{kind}"
        for kind in ("input", "model", "gpu", "start", "scale")
    },
    "transfer": "cait_finetune.benchmark.transfer.command",
}


def main() -> None:
    """Entry point; a mistake is one message and exit status 1."""
    kind, *words = sys.argv[1:] or [""]
    with command("cait_finetune benchmark"):
        if not helped([kind], __doc__):
            _measure(kind, words)


def _measure(kind: str, words: list[str]) -> None:
    """Print and write the tables of one kind."""
    if kind not in _KINDS:
        raise bad_value("benchmark", kind or "nothing", f"one of {', '.join(_KINDS)}",
                        suggest(kind, _KINDS))  # fmt: skip
    with quiet_imports():
        benchmark = importlib.import_module(_KINDS[kind])
    if helped(words, benchmark.__doc__, benchmark.SCHEMA):
        return
    config = read_keys(words, benchmark.SCHEMA)
    benchmark.check(config)
    out = _folder(config.out)
    report = benchmark.report(config, plain_console(stderr=True))
    written = [out / f"{kind}.md", out / f"{kind}.json"]
    write_text(written[0], report.text)
    figures = {"config": dataclasses.asdict(config), **report.figures}
    write_text(written[1], json.dumps(figures, indent=2) + "\n")
    if report.draw:
        written.append(out / f"{kind}.png")
        report.draw(written[-1])
    print(f"{report.text}\nwritten to {', '.join(map(str, written))}")


def _folder(name: str) -> Path:
    """Made before anything is measured."""
    folder = expanded_path("out", name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise bad_value("out", f"{name} ({error.strerror})", "a folder to write to") from error
    return folder
