"""``cait-finetune benchmark KIND key=value …``: print and write tables.

KIND is one of ``input|model|gpu|start``:

- ``input``: images per second of the input pipeline.
- ``model``: speed and memory of the model on a CPU.
- ``gpu``: speed and memory of the model on a GPU.
- ``start``: seconds to the first step.

``benchmark KIND --help`` shows the keys of that benchmark.
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

#: Module and dataclass of each benchmark. The dataclass's fields are the command's keys.
_KINDS = {
    "input": ("input", "InputBenchmark"),
    "model": ("model", "ModelBenchmark"),
    "gpu": ("model", "GpuBenchmark"),
    "start": ("start", "StartBenchmark"),
}


def main() -> None:
    """Entry point. On a user's mistake, print one message and exit with status 1."""
    kind, *words = sys.argv[1:] or [""]
    with command("cait_finetune benchmark"):
        if not helped([kind], __doc__):
            _measure(kind, words)


def _measure(kind: str, words: list[str]) -> None:
    """Run one benchmark; print and write its tables."""
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
    print(f"{report.text}\nwritten to {', '.join(map(str, written))}")
