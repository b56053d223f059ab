"""Code in a process of its own.

torch's triton crashes a process that loaded TensorFlow before, so tests use timm in one without TensorFlow.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def run_alone(code: str, *arguments: object, cwd: Path = ROOT) -> str:
    """Run Python code with ``sys.argv[1:]`` of `arguments`; returns what it printed.

    Raises:
        AssertionError: the process failed.
    """
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (done.returncode, done.stderr[-3000:])
    return done.stdout
