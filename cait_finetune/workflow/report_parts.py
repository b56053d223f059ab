"""Write the parts of a run's report: figures, tables and JSON of the scores."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Callable, Sequence

import keras
import numpy as np

from cait_finetune import model as models
from cait_finetune.data.pipeline import find_images
from cait_finetune.data.preprocess import Preprocessing
from cait_finetune.data.source import Source
from cait_finetune.report.attention_sheet import Tile, draw_attention_sheet
from cait_finetune.report.class_table import class_table, write_class_table
from cait_finetune.report.confusion import confusion, draw_confusion, write_confusion
from cait_finetune.report.curves import draw_curves
from cait_finetune.report.number_figures import draw_predicted, draw_residuals
from cait_finetune.report.number_table import (
    image_errors,
    target_table,
    write_image_errors,
    write_target_table,
)
from cait_finetune.report.pictures import keep_pictures, picture_path
from cait_finetune.report.reliability import draw_reliability, write_reliability
from cait_finetune.report.speed import draw_speed
from cait_finetune.runs.directory import RunDirectory
from cait_finetune.runs.records import read_records
from cait_finetune.scores.mistakes import Mistake
from cait_finetune.tasks import Task
from cait_finetune.workflow.scoring import Scores
from cait_tf.atomic import atomic_open, write_text

_SHOWN = 12  # mistakes shown with their images
_AT_A_TIME = 4  # images per call: saliency keeps the attention of every block in memory


#: Returns the tiles of mistakes on test images.
Viewer = Callable[[Sequence[Mistake]], list[Tile]]


def draw_training(run: RunDirectory, title: str, metric: str, task: Task) -> None:
    """Draw the training curves and the training speed.

    Args:
        metric: the validation metric that the accuracy curve shows.
        task: the run's task. Its training metric has a curve, too.

    Raises:
        UserError: ``metrics.jsonl`` is damaged or belongs to another run, or the folder of the
            parts cannot be made.
    """
    steps, epochs = read_records(run, "step"), read_records(run, "epoch")
    run.make_parts()
    if task.train_metric in task.measured:  # compare the same metric on both splits
        metric = task.train_metric
    draw_curves(steps, epochs, title, run.curves, metric, task.train_metric)
    if steps:
        draw_speed(steps, run.parts / "speed.png")


def draw_scores(run: RunDirectory, scores: Scores, view: Viewer | None) -> None:
    """Draw the figures and write the tables that derive from the predictions.

    Args:
        view: draws the images of mistakes. `None`: the images are not available, and the function
            writes no ``mistakes.png``.

    Raises:
        UserError: the folder of the parts cannot be made.
    """
    run.make_parts()
    write_text(run.parts / "scores.json", json.dumps(scores.as_dict(), indent=2) + "\n")
    for title in scores.task.sections:
        _SECTIONS[title](run, scores, view)


def _write_classes(run: RunDirectory, scores: Scores, view: Viewer | None) -> None:
    rows = [
        row
        for one in scores.postprocessing.of_labels(scores.predictions["test"])
        for row in class_table(
            one.predictions.logits, one.predictions.labels, one.predictions.class_names
        )
    ]
    write_class_table(rows, run.parts / "classes.csv")


def _draw_confusion(run: RunDirectory, scores: Scores, view: Viewer | None) -> None:
    labels = scores.postprocessing.of_labels(scores.predictions["test"])
    matrices = []
    for place, one in enumerate(labels):
        test = one.predictions
        matrices.append(confusion(test.logits, test.labels, test.class_names))
        draw_confusion(
            dataclasses.replace(matrices[-1], names=one.classes),
            one.titled(f"{len(test.logits):,} test images"),
            picture_path(run.parts, "confusion", place),
        )
    keep_pictures(run.parts, "confusion", len(labels))
    write_confusion(matrices, run.parts / "confusion.csv")


def _draw_mistakes(run: RunDirectory, scores: Scores, view: Viewer | None) -> None:
    test = scores.predictions["test"]
    found = scores.task.mistakes(test, scores.postprocessing)
    with atomic_open(run.parts / "mistakes.csv", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(field.name for field in dataclasses.fields(Mistake))
        writer.writerows(vars(mistake).values() for mistake in found)
    if found and view:
        tiles = view(found[:_SHOWN])
        draw_attention_sheet([], tiles, format_count(len(found)), run.parts / "mistakes.png")


def format_count(mistakes: int) -> str:
    """Return the number of mistakes as text."""
    return f"{mistakes:,} mistake{'s' * (mistakes > 1)}"


def _draw_calibration(run: RunDirectory, scores: Scores, view: Viewer | None) -> None:
    bins = {
        (split, one.titled(state)): one.postprocessing.reliability(
            one.predictions, state == "calibrated"
        )
        for split in scores.predictions
        for one in scores.postprocessing.of_labels(scores.predictions[split])
        for state in ("as trained", "calibrated")
    }
    write_reliability(bins, run.parts / "reliability.csv")
    labels = scores.postprocessing.of_labels(scores.predictions["test"])
    for place, one in enumerate(labels):
        panels = [
            (one.titled("as trained"), bins["test", one.titled("as trained")]),
            (
                f"temperature {one.postprocessing.temperature:.2f}",
                bins["test", one.titled("calibrated")],
            ),
        ]
        path = picture_path(run.parts, "reliability", place)
        draw_reliability(panels, *scores.task.confidence, path)
    keep_pictures(run.parts, "reliability", len(labels))


def _half_widths(scores: Scores) -> np.ndarray:
    """Return half the width of each target's interval, ``(T,)``; infinite without one."""
    widths = scores.postprocessing.half_widths
    return (
        np.full(len(scores.predictions["test"].class_names), np.inf)
        if widths is None
        else np.array(widths)
    )


