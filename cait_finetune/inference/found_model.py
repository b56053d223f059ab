"""What ``model=`` names: a run, or one of the files that a run exports."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cait_finetune.config.places import expanded_path
from cait_finetune.errors import bad_value
from cait_finetune.runs.directory import RunDirectory
from cait_finetune.runs.exports import is_current, weights_mark
from cait_finetune.runs.provenance import Provenance
from cait_finetune.runs.run_id import check_run_id
from cait_finetune.runs.saved import SavedRun, read_run
from cait_tf.quiet import quiet_imports

if TYPE_CHECKING:  # TensorFlow loads when a model does, not when a mistake is answered
    from cait_finetune.data.preprocess import Preprocessing
    from cait_finetune.inference.backends import Backend, Checkpoint

logger = logging.getLogger(__name__)

#: In the order in which a run's are preferred, and where in the run's export they are.
_EXPORTS = {
    "saved_model": Path("saved_model"),
    "onnx": Path("onnx") / "model.onnx",
    "litert": Path("litert") / "model.tflite",
}


@dataclass(frozen=True)
class FoundModel:
    """A model that is there. `kind` is a key of `_EXPORTS`, or ``checkpoint``.

    ``run`` is the directory of the run that it is or lies in, if it does; ``of_run``: the user named
    the run, and not the export in it.
    """

    kind: str
    path: Path
    run: Path | None
    of_run: bool = False

    def read_run(self, key: str) -> SavedRun:
        """The run, which the value of `key` needs.

        Raises:
            UserError: the model does not lie in one, or that cannot be read.
        """
        if self.run is None:
            raise bad_value(
                key,
                f"a value with model={self.path}, an export without its run",
                "null there: it takes the run's checkpoint",
                "give the run's directory as model",
            )
        return read_run(self.run)

    def open(self) -> Backend:
        """Load it.

        Raises:
            UserError: it is damaged or of another kind, its library is not installed, or the user named
                a run and the export in it is another run's.
        """
        backend = self._load()
        if not (self.of_run and backend.provenance):
            return backend
        run, stated = RunDirectory(self.run), backend.provenance
        check_run_id(run, "model", str(self.path), stated.run)
        if self.is_of_other_weights(stated):
            logger.warning(
                "model %s was made from other weights than %s, which answer instead",
                self.path,
                run.best_checkpoint,
            )
            return self.open_checkpoint("model")
        return backend

    def is_of_other_weights(self, stated: Provenance | None) -> bool:
        """Whether an export states other weights than its run's best ones."""
        mark = weights_mark(RunDirectory(self.run).best_checkpoint) if self.run else None
        return bool(stated and stated.weights and mark and stated.weights != mark)

    def _load(self) -> Backend:
        with quiet_imports():
            import tensorflow as tf

            from cait_finetune.inference import backends, portable

            tf.config.list_physical_devices()  # the first look at the devices chatters too

        if self.kind == "saved_model":
            return backends.SavedModel(self.path)
        if self.kind == "checkpoint":
            return backends.Checkpoint(read_run(self.run))
        opened = portable.open_onnx if self.kind == "onnx" else portable.open_litert
        return opened(self.path, self._preprocessing)

    def open_checkpoint(self, key: str, stated: Provenance | None = None) -> Checkpoint:
        """The run's best weights, which the value of `key` needs.

        Args:
            stated: what the export states about itself, whose weights the checkpoint has to hold.

        Raises:
            UserError: as `read_run`, or the weights are damaged, or other ones than the export's.
        """
        run = self.read_run(key)
        if self.is_of_other_weights(stated):
            best = run.directory.best_checkpoint
            raise bad_value(
                key,
                f"a value with model={self.path}, made from other weights than {best}",
                "an export of the run's best weights",
                f"Give model={self.run}, or export the run again",
            )
        with quiet_imports():
            from cait_finetune.inference.backends import Checkpoint

        return Checkpoint(run)

    def _preprocessing(self, size: int | None, stated: Provenance | None) -> Preprocessing:
        """What the export states; else its run's; else the authors', with a warning."""
        from cait_finetune.data.preprocess import Preprocessing

        if stated:
            own = Preprocessing(**stated.preprocessing)
        elif self.run:
            own = read_run(self.run).build_preprocessing()
        else:
            logger.warning(
                "model %s does not state how its images were prepared: photographs are turned as their "
                "EXIF orientation says. A LiteRT file takes its class names from labels.txt then",
                self.path,
            )
            own = Preprocessing(size or 1, 1.0, "bicubic", (0.0,) * 3, (1.0,) * 3)
        return dataclasses.replace(own, image_size=size or own.image_size)


def find_model(model: str | Path) -> FoundModel:
    """The model that `model` is, or that the run in it exported, or at least saved.

    Of a run's exports those count that were made from its best weights, which may have become better
    since.

    Raises:
        UserError: there is none.
    """
    given = expanded_path("model", model)
    candidates = [(given, _kind(given))]
    run = RunDirectory(given)
    record, checkpoint = run.export / "exports.json", run.best_checkpoint
    for kind, place in _EXPORTS.items():
        candidates += [(given / place.name, kind)] if len(place.parts) > 1 else []
        if is_current(kind, record, checkpoint):
            candidates.append((run.export / place, kind))
    for path, kind in candidates:
        if _is(path, kind):
            run_of = next(filter(_is_run, path.absolute().parents), None)
            return FoundModel(kind, path, run_of, of_run=path != given and _is_run(given))
    if _is_run(given):
        return FoundModel("checkpoint", given, given, of_run=True)
    raise bad_value(
        "model",
        model,
        "the directory of a run, an exported SavedModel, or a file that ends in .onnx or .tflite",
    )


def _kind(path: Path) -> str:
    return {".onnx": "onnx", ".tflite": "litert"}.get(path.suffix.lower(), "saved_model")


def _is(path: Path, kind: str) -> bool:
    return (path / "saved_model.pb").is_file() if kind == "saved_model" else path.is_file()


def _is_run(directory: Path) -> bool:
    run = RunDirectory(directory)
    return run.config.is_file() and run.best_checkpoint.is_file()
