"""Find the exporter of each format and check that its libraries are installed."""

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

if TYPE_CHECKING:  # importing TensorFlow here would delay error messages
    from cait_finetune.export.exported_model import ExportedModel, ValidationSamples

#: Packages that a format needs besides the core dependencies, and the extra that installs them.
_PACKAGES = {
    "onnx": (("onnx", "tf2onnx", "onnxruntime"), "onnx"),
    "litert": (("ai_edge_litert",), "litert"),
}


class Export(Protocol):
    """Write one format."""

    def __call__(
        self, exported: ExportedModel, validation: ValidationSamples, directory: Path
    ) -> dict:
        """Write the format into `directory` and check it on the validation samples.

        If the check fails, the exporter removes its new files and leaves an older `directory` as it is.

        Returns:
            The format's record for ``exports.json``. ``path`` names the file or the SavedModel.
            ``difference`` is the largest difference of a probability from evaluation. The caller
            removes two optional keys: ``refused``, the reason for each removed variant, and
            ``notes``, lines to print.

        Raises:
            UserError: the outputs of the file differ from evaluation.
        """


def exporter(name: str, config: ExportConfig) -> Export:
    """Return the exporter of the format `name`. The call imports the exporter's module."""
    export: Callable = import_module(f"cait_finetune.export.{name}").export
    return functools.partial(export, quantise=config.quantise) if name == "litert" else export


def check(config: ExportConfig) -> None:
    """Check the requirements of the export before any long work starts.

    Raises:
        UserError: a library of a format is not installed, or ``push_to_hub`` is set and this machine
            has no token of the hub.
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
