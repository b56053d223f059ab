"""Imports follow the contracts in pyproject.toml, and light modules import no heavy library."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("tensorflow", "keras", "tensorflow_datasets", "sklearn", "matplotlib", "hydra")


def test_imports_follow_the_contracts():
    """The test needs a new process, because import-linter disables existing loggers."""
    code = (
        "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120
    )
    assert done.returncode == 0, done.stdout


def imported(module: str) -> list[str]:
    """Return the libraries of `HEAVY` that the import of a module loads."""
    code = f"import json, sys, {module}; print(json.dumps([one for one in {HEAVY!r} if one in sys.modules]))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("module", "allowed"),
    [
        ("cait_finetune.__main__", []),
        ("cait_finetune.api", []),
        ("cait_finetune.cli.compose", ["hydra"]),
        ("cait_finetune.config", ["hydra"]),
        *[
            (f"cait_finetune.commands.{command}", ["hydra"])
            for command in ("train", "compare", "sweep", "evaluate", "predict")
        ],
    ],
)
def test_a_command_starts_without_tensorflow(module, allowed):
    """Errors in keys must appear at once."""
    assert set(imported(module)) <= set(allowed)


@pytest.mark.slow
def test_cait_tf_imports_without_tensorflow():
    """Keras has several backends, so code for one backend is imported where it is used."""
    assert imported("cait_tf") == []
    code = "import sys, keras, cait_tf.models; print('tensorflow' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, cwd=ROOT, timeout=120,
        env={"KERAS_BACKEND": "numpy", "PATH": ""},
    )  # fmt: skip
    assert done.stdout == "False\n", done.stderr
