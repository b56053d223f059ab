"""The predictions of several files, as a sequence that a notebook shows as a table."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from PIL import Image, ImageOps

from cait_finetune.inference.output import write_predictions
from cait_finetune.inference.prediction import Prediction
from cait_finetune.runs import html

_SHOWN = 100  # rows: a notebook stores every thumbnail in its file
_THUMBNAIL = 96  # pixels


class Predictions(Sequence[Prediction]):
    """One `Prediction` per file, in the order of the files.

    ``images_per_second`` is the speed of reading, decoding and classifying files.
    """

    def __init__(self, predictions: Iterable[Prediction], images_per_second: float) -> None:
        self._predictions = tuple(predictions)
        self.images_per_second = images_per_second

    def __len__(self) -> int:
        return len(self._predictions)

    def __getitem__(self, index: int | slice) -> Prediction | tuple[Prediction, ...]:
        return self._predictions[index]

    @property
    def errors(self) -> list[Prediction]:
        """Return the predictions of files that could not be classified."""
        return [one for one in self if one.error]

    def write(self, path: str | Path) -> None:
        """Write the predictions to a file, whose ending chooses CSV or JSON.

        Raises:
            UserError: the ending is neither ``.csv`` nor ``.json``, or the file cannot be written.
        """
        write_predictions(self, Path(path))

    def __repr__(self) -> str:
        lines = [f"{one.name}: {one.words}" for one in self[:_SHOWN]]
        return "\n".join([*lines, *_more(self)])

    def _repr_html_(self) -> str:
        rows = [(_thumbnail(one.path), escape(one.name), _lines(one)) for one in self[:_SHOWN]]
        below = "".join(f"<p>{line}</p>" for line in _more(self))
        return html.notebook_table(("", "image", _heading(self)), rows) + below


def _heading(predictions: Predictions) -> str:
    return "numbers" if any(one.numbers for one in predictions) else "classes"


def _lines(prediction: Prediction) -> str:
    return "<br>".join(map(escape, prediction.parts)) or escape(prediction.error)


def _more(predictions: Predictions) -> list[str]:
    left = len(predictions) - _SHOWN
    return [f"… and {left:,} more"] if left > 0 else []


def _thumbnail(path: Path) -> str:
    """Return a small JPEG of the image as HTML, or an empty string if PIL cannot read the image."""
    try:
        with Image.open(path) as image:
            image.draft("RGB", (2 * _THUMBNAIL, 2 * _THUMBNAIL))
            small = ImageOps.exif_transpose(image).convert("RGB")
            small.thumbnail((_THUMBNAIL, _THUMBNAIL))
            file = io.BytesIO()
            small.save(file, "JPEG")
    except (OSError, ValueError, SyntaxError):  # PIL raises SyntaxError for a broken PNG
        return ""
    return html.image(file.getvalue(), "jpeg")
