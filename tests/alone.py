"""Run Python code in its own process.

torch's triton crashes a process that has loaded TensorFlow. Tests therefore use timm in a process
without TensorFlow.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def run_alone(code: str, *arguments: object, cwd: Path = ROOT) -> str:
    """Run Python code with `arguments` as ``sys.argv[1:]``; return its stdout.

    Raises:
        AssertionError: the exit status of the process is not 0.
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
