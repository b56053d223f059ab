"""``cait-finetune convert source=FILE destination=FILE``: convert weights from any source to any format.

The destination's file extension decides its format: ``.safetensors`` (timm's), ``.pth`` or ``.pt``
(the authors'), ``.weights.h5`` or ``.keras`` (Keras'). A name without an extension is the directory
of a SavedModel with the signature of the CaiT collection that was on TensorFlow Hub. The conversion
keeps the tensors' names and values, and the class list. To verify them, the command reads the destination again: every tensor
must be bit-equal to the source's, and the outputs of one forward pass must agree within 1e-4.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

from cait_finetune.cli.arguments import helped, read_keys
from cait_finetune.cli.entry import command
from cait_finetune.config.keys import key
from cait_finetune.errors import UserError
from cait_tf.quiet import quiet_imports


@dataclass
class ConvertConfig:
    """The keys of the command."""

    source: str = key("A weights file, a SavedModel directory, or a repository of the hub.")
    destination: str = key("File or directory to write. Its extension decides the format.")
    feature_extractor: bool = key("Convert the backbone without the head.", False)
    weights_key: str | None = key(
        "Key of the state dict to read from a PyTorch checkpoint with several state dicts. null: "
        "the moving average, else state_dict, else model, else the only state dict.",
        None,
    )


def convert(config: ConvertConfig) -> None:
    """Convert the weights, and print what was read, written and compared.

    Raises:
        CaiTError: the source cannot be read, or the destination cannot be written.
        UserError: an extra is not installed.
    """
    with quiet_imports():
        import keras  # noqa: F401  loads the backend, which logs to stderr

        from cait_tf import convert as conversions
        from cait_tf.memory import peak_memory

    started = time.perf_counter()
    try:
        done = conversions.convert(
            config.source, config.destination, config.feature_extractor, config.weights_key
        )
    except ImportError as error:  # an extra is not installed
        raise UserError(str(error)) from error
    seconds = time.perf_counter() - started
    format_and_notes = "; ".join([done.format, *done.notes])
    print(f"{done.model}: {done.tensors} tensors from {config.source} ({format_and_notes})")
    print(
        f"written to {config.destination}; every tensor bit-equal, largest difference of the "
        f"outputs {done.difference:.1e}; {seconds:.0f} s, "
        f"at most {peak_memory() / 1e9:.1f} GB of memory"
    )


def main() -> None:
    """Entry point. On a user's mistake, print one message and exit with status 1."""
    with command("cait_finetune convert", any_backend=True):
        if not helped(sys.argv[1:], __doc__, ConvertConfig):
            convert(read_keys(sys.argv[1:], ConvertConfig))
