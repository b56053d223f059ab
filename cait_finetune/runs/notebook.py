"""A run as an object that a notebook shows with its metrics and curves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cait_finetune.config.metrics import METRIC_NAMES, format_value, known_metrics
from cait_finetune.runs import html
from cait_finetune.runs.exports import current_result, weights_mark
from cait_finetune.runs.records import read_records
from cait_finetune.runs.saved import SavedRun

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True, repr=False)
class Run:
    """A run that has saved weights. A notebook shows its metrics and curves.

    Args:
        saved: the run's configuration and weights.
        predictor: `cait_finetune.predict`, which this module cannot import.
    """

    saved: SavedRun
    predictor: Callable[..., Sequence[Any]]
    #: The model of the best weights, by their checksum.
    _models: dict[str, keras.Model] = field(default_factory=dict, init=False, compare=False)

    @property
    def directory(self) -> Path:
        """The directory of the run."""
        return self.saved.directory.root

    @property
    def result(self) -> dict[str, Any]:
        """The content of ``result.json``. Empty: the best weights have no scores yet.

        Raises:
            UserError: the directory holds another run now, or the file cannot be read.
        """
        self.saved.check_in_place()
        return current_result(self.saved.directory)

    @property
    def epochs(self) -> list[dict[str, Any]]:
        """The metrics of each completed epoch. Raises `UserError` as `result` does."""
        self.saved.check_in_place()
        return read_records(self.saved.directory, "epoch")

    @property
    def metrics(self) -> dict[str, str]:
        """The run's metrics, best epoch, time and speed as text: ``{"test top-1": "98.61%", …}``."""
        shown = {}
        for split in ("test", "validation"):
            found = {
                key.removeprefix(f"{split}_"): value
                for key, value in self.result.items()
                if key.startswith(f"{split}_") and value is not None
            }
            for name, words in known_metrics(found).items():
                shown[f"{split} {words}"] = format_value(name, found[name])
        for key, words, form in (
            ("best_epoch", "best epoch", "{}"),
            ("wall_seconds", "time", "{:.0f} s"),
            ("images_per_second", "training speed", "{:.0f} img/s"),
        ):
            if self.result.get(key) is not None:
                shown[words] = form.format(self.result[key])
        return shown

    @property
    def model(self) -> keras.Model:
        """The best weights as a Keras model: normalised images ``(B, H, W, 3)`` to logits ``(B, C)``.

        The classes are those of `class_names`, in order. The model is built once, and again if
        a resumed run saves newer best weights.

        Raises:
            UserError: the directory holds another run now, or the weights are damaged.
        """
        names = self.class_names
        mark = weights_mark(self.saved.directory.best_checkpoint)
        if mark is None:  # weights of an earlier version
            return self.saved.build_model(names)
        if mark not in self._models:
            model = self.saved.build_model(names)
            self._models.clear()
            self._models[mark] = model
        return self._models[mark]

    def preprocess(self, images: Any) -> Any:
        """Return the input of `model` for decoded images, as the run's evaluation prepares them.

        Args:
            images: RGB images are ``(B, h, w, 3)`` uint8, one image ``(h, w, 3)``, a PIL image, or a
                list of arrays or PIL images of one size. PIL images are turned as their EXIF
                orientation states, if the run turns files (``dataset.upright``). Images with another
                number of channels C are float32 ``(B, h, w, C)`` or ``(h, w, C)``, in the unit of
                `data.bands`.

        Returns:
            ``(B, H, W, C)`` float32.

        Raises:
            CaiTError: the images have another type or number of channels, or differ in size.
        """
        from cait_tf.preprocessing import float_images, resize_and_normalise, uint8_images

        of = self.saved.build_preprocessing()
        return resize_and_normalise(
            float_images(images, of.channels) if of.bands else uint8_images(images, of.upright), of.image_size, crop_pct=of.crop_pct,
            interpolation=of.interpolation, mean=of.mean, std=of.std, resize_mode=of.resize_mode,
            antialias=of.antialias,
        )  # fmt: skip

    @property
    def class_names(self) -> list[str]:
        """The class names, in the order of the model's columns.

        Raises `UserError` as `result` does.
        """
        self.saved.check_in_place()
        return self.saved.class_names

    def predict(self, images: str | Path | Iterable[str | Path], top_k: int = 3) -> Sequence[Any]:
        """Classify images as `cait_finetune.predict` does. Raises `UserError` as `result` does."""
        self.saved.check_in_place()
        return self.predictor(self, images, top_k)

    def __repr__(self) -> str:
        return f"Run({str(self.directory)!r}: {self._title})"

    def _repr_html_(self) -> str:
        rows = [(escape(name), escape(str(value))) for name, value in self.metrics.items()]
        title, place = escape(self._title), escape(str(self.directory))
        curves = self.saved.directory.curves
        drawn = ""
        if curves.is_file():
            drawn = html.image(curves.read_bytes(), style="max-width: 100%")
        return f"<p>{title}<br><code>{place}</code></p>{html.notebook_table((), rows)}{drawn}"

    @property
    def _title(self) -> str:
        return f"{self.saved.model.name} on {self.saved.dataset.name}, {self._first_figure}"

    @property
    def _first_figure(self) -> str:
        metric = self.result.get("metric")
        if metric is None:
            count = len(self.epochs)
            return f"not finished, {count} epoch{'s' * (count != 1)} so far"
        return f"test {METRIC_NAMES[metric]} {format_value(metric, self.result[f'test_{metric}'])}"
