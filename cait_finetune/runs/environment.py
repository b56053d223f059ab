"""Record the code, the packages and the machine of a run.

``environment.json`` has one record per process that worked on the run. The first record is of the
process that started the run.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import subprocess
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from cait_finetune.errors import UserError
from cait_finetune.runs.directory import read_json
from cait_tf.atomic import write_text

_SOURCES = Path(__file__).resolve().parents[1]


def record_environment(path: Path, devices: str, begin: bool) -> None:
    """Append the record of this process to the environment file at `path`.

    Args:
        devices: description of the devices that the run computes on.
        begin: whether the run begins. `True`: replace the file. `False`: keep the existing records, or
            drop them if the file cannot be read.
    """
    records = []
    if not begin:
        with contextlib.suppress(UserError):
            records = read_json(path, list, dict)
    records.append(describe(devices))
    write_text(path, json.dumps(records, indent=1) + "\n")


def describe(devices: str) -> dict[str, Any]:
    """Return the record of this process. `devices` describes the devices that the run computes on."""
    return {
        "working_directory": os.getcwd(),
        "started": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "git": git_state(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": processor(),
        "cpu_cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "devices": devices,
        "gpus": _gpus(),
        "packages": dict(
            sorted(
                ((one.name, one.version) for one in metadata.distributions() if one.name),
                key=lambda pair: pair[0].lower(),
            )
        ),
    }


def git_state() -> dict[str, Any] | None:
    """Return the commit of the code and the number of tracked files that differ from the commit.

    For an installed package, return the state of the working directory, which holds the user's files.
    The result is `None` if git fails, for example because the folder is not in a git repository.
    """
    checkout = _SOURCES.parent
    folder = checkout if (checkout / ".git").exists() else Path.cwd()

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(folder), *words],
            capture_output=True, text=True, check=True, timeout=10,
        )  # fmt: skip
        return done.stdout.strip()

    try:
        commit = git("rev-parse", "HEAD")
        return {
            "commit": commit,
            "changed_files": len(git("status", "--porcelain", "-uno").splitlines()),
        }
    except (OSError, subprocess.SubprocessError):
        return None


def processor() -> str:
    """Return the name of the CPU."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _gpus() -> list[str]:
    """Return the names of the GPUs that TensorFlow sees."""
    import tensorflow as tf

    details = tf.config.experimental.get_device_details
    return [
        details(gpu).get("device_name", gpu.name) for gpu in tf.config.list_physical_devices("GPU")
    ]
