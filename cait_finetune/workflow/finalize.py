"""The steps after training: scores, calibration, report figures, export and result."""

from __future__ import annotations

import dataclasses
import functools
import time
from pathlib import Path

import keras

from cait_finetune.config import Config
from cait_finetune.config.metrics import format_metrics, format_value, metric_words
from cait_finetune.data.pipeline import example_ids
from cait_finetune.errors import UserError
from cait_finetune.export.exported_model import ExportedModel
from cait_finetune.runs.exports import weights_mark
from cait_finetune.runs.identity import PARENT, identity_facts, images_mark, parent_of
from cait_finetune.scores.postprocessing import Postprocessing
from cait_finetune.scores.predictions import Predictions, Predictor, load_predictions
from cait_finetune.tasks import task_of
from cait_finetune.train.loop import TRAINED
from cait_finetune.workflow.exporting import export_run
from cait_finetune.workflow.prepared import Prepared
from cait_finetune.workflow.report_parts import build_viewer, draw_scores, draw_training
from cait_finetune.workflow.scoring import SPLITS, Scores, predict, score
from cait_tf.memory import peak_memory

_UNSURE = 5.0  # half width of the interval, in points, above which the console warns


def score_splits(config: Config, prepared: Prepared, model: keras.Model) -> Scores:
    """Score `model` on validation and test, each image once.

    The function saves the logits, unless they are too large. A resumed run reuses saved logits of
    the same weights and images.
    """
    streams, run = prepared.streams, prepared.run
    mark = weights_mark(run.best_checkpoint)
    predictor, predictions = Predictor(model), {}
    for split in SPLITS:
        path, images = run.predictions_of(split), images_mark(run, split)
        found = _kept(path, mark, images, prepared, split)
        if found is None:
            found = predict(
                predictor, split, streams.images_of(split), prepared.source, streams.corrupt
            )
            if not dataclasses.replace(found, weights=mark, images=images).save(path):
                prepared.worker.console.print(
                    f"predictions of {split} are not kept: {found.logits.nbytes / 1e6:,.0f} MB of "
                    "logits",
                    highlight=False,
                )
        predictions[split] = found
    return score(task_of(config.task), predictions, config.train.eval_batch_size)


def _kept(
    path: Path, mark: str | None, images: str | None, prepared: Prepared, split: str
) -> Predictions | None:
    """Return the saved predictions of a split. `None`: they must be computed.

    Only a resumed run reuses predictions. They must come from the same weights, images and classes.

    Args:
        mark: the checksum of the weights.
        images: the hash of the split's ids, labels and contents.
    """
    if mark is None or images is None or not (prepared.start.resumed and path.is_file()):
        return None
    try:
        kept = load_predictions(path)
    except UserError:  # a damaged file: predict again
        return None
    ids = example_ids(prepared.source, split, None, prepared.streams.corrupt)
    same = (kept.weights, kept.images) == (mark, images) and list(kept.ids) == list(ids)
    return kept if same and list(kept.class_names) == list(prepared.source.class_names) else None


def draw_report(config: Config, prepared: Prepared, model: keras.Model, scores: Scores) -> None:
    """Draw the figures and write the tables of the report."""
    metric = task_of(config.task).judged_by(config.dataset)
    said = format_metrics(scores.test.as_metrics(), metric)
    title = f"{config.dataset.name}, {config.model.name}: test {said}"
    draw_training(prepared.run, title, metric, scores.task)
    view = build_viewer(model, prepared.source, prepared.streams.preprocessing)
    draw_scores(prepared.run, scores, view)


def export_model(
    config: Config, prepared: Prepared, model: keras.Model, postprocessing: Postprocessing
) -> None:
    """Write and check the chosen formats. A resumed run keeps formats that are up to date.

    Raises:
        UserError: a format was refused.
    """
    source, streams = prepared.source, prepared.streams
    exported = ExportedModel(
        model,
        streams.preprocessing,
        source.class_names,
        config.model.name,
        postprocessing,
        run=prepared.logbook.state.run,
        weights=weights_mark(prepared.run.best_checkpoint) or "",
        allow_flip=config.dataset.allow_flip,
        seen_images=prepared.logbook.state.seen,
    )
    say = functools.partial(prepared.worker.console.print, highlight=False)
    export_run(
        config.export, exported, source, streams.corrupt, prepared.run, say, prepared.start.resumed
    )


