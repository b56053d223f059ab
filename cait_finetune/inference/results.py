"""The predictions of several files: a sequence, a file, a table in a notebook."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from PIL import Image, ImageOps

from cait_finetune.inference.output import write_predictions
from cait_finetune.inference.prediction import Prediction
from cait_finetune.runs import markup

_SHOWN = 100  # in a notebook, which holds each thumbnail in its file
_THUMBNAIL = 96  # pixels


class Predictions(Sequence[Prediction]):
    """One `Prediction` a file, in the order of the files.

    ``images_per_second`` is the speed of the model with all that is before it, reading and decoding.
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
        """Those of files that could not be classified."""
        return [one for one in self if one.error]

    def write(self, path: str | Path) -> None:
        """Write them as CSV or JSON, by the ending.

        Raises:
            UserError: another ending, or the file cannot be written.
        """
        write_predictions(self, Path(path))

    def __repr__(self) -> str:
        lines = [f"{one.name}: {one.words}" for one in self[:_SHOWN]]
        return "\n".join([*lines, *_more(self)])

    def _repr_html_(self) -> str:
        rows = [(_thumbnail(one.path), markup.text(one.name), _lines(one)) for one in self[:_SHOWN]]
        below = "".join(f"<p>{line}</p>" for line in _more(self))
        return markup.table(("", "image", "classes"), rows) + below


def _lines(prediction: Prediction) -> str:
    classes = [markup.text(f"{name} {share:.1%}") for name, share in prediction.classes]
    return "<br>".join(classes) or markup.text(prediction.error)


def _more(predictions: Predictions) -> list[str]:
    left = len(predictions) - _SHOWN
    return [f"… and {left:,} more"] if left > 0 else []


def _thumbnail(path: Path) -> str:
    """The image small, or nothing where PIL cannot read it."""
    try:
        with Image.open(path) as image:
            image.draft("RGB", (2 * _THUMBNAIL, 2 * _THUMBNAIL))
            small = ImageOps.exif_transpose(image).convert("RGB")
            small.thumbnail((_THUMBNAIL, _THUMBNAIL))
            file = io.BytesIO()
            small.save(file, "JPEG")
    except (OSError, ValueError, SyntaxError):  # of a PNG that is broken it is the last
        return ""
    return markup.picture(file.getvalue(), "jpeg")
