"""Count the cores of this process, and limit the threads of libraries.

This module does not import TensorFlow.
"""

from __future__ import annotations

import os

from cait_finetune.errors import bad_value


def cores() -> list[int]:
    """Return the numbers of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def core_count(asked: int, key: str = "threads") -> int:
    """Return the number of cores that a key asks for. 0 asks for all cores.

    Args:
        asked: value of the key.
        key: name of the key, for the message.

    Raises:
        UserError: `asked` is negative, or greater than the number of cores.
    """
    count = len(cores())
    if not 0 <= asked <= count:
        raise bad_value(key, asked, f"1 to {count}, the number of cores, or 0 for all")
    return asked or count


def limit_threads(count: int) -> None:
    """Limit the threads of libraries that are imported later, and hide every CUDA GPU."""
    names = ["OMP_NUM_THREADS", "TF_NUM_INTEROP_THREADS"]
    # With all cores, TensorFlow's default is right, and a run can still set one thread.
    if count < len(cores()):
        names.append("TF_NUM_INTRAOP_THREADS")
    os.environ.update(dict.fromkeys(names, str(count)), CUDA_VISIBLE_DEVICES="-1")
