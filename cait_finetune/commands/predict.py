"""``cait-finetune predict run=RUN images=PATH_OR_GLOB``: classify image files.

``model=FILE`` takes an exported SavedModel, ONNX or LiteRT file instead of a run.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.table import Table

from cait_finetune.cli.arguments import helped, read_keys
from cait_finetune.cli.entry import command
from cait_finetune.inference.prediction import Prediction
from cait_finetune.inference.running import PredictConfig, predict
from cait_finetune.runtime.console import plain_console

_SHOWN = 20  # rows that the console shows when all rows go to a file


def _table(predictions: Sequence[Prediction]) -> Table:
    shown = Table()
    shown.add_column("image", overflow="fold")  # wraps a long path instead of cutting it
    heading = "numbers" if any(one.numbers for one in predictions) else "classes"
    shown.add_column(heading, overflow="fold", min_width=len(heading))
    for prediction in predictions:
        shown.add_row(prediction.name, prediction.words)
    return shown


def _run(arguments: list[str]) -> bool:
    """Run the command and return whether every file was classified."""
    config = read_keys(arguments, PredictConfig)
    console = plain_console()
    predictions = predict(config, console)
    if config.output:
        predictions.write(config.output)
    console.print(_table(predictions[:_SHOWN] if config.output else predictions))
    for key in ("output", "maps"):
        if place := getattr(config, key):
            console.print(f"{key:<7}{place}")
    failed = len(predictions.errors)
    console.print(
        f"images {len(predictions):,}"
        + (f", of which {failed:,} could not be classified" if failed else "")
        + f"; {predictions.images_per_second:.3g} img/s",
    )
    return not failed


def main() -> None:
    """Entry point.

    The exit status is 1 on a user's mistake, and 2 when some files could not be classified.
    """
    with command("cait_finetune predict"):
        if helped(sys.argv[1:], __doc__, PredictConfig):
            return
        complete = _run(sys.argv[1:])
    sys.exit(0 if complete else 2)
