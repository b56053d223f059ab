"""A SavedModel where TF-Serving looks for one: in a directory named by a version number.

TF-Serving's contract (tensorflow.org/tfx/serving/api_rest): the model's base path holds one directory
for each version, named by a number; ``POST /v1/models/NAME:predict`` calls the signature
``serving_default``, or the one under ``signature_name``. Bytes travel as ``{"b64": "…"}``. In the row
format (``instances``) the answer has one object for each instance, so every output's first axis must be
the batch, as in the signature ``rows``. TF-Serving checks sizes only (json_tensor.cc): of ``class_names``
(C,) it makes an error, or one name for each instance where there are as many instances as classes.
The columnar format (``inputs``) takes any shapes.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from cait_finetune.export.parity import whole_or_absent

VERSION = "1"


def link_version(saved_model: Path, base: Path) -> None:
    """Make ``base/1`` the same files as `saved_model`: on one disk hard links, which take no space.

    Symbolic ones would lead nowhere inside a container that sees `base` alone.
    """

    def link(source: str, destination: str) -> str:
        try:
            os.link(source, destination)
        except OSError:  # a file system without links
            shutil.copy2(source, destination)
        return destination

    with whole_or_absent(base) as partial:
        shutil.copytree(saved_model, partial / VERSION, copy_function=link)
