"""Write and read checkpoints. A checkpoint file is complete, or it does not exist.

There are two kinds. *Weights* (``best.safetensors``, ``last.safetensors``) hold the model under
timm's names: they load with ``model.weights=PATH`` here, and they load in timm. *States*
(``state_00000120.safetensors``) hold everything that a run needs to resume without a difference.
Both kinds state a checksum of their contents.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

import cait_tf
from cait_finetune.errors import bad_value
from cait_tf.atomic import atomic_path
from cait_tf.weights.checksum import checksum, stated_checksum

logger = logging.getLogger(__name__)

_PROGRESS, _CHECKSUM = "progress", "sha256"


class Checkpoints:
    """The files in a run's ``checkpoints/``.

    Args:
        metadata: texts by key, which every weights file contains.
        keep: number of states to keep.
        writes: whether this process writes files. Only the first worker does.
    """

    def __init__(
        self, directory: Path, metadata: dict[str, str], keep: int = 2, writes: bool = True
    ) -> None:
        self.directory = directory
        self._metadata = metadata
        self._keep = keep
        self._writes = writes

    @property
    def best(self) -> Path:
        """The weights with the best validation score."""
        return self.directory / "best.safetensors"

    @property
    def last(self) -> Path:
        """The weights after the last finished epoch."""
        return self.directory / "last.safetensors"

    @property
    def states(self) -> list[Path]:
        """The state files, latest step first."""
        return sorted(self.directory.glob("state_*.safetensors"), reverse=True)

    def save(self, model: keras.Model, path: Path, epoch: int) -> str:
        """Replace `path` by the model's weights. The old file stays until the new file is complete.

        Returns:
            The checksum that the file states. Empty on a worker that does not write.

        Raises:
            OSError: the file cannot be written, for instance because the disk is full.
        """
        metadata = {**self._metadata, "epoch": str(epoch)}
        if not self._writes:
            return ""
        cait_tf.save_weights(model, path, metadata)
        return stated_checksum(path) or ""

    def save_state(self, arrays: Mapping[str, np.ndarray], progress: dict, step: int) -> None:
        """Write a state, then delete all states but the last `keep`.

        The function also deletes the states of later steps. A later state exists only if it was
        damaged when the run resumed. Without the deletion, the damaged state would count as the
        latest.

        Raises:
            OSError: the file cannot be written, for instance because the disk is full.
        """
        if not self._writes:
            return
        path = self.directory / f"state_{step:08}.safetensors"
        text = json.dumps(progress)
        metadata = {_PROGRESS: text, _CHECKSUM: checksum(arrays, text)}

        with atomic_path(path) as partial:
            save_file(dict(arrays), partial, metadata)
        later = [state for state in self.states if state > path]
        for other in (*later, *self.states[len(later) + self._keep :]):
            other.unlink()

    def load_state(self) -> tuple[dict[str, np.ndarray] | None, dict]:
        """Load the latest undamaged state; log a warning for each damaged state.

        Returns:
            Arrays by name, and the progress. ``(None, {})``: no state was saved before the
            interruption, so the run starts from the beginning.

        Raises:
            UserError: all states are damaged.
        """
        damaged = []
        for path in self.states:
            try:
                return _read(path)
            except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
                logger.warning("%s is damaged (%s); trying the one before", path.name, error)
                damaged.append(path.name)
        if not damaged:
            logger.warning(
                "no state was saved before the run was cut off; it starts from the beginning"
            )
            return None, {}
        raise bad_value(
            "resume",
            f"{self.directory}, where every state is damaged: {', '.join(damaged)}",
            "an undamaged state",
            "start a new run; the weights that were saved load with model.weights=FILE",
        )


def _read(path: Path) -> tuple[dict[str, np.ndarray], dict]:
    with safe_open(path, framework="np") as file:
        metadata = file.metadata()
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  no mapping
    if checksum(arrays, metadata[_PROGRESS]) != metadata[_CHECKSUM]:
        raise ValueError("its checksum does not match")
    return arrays, json.loads(metadata[_PROGRESS])
