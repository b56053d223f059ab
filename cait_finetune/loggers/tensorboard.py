"""Write TensorBoard event files with TensorFlow. Only viewing the files needs TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from omegaconf import OmegaConf

from cait_finetune.loggers.logger import Logger

_FLUSH_MILLIS = 10_000


class TensorBoard(Logger):
    """Writes event files to `directory`. The x axis of step and epoch records is the step.

    The formats are those of TensorBoard's plugins: https://github.com/tensorflow/tensorboard,
    ``plugins/*/summary_v2.py``.
    """

    name: ClassVar[str] = "tensorboard"

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._step = 0

    def begin(self, config: Mapping[str, Any], resumed: bool) -> None:
        """Delete old event files and log `config`.

        A resumed run passes all its earlier records again.
        """
        for path in self._directory.glob("events.out.tfevents.*"):
            path.unlink()
        self._open()
        text = OmegaConf.to_yaml(OmegaConf.create(dict(config)))
        self._write("config", "text", "".join(f"    {line}\n" for line in text.splitlines()))

    def reopen(self, config: Mapping[str, Any], step: int) -> None:
        """Open a new event file beside the existing files."""
        self._step = step
        self._open()

    def record(self, kind: str, values: Mapping[str, float]) -> None:
        """Log scalars with names such as ``step/loss`` and ``epoch/validation_loss``.

        A name that contains a ``/`` stays unchanged.
        """
        self._step = int(values["step"])
        for name, value in values.items():
            if name not in ("step", "epoch"):
                self._write(name if "/" in name else f"{kind}/{name}", "scalars", float(value))
        if kind == "epoch":
            self._writer.flush()

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Log a table as Markdown text."""
        lines = [columns, ["---"] * len(columns), *rows]
        self._write(name, "text", "\n".join(f"| {' | '.join(line)} |" for line in lines))

    def result(self, metrics: Mapping[str, float]) -> None:
        """Log each number as one point at the last step."""
        for name, value in metrics.items():
            self._write(f"result/{name}", "scalars", float(value))

    def picture(self, name: str, path: Path) -> None:
        """Log a PNG file without encoding it again."""
        data = path.read_bytes()
        width, height = (int.from_bytes(data[at : at + 4]) for at in (16, 20))  # in the PNG header
        self._write(f"pictures/{name}", "images", [str(width), str(height), data])

    def finish(self, exit_code: int) -> None:
        """Write all pending records and close the event file."""
        self._writer.close()

    def _open(self) -> None:
        import tensorflow as tf

        self._writer = tf.summary.create_file_writer(
            str(self._directory), flush_millis=_FLUSH_MILLIS
        )

    def _write(self, tag: str, plugin: str, value: Any) -> None:
        import tensorflow as tf

        metadata = tf.compat.v1.SummaryMetadata()
        metadata.plugin_data.plugin_name = plugin
        with self._writer.as_default():
            tf.summary.write(tag, tf.constant(value), step=self._step, metadata=metadata)
