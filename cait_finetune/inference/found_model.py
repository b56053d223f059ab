"""Find the model that ``model=`` names: a run, or a file that a run exported."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cait_finetune.config.advice import advise
from cait_finetune.config.places import expanded_path
from cait_finetune.errors import bad_value
from cait_finetune.runs.directory import RunDirectory, read_json
from cait_finetune.runs.exports import current_result, damaged_file, is_current, weights_mark
from cait_finetune.runs.nearby import no_run
from cait_finetune.runs.provenance import Provenance
from cait_finetune.runs.records import read_records
from cait_finetune.runs.run_id import check_run_id, check_weights_id
from cait_finetune.runs.saved import SavedRun, read_run
from cait_tf.errors import WeightsError
from cait_tf.quiet import quiet_imports
from cait_tf.weights import timm

if TYPE_CHECKING:  # a mistake is reported before TensorFlow loads
    from cait_finetune.data.preprocess import Preprocessing
    from cait_finetune.inference.backends import Backend, Checkpoint

logger = logging.getLogger(__name__)

#: Path of each format in a run's export. The first format that exists is used.
_EXPORTS = {
    "saved_model": Path("saved_model"),
    "onnx": Path("onnx") / "model.onnx",
    "litert": Path("litert") / "model.tflite",
}


@dataclass(frozen=True)
class FoundModel:
    """A model that exists.

    Attributes:
        kind: ``saved_model``, ``onnx``, ``litert`` or ``checkpoint``.
        path: path of the export, or the run's directory for a checkpoint.
        run: directory of the run that contains the model. `None`: no run contains the model.
        of_run: whether the user named the run, rather than an export in it.
    """

    kind: str
    path: Path
    run: Path | None
    of_run: bool = False

    def read_run(self, key: str) -> SavedRun:
        """Return the run that contains the model.

        Args:
            key: the key that needs the run, for the message.

        Raises:
            UserError: no run contains the model, or the run cannot be read.
        """
        if self.run is None:
            raise bad_value(
                key,
                f"a value with model={self.path}, an export without its run",
                "null: this key needs the run's checkpoint",
                "Give the run's directory: run=DIR",
            )
        return read_run(self.run)

    def channels(self) -> int:
        """Return the number of channels of the model's images. 3 if nothing states it.

        An export states its own: the run around it may have other channels, or an edited config.

        Raises:
            UserError: the run cannot be read, or the export is damaged.
        """
        if self.kind != "checkpoint":
            with quiet_imports():
                from cait_finetune.inference.portable import onnx_provenance
                from cait_finetune.runs.provenance import read_provenance

            read = onnx_provenance if self.kind == "onnx" else read_provenance
            if stated := read(self.path):
                return len(stated.preprocessing["mean"])
        return read_run(self.run, weights=False).model.in_channels if self.run else 3

    def open(self) -> Backend:
        """Load the model.

        If the user named a run, and its export states other weights than the run's best checkpoint,
        log a warning and load the checkpoint.

        Raises:
            UserError: the model is damaged or of another kind, its library is not installed, or the
                user named a run that contains the export of another run.
        """
        backend = self._load()
        if not (self.of_run and backend.provenance):
            return backend
        run, stated = RunDirectory(self.run), backend.provenance
        check_run_id(run, "model", str(self.path), stated.run)
        check_weights_id(run, "model", run.best_checkpoint)
        if self.is_of_other_weights(stated):
            logger.warning(
                "model %s was made from other weights than %s: the latter are used instead",
                self.path,
                run.best_checkpoint,
            )
            return self.open_checkpoint("model")
        self._check_files(run)
        return backend

    def _check_files(self, run: RunDirectory) -> None:
        """Check that the files of the run's export are those that the run wrote.

        Raises:
            UserError: a file is missing or was replaced.
        """
        record = read_json(run.export / "exports.json", dict, dict).get(self.kind, {})
        if damaged := damaged_file(run.export, record):
            raise bad_value(
                "model",
                f"{run.export / damaged}, which is not the file that the run exported",
                "the export as the run wrote it",
                f"Run python -m cait_finetune export {advise('run', self.run)}",
            )

    def is_of_other_weights(self, stated: Provenance | None) -> bool:
        """Return whether an export states other weights than the best weights of its run."""
        mark = weights_mark(RunDirectory(self.run).best_checkpoint) if self.run else None
        return bool(stated and stated.weights and mark and stated.weights != mark)

    def _load(self) -> Backend:
        with quiet_imports():
            import tensorflow as tf

            from cait_finetune.inference import backends, portable

            tf.config.list_physical_devices()  # listing the devices prints messages too

        if self.kind == "saved_model":
            return backends.SavedModel(self.path)
        if self.kind == "checkpoint":
            run = read_run(self.run)
            if not current_result(run.directory):
                epochs = len(read_records(run.directory, "epoch", "model"))
                logger.warning(
                    "model %s is not finished: the best weights of its first %d epoch%s are used",
                    self.run, epochs, "s" * (epochs != 1),
                )  # fmt: skip
            return backends.Checkpoint(run)
        opened = portable.open_onnx if self.kind == "onnx" else portable.open_litert
        return opened(self.path, self._preprocessing)

    def open_checkpoint(self, key: str, stated: Provenance | None = None) -> Checkpoint:
        """Load the best weights of the run.

        Args:
            key: the key that needs the checkpoint, for messages.
            stated: provenance of the export, whose weights the checkpoint must hold. `None`: any
                weights are right.

        Raises:
            UserError: in the cases of `read_run`, or the weights are damaged, or differ from the
                export's.
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

    def _preprocessing(
        self, size: tuple[int, int] | None, stated: Provenance | None
    ) -> Preprocessing:
        """Return the preprocessing of an ONNX or LiteRT file.

        The file's provenance states the preprocessing. Without provenance, return the run's
        preprocessing. Without a run, log a warning, and return a bicubic resize of the shorter side
        and a centre crop.

        Args:
            size: height and width of the model's input. `None`: the input takes any size.
            stated: the file's provenance. `None`: the file states none.
        """
        from cait_finetune.data.preprocess import Preprocessing

        if stated:
            own = Preprocessing(**stated.preprocessing)
        elif self.run:
            own = read_run(self.run).build_preprocessing()
        else:
            logger.warning(
                "model %s does not state how its images were prepared: photographs are rotated by their "
                "EXIF orientation, and labels.txt names the classes unless the file does",
                self.path,
            )
            own = Preprocessing(size or (1, 1), 1.0, "bicubic", (0.0,) * 3, (1.0,) * 3)
        return dataclasses.replace(own, image_size=size or own.image_size)