def _write_targets(run: RunDirectory, scores: Scores, view: Viewer | None) -> None:
    test = scores.predictions["test"]
    rows = target_table(test.logits, test.labels, test.class_names, _half_widths(scores))
    write_target_table(rows, run.parts / "targets.csv")


def _draw_numbers(run: RunDirectory, scores: Scores, view: Viewer | None) -> None:
    test, widths = scores.predictions["test"], _half_widths(scores)
    title = f"{len(test.logits):,} test images"
    for draw, name in ((draw_predicted, "predicted"), (draw_residuals, "residuals")):
        path = run.parts / f"{name}.png"
        draw(test.logits, test.labels, test.class_names, widths, title, path)


def _write_errors(run: RunDirectory, scores: Scores, view: Viewer | None) -> None:
    test = scores.predictions["test"]
    rows = image_errors(test.ids, test.logits, test.labels, test.class_names)
    write_image_errors(rows, run.parts / "errors.csv")
    if rows and view:
        shown = [
            Mistake(row.id, f"{row.target} {row.true:.4g}", f"{row.predicted:.4g}", None)
            for row in rows[:_SHOWN]
        ]
        path = run.parts / "errors.png"
        draw_attention_sheet([], view(shown), "largest errors", path, "true and predicted value")


#: Writes the files of each section in `Task.sections`.
_SECTIONS: dict[str, Callable[[RunDirectory, Scores, Viewer | None], None]] = {
    "Classes": _write_classes,
    "Confusion": _draw_confusion,
    "Calibration": _draw_calibration,
    "Mistakes": _draw_mistakes,
    "Targets": _write_targets,
    "Predictions": _draw_numbers,
    "Largest errors": _write_errors,
}


def build_viewer(model: keras.Model, source: Source, preprocessing: Preprocessing) -> Viewer:
    """Return a function that makes tiles of test images with the model's saliency maps."""

    def view(mistakes: Sequence[Mistake]) -> list[Tile]:
        files = find_images(source, "test", [mistake.id for mistake in mistakes])
        images = np.stack([preprocessing(preprocessing.decode(data)) for data in files])
        maps = np.concatenate(
            [
                models.saliency(model, images[start : start + _AT_A_TIME])
                for start in range(0, len(images), _AT_A_TIME)
            ]
        )  # (B, H, W)
        return [
            Tile(picture, heat, one.truth, one.prediction, one.probability)
            for picture, heat, one in zip(
                preprocessing.denormalise(images), maps, mistakes, strict=True
            )
        ]

    return view
