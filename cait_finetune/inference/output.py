"""Write predictions to a CSV or JSON file."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import json
from collections.abc import Sequence
from pathlib import Path

from cait_finetune.config.checks import on_disk
from cait_finetune.config.places import expanded_path
from cait_finetune.errors import UserError, bad_value
from cait_finetune.inference.prediction import Prediction
from cait_tf.atomic import atomic_open, write_text


def check_output(path: Path) -> Path:
    """Check the path of the output file and make its folder. Call this before any long work.

    Returns:
        The path, with ``~`` expanded.

    Raises:
        UserError: the ending is neither ``.csv`` nor ``.json``, the path is a URL or a folder, or
            its folder cannot be made.
    """
    on_disk("output", path)
    path = expanded_path("output", path)
    if path.suffix.lower() not in _WRITERS:
        raise bad_value("output", path, f"a name that ends in {' or '.join(_WRITERS)}")
    if path.is_dir():
        raise bad_value("output", path, "the name of a file; this is a folder")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from error
    return path


def write_predictions(predictions: Sequence[Prediction], path: Path) -> None:
    """Write predictions in the format that the ending of `path` names.

    CSV has one row per file: path, error, then the class and probability of each of the k classes, or
    each target's number and the ends of its interval. A label or target called ``error`` is ``error_2``.
    For numbers, JSON has ``"numbers": [{"name": …, "value": …, "lower": …, "upper": …}, …]`` in place of
    ``classes``. For several labels, CSV has two columns for each, such as ``colour`` and
    ``colour_probability``, and JSON has ``"labels": [{"label": …, "name": …, "probability": …}, …]``.
    JSON is a list of ``{"path": …, "classes": [{"name": …, "probability": …}, …], "error": …}``, in
    which ``error`` is null or a reason. Bytes of a file name that are not UTF-8 become escapes such
    as ``\\xff``.

    Raises:
        UserError: in the cases of `check_output`, or the file cannot be written.
    """
    path = check_output(path)
    try:
        _WRITERS[path.suffix.lower()](predictions, path)
    except OSError as error:
        raise _unwritable(path, error) from error


def _write_csv(predictions: Sequence[Prediction], path: Path) -> None:
    count = max((len(one.classes) for one in predictions), default=0)
    with atomic_open(path, newline="") as file:
        writer = csv.writer(file)
        columns = [f"{name}_{k + 1}" for k in range(count) for name in ("class", "probability")]
        targets = next((one.numbers for one in predictions if one.numbers), ())
        columns += [
            f"{number.name}{end}"
            for number in targets
            for end in ("", *(("_lower", "_upper") if number.lower is not None else ()))
        ]
        labels = next((one.answers for one in predictions if one.answers), ())
        columns += [f"{one.label}{end}" for one in labels for end in ("", "_probability")]
        writer.writerow(_different(["path", "error", *columns]))
        for prediction in predictions:
            flat = [value for pair in prediction.classes for value in pair]
            for number in prediction.numbers:
                ends = (number.value, number.lower, number.upper)
                flat += [value for value in ends if value is not None]
            for answer in prediction.answers:
                flat += [answer.name, answer.probability]
            writer.writerow([prediction.name, prediction.error, *flat])


def _different(columns: Sequence[str]) -> list[str]:
    """Return the columns with a number after each name that is there already: ``error_2``."""
    found: list[str] = []
    for column in columns:
        numbered = (f"{column}_{number}" for number in itertools.count(2))
        names = itertools.chain([column], (name for name in numbered if name not in columns))
        found.append(next(name for name in names if name not in found))
    return found


def _write_json(predictions: Sequence[Prediction], path: Path) -> None:
    numbers = any(one.numbers for one in predictions)
    labels = any(one.answers for one in predictions)

    def values(one: Prediction) -> dict[str, list]:
        if numbers:
            return {"numbers": [dataclasses.asdict(number) for number in one.numbers]}
        if labels:
            return {"labels": [dataclasses.asdict(answer) for answer in one.answers]}
        return {"classes": [{"name": name, "probability": p} for name, p in one.classes]}

    objects = [{"path": one.name, **values(one), "error": one.error or None} for one in predictions]
    write_text(path, json.dumps(objects, indent=2, ensure_ascii=False) + "\n")


_WRITERS = {".csv": _write_csv, ".json": _write_json}


def _unwritable(path: Path, error: OSError) -> UserError:
    return bad_value("output", path, f"a file that can be written ({error.strerror})")