def collect_result(config: Config, prepared: Prepared, scores: Scores, started: float) -> dict:
    """Return the contents of ``result.json`` without the exports.

    Args:
        started: when this process began the run, on `time.perf_counter`'s clock.
    """
    run, state, test = prepared.run, prepared.logbook.state, scores.test
    metric = task_of(config.task).judged_by(config.dataset)
    return {
        **{f"test_{name}": value for name, value in test.as_metrics().items()},
        **{
            f"{split}_{name}": value
            for split, further in scores.further.items()
            for name, value in further.items()
        },
        "intervals": {f"test_{name}": ends for name, ends in scores.intervals["test"].items()},
        "test_examples": test.examples,
        **{f"test_{name}": value for name, value in scores.measures["test"].items()},
        **scores.postprocessing.facts(),
        "weights_sha256": weights_mark(run.best_checkpoint),
        "metric": metric,
        f"validation_{metric}": state.best_score[0],
        "best_epoch": state.best_epoch,
        "best_weights": state.best_of or TRAINED,
        "steps": state.step,
        "skipped_steps": state.skipped,
        "stopped_by": state.stopped or None,
        "wall_seconds": time.perf_counter() - started,
        "train_seconds": state.seconds,
        "images_per_second": state.images_per_second(),
        "data_wait_share": state.data_wait_share(),
        "peak_memory_gb": peak_memory() / 1e9,
        "data": identity_facts(run),
        PARENT: parent_of(run),
        "corrupt_images": prepared.streams.corrupt.ids,
        "best_checkpoint": run.relative(run.best_checkpoint),
        "last_checkpoint": run.relative(run.last_checkpoint),
        "curves": run.relative(run.curves),
        "report": run.relative(run.report),
    }


def print_summary(config: Config, prepared: Prepared, scores: Scores, result: dict) -> None:
    """Print test metrics, calibration error, and the paths of the report and the run."""
    console, state, test = prepared.worker.console, prepared.logbook.state, scores.test
    corrupt, speed = prepared.streams.corrupt, result["images_per_second"]
    intervals, metric = scores.intervals["test"], task_of(config.task).judged_by(config.dataset)
    metrics = test.as_metrics()
    also = "".join(
        f", {metric_words(name)} {format_value(name, metrics[name])}"
        for name in scores.task.also(prepared.source.class_names)
        if name in metrics
    )
    averaged = f", {state.best_of} weights" if state.best_of not in ("", TRAINED) else ""
    notes = [f"best epoch {state.best_epoch}{averaged}"]
    notes += [f"ended by {state.stopped}"] if state.stopped else []
    notes += [f"{state.skipped} steps skipped"] if state.skipped else []
    notes += [f"{len(corrupt)} corrupt images left out"] if len(corrupt) else []
    console.print(
        f"test   {format_metrics(metrics, metric, intervals)}{also} on "
        f"{test.examples:,} images ({', '.join(notes)}); run {result['wall_seconds']:.0f} s"
        + (f", training {speed:.0f} img/s" if speed else ""),
        highlight=False,
    )
    if further := scores.further.get("test"):
        shown = ", ".join(f"{name} {value:.4g}" for name, value in further.items())
        console.print(f"also   {shown} on the test images", highlight=False)
    low, high = intervals.get(metric) or intervals.get("top1") or (0.0, 0.0)
    if (points := 50 * (high - low)) > _UNSURE:
        console.print(
            f"margin ±{points:.0f} points with {test.examples:,} test images: smaller differences "
            "between models may be chance",
            highlight=False,
        )
    console.print(
        f"report {prepared.run.report}: {scores.postprocessing.summary(scores.measures['test'])}",
        highlight=False,
    )
    console.print(f"run    {prepared.run.root}", highlight=False)
