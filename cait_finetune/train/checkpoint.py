"""Checkpoints: the model's weights under timm's names, one complete file or none."""

from __future__ import annotations

from pathlib import Path

import keras
from safetensors import SafetensorError

import cait_tf
from cait_finetune.errors import bad_value


class Checkpoints:
    """``last.safetensors`` and ``best.safetensors`` in a run's ``checkpoints/``.

    Any of them loads again as ``model.weights=PATH``, in this project and in timm.
    """

    def __init__(self, directory: Path, metadata: dict[str, str]) -> None:
        self.directory = directory
        self._metadata = metadata

    @property
    def best(self) -> Path:
        """The weights with the highest validation accuracy."""
        return self.directory / "best.safetensors"

    @property
    def last(self) -> Path:
        """The weights after the last finished epoch."""
        return self.directory / "last.safetensors"

    def save(self, model: keras.Model, path: Path, epoch: int) -> None:
        """Replace `path` by the model's weights; the old file stays until the new one is complete.

        Raises:
            UserError: it cannot be written, for instance because the disk is full.
        """
        try:
            cait_tf.save_weights(model, path, {**self._metadata, "epoch": str(epoch)})
        except (OSError, SafetensorError) as error:
            kept = f"; the one of an earlier epoch is still there: {path}" if path.exists() else ""
            raise bad_value(
                "hydra.run.dir",
                f"{self.directory}, where the checkpoint of epoch {epoch} cannot be written "
                f"({error})",
                f"a disk with room for it{kept}",
                "free some space, or choose another hydra.run.dir; go on from the kept file with "
                "model.weights=FILE",
            ) from error

    def load(self, model: keras.Model, path: Path) -> None:
        """Give the model the weights of a checkpoint."""
        cait_tf.load_weights(model, path)
