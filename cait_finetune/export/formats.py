"""The table of formats, and the libraries that each needs."""

from __future__ import annotations

import functools
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from cait_finetune.config import ExportConfig
from cait_finetune.errors import bad_value
from cait_finetune.export.hub import check_token

if TYPE_CHECKING:  # TensorFlow loads when something is written, not when a mistake is answered
    from cait_finetune.export.exported_model import ExportedModel, ValidationSamples

#: Beyond what the project itself needs, and the extra that has it.
_PACKAGES = {
    "onnx": (("onnx", "tf2onnx", "onnxruntime"), "onnx"),
    "litert": (("ai_edge_litert",), "litert"),
}


class Export(Protocol):
    """Writes one format.

    The directory is there as a whole, checked on the samples, or not at all. Returned is what
    ``exports.json`` holds of it: at least ``path`` of the file or the SavedModel, and
    ``difference``, the largest of a probability from evaluation's. And ``refused``, where there are
    variants of it that were not kept: why. And ``notes``, lines to print.
    """

    def __call__(
        self, exported: ExportedModel, validation: ValidationSamples, directory: Path
    ) -> dict:
        """Raises a UserError where the file does not answer as evaluation does."""


def exporter(name: str, config: ExportConfig) -> Export:
    """What writes the format called `name`; its libraries load now."""
    export: Callable = import_module(f"cait_finetune.export.{name}").export
    return functools.partial(export, quantise=config.quantise) if name == "litert" else export


def check(config: ExportConfig) -> None:
    """Before anything long: whether there is all that the export will need.

    Raises:
        UserError: a library of a format, or the token of the hub that it is to be pushed to, is not.
    """
    for name in config.formats:
        packages, extra = _PACKAGES.get(name, ((), ""))
        missing = [package for package in packages if find_spec(package) is None]
        if missing:
            raise bad_value(
                "export",
                f"{name}, without {', '.join(missing)}",
                "its libraries installed",
                f"pip install 'cait-finetune[{extra}]'",
            )
    if config.push_to_hub:
        check_token()
