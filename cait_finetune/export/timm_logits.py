"""``python -m cait_finetune.export.timm_logits``: timm's logits from a process without TensorFlow.

torch loads triton. On x86-64 Linux triton crashes in a process that has already loaded TensorFlow.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

#: Exit status if timm or torch cannot be imported.
UNAVAILABLE = 3
_BATCH = 16


def write_logits() -> None:
    """Write the logits of images to a file.

    The command line has three arguments: a JSON file with the keyword arguments of
    ``timm.create_model``; an ``.npz`` file with normalised ``images`` ``(B, 3, H, W)`` float32; and the
    ``.npz`` file to write, with ``logits`` ``(B, C)`` float32.
    """
    arguments, images, logits = map(Path, sys.argv[1:])
    try:
        import timm
        import torch
    except Exception as error:  # a broken installation raises many types
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(UNAVAILABLE)
    model = timm.create_model(**json.loads(arguments.read_text(encoding="utf-8"))).eval()
    with torch.inference_mode():
        parts = np.load(images)["images"]
        parts = [parts[start : start + _BATCH] for start in range(0, len(parts), _BATCH)]
        np.savez(logits, logits=np.concatenate([model(torch.from_numpy(p)).numpy() for p in parts]))


if __name__ == "__main__":
    write_logits()
