"""``python -m cait_finetune.benchmark input key=value …``: prints a table, and keeps it as JSON."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

from cait_finetune.console import plain_console
from cait_finetune.errors import UserError, bad_value, suggest
from cait_finetune.keys import read_keys
from cait_tf.quiet import quiet_imports

_KINDS = ("input",)


def main() -> None:
    """Entry point; a mistake is one message and exit status 1."""
    try:
        kind, *words = sys.argv[1:] or [""]
        if kind not in _KINDS:
            raise bad_value("benchmark", kind or "nothing", f"one of {', '.join(_KINDS)}",
                            suggest(kind, _KINDS))  # fmt: skip
        with quiet_imports():
            from cait_finetune.benchmark import input as benchmark
        config = read_keys(words, benchmark.InputConfig)
        rows = benchmark.measure_input(config, plain_console(stderr=True))
    except UserError as error:
        sys.exit(f"cait_finetune.benchmark: {error}")
    text = benchmark.table(rows)
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "input.md").write_text(text)
    figures = {"config": dataclasses.asdict(config),
               "rows": [dataclasses.asdict(row) | {"ratio": row.ratio} for row in rows]}  # fmt: skip
    (out / "input.json").write_text(json.dumps(figures, indent=2) + "\n")
    print(f"{text}\nwritten to {out / 'input.md'} and input.json")


if __name__ == "__main__":
    main()
