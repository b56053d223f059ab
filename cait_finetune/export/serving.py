"""Link a SavedModel into the directory layout that TF-Serving expects.

TF-Serving's contract (tensorflow.org/tfx/serving/api_rest): the model's base path holds one directory
per version, named by a number. ``POST /v1/models/NAME:predict`` calls the signature
``serving_default``, or the signature in ``signature_name``. JSON encodes bytes as ``{"b64": "…"}``.

In the row format (``instances``) the response has one object per instance. The first axis of every
output must therefore be the batch, as in the signature ``rows``. TF-Serving checks only the size of
this axis (json_tensor.cc). It returns an error for ``class_names`` (C,), or, if there are C instances,
assigns one name to each instance. The columnar format (``inputs``) accepts any shapes.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from cait_finetune.export.parity import whole_or_absent

VERSION = "1"


def link_version(saved_model: Path, base: Path) -> None:
    """Make ``base/1`` a copy of `saved_model` with hard links, which take no disk space.

    Symbolic links would be broken inside a container that mounts only `base`. If the file system
    cannot link a file, copy it.
    """

    def link(source: str, destination: str) -> str:
        try:
            os.link(source, destination)
        except OSError:  # the file system cannot make this link
            shutil.copy2(source, destination)
        return destination

    with whole_or_absent(base) as partial:
        shutil.copytree(saved_model, partial / VERSION, copy_function=link)