def find_model(model: str | Path, key: str = "model") -> FoundModel:
    """Find a model: an exported file or folder, or the export or checkpoint of a run.

    An export of a run counts only if it was made from the run's current best weights. Without such
    an export, the best checkpoint is the model.

    Args:
        model: a run's directory, an export, or the folder of an ONNX or LiteRT export.
        key: the key that messages name.

    Raises:
        UserError: `model` names no model.
    """
    given = expanded_path(key, model)
    candidates = [(given, _kind(given))]
    run = RunDirectory(given)
    record, checkpoint = run.export / "exports.json", run.best_checkpoint
    exports: list[Path] = []
    for kind, place in _EXPORTS.items():
        candidates += [(given / place.name, kind)] if len(place.parts) > 1 else []
        if is_current(kind, record, checkpoint):
            candidates.append((run.export / place, kind))
            exports.append(run.export / place)
    for path, kind in candidates:
        if _is(path, kind):
            # Even a run without weights has an id, which `open` compares with the export's.
            of_run = path != given and run.config.is_file()
            run_of = given if of_run else next(filter(_is_run, path.absolute().parents), None)
            if path in exports and weights_mark(checkpoint) is not None:
                _check_tensors(key, checkpoint)
            return FoundModel(kind, path, run_of, of_run)
    if _is_run(given):
        return FoundModel("checkpoint", given, given, of_run=True)
    raise no_run(
        key,
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


def _check_tensors(key: str, checkpoint: Path) -> None:
    """Check the best weights against the checksum in their file, which `is_current` trusts.

    Raises:
        UserError: the file is damaged, or its tensors were replaced and its metadata kept.
    """
    try:
        timm.read(checkpoint)
    except WeightsError as error:
        raise bad_value(
            key, f"{checkpoint}, whose tensors do not match its checksum", "the run's own weights",
            "Restore the file, or give model=EXPORT for the export alone",
        ) from error  # fmt: skip
