"""``python -m cait_finetune benchmark input|model|gpu|start|scale|transfer key=value …``: prints and keeps tables.

``input``: images per second of the input. ``model``: speed and memory of the model on a CPU. ``gpu``: the
same on a GPU. ``start``: seconds to the first step. ``scale``: speed and memory by model and batch size.
``transfer``: test accuracy by tuning method and number of training images.
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
from cait_finetune.config.checks import make_folder
from cait_finetune.errors import bad_value, suggest
from cait_finetune.runtime.console import plain_console
from cait_tf.atomic import write_text
from cait_tf.quiet import quiet_imports

#: The module and the dataclass of each kind: its fields are the keys; it has ``check`` and ``report``.
_KINDS = {
    "input": ("input", "InputBenchmark"),
    "model": ("model", "ModelBenchmark"),
    "gpu": ("model", "GpuBenchmark"),
    "start": ("start", "StartBenchmark"),
    "scale": ("scale", "ScaleBenchmark"),
    "transfer": ("transfer", "TransferBenchmark"),
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
    name, schema_name = _KINDS[kind]
    with quiet_imports():
        module = importlib.import_module(f"cait_finetune.benchmark.{name}")
    schema = getattr(module, schema_name)
    if helped(words, module.__doc__, schema):
        return
    benchmark = read_keys(words, schema)
    benchmark.check()
    out = make_folder("out", Path(benchmark.out))
    report = benchmark.report(plain_console(stderr=True))
    written = [out / f"{kind}.md", out / f"{kind}.json"]
    write_text(written[0], report.text)
    values = {"config": dataclasses.asdict(benchmark), **report.values}
    write_text(written[1], json.dumps(values, indent=2) + "\n")
    if report.draw:
        written.append(out / f"{kind}.png")
        report.draw(written[-1])
    print(f"{report.text}\nwritten to {', '.join(map(str, written))}")
