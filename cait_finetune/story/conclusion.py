"""What comes after training: scores, calibration, the checked export, the result, the report."""

from __future__ import annotations

import dataclasses
import functools
import resource
import sys
import time

import keras

from cait_finetune.config import Config
from cait_finetune.export.origin import weights_mark
from cait_finetune.export.subject import Subject
from cait_finetune.report.page import write_page
from cait_finetune.runs.identity import identity_facts
from cait_finetune.story.exporting import export_run, outcome, publish
from cait_finetune.story.preparation import Prepared
from cait_finetune.story.report_parts import build_viewer, draw_scores, draw_training
from cait_finetune.story.scoring import Scores, predict_splits, score
from cait_finetune.train.figures import in_words


def conclude(config: Config, prepared: Prepared, model: keras.Model, started: float) -> dict:
    """Score and export `model`, which holds the best weights; write ``result.json`` and the report.

    Args:
        started: when this process began the run, on `time.perf_counter`'s clock.

    Returns:
        What ``result.json`` holds.

    Raises:
        UserError: an exported model does not answer as the trained one does; or the hub that it is to
            be pushed to does not take it.
    """
    run = prepared.run
    scores = _score(config, prepared, model)
    _draw(config, prepared, model, scores)
    result = _result(config, prepared, scores, started)
    run.write_result(result)
    try:
        result |= _export(config, prepared, model, scores.temperature)
        result["wall_seconds"] = time.perf_counter() - started
    finally:  # an export that is refused can be made again of the run: the rest is there
        run.write_result(result)
        write_page(run)
        _say(config, prepared, scores, result)
    names = list(prepared.source.class_names)
    publish(config.export, run, names, functools.partial(prepared.console.print, highlight=False))
    return result


def _score(config: Config, prepared: Prepared, model: keras.Model) -> Scores:
    """Both splits, each image once; their logits are kept."""
    streams, run = prepared.streams, prepared.run
    predictions = predict_splits(model, streams.images_of, prepared.source, streams.corrupt)
    mark = weights_mark(run.best_checkpoint)
    for role, one in predictions.items():
        one = dataclasses.replace(one, weights=mark)
        if not one.save(run.predictions_of(role)):
            prepared.console.print(
                f"predictions of {role} are not kept: {one.logits.nbytes / 1e6:,.0f} MB of logits",
                highlight=False,
            )
    return score(predictions, config.train.eval_batch_size)


def _draw(config: Config, prepared: Prepared, model: keras.Model, scores: Scores) -> None:
    """The pictures and tables of the report."""
    metric = config.dataset.judged_by
    said = in_words(scores.test.as_figures(), metric)
    title = f"{config.dataset.name}, {config.model.name}: test {said}"
    draw_training(prepared.run, prepared.metrics, title, metric)
    view = build_viewer(model, prepared.source, prepared.streams.preprocessing)
    draw_scores(prepared.run, scores, view)


def _export(config: Config, prepared: Prepared, model: keras.Model, temperature: float) -> dict:
    """Write the chosen formats; returns what ``result.json`` says of them."""
    source, streams = prepared.source, prepared.streams
    subject = Subject(
        model,
        streams.preprocessing,
        source.class_names,
        config.model.name,
        source.multi_label,
        temperature,
    )
    say = functools.partial(prepared.console.print, highlight=False)
    return outcome(export_run(config.export, subject, source, streams.corrupt, prepared.run, say))


def _result(config: Config, prepared: Prepared, scores: Scores, started: float) -> dict:
    """What ``result.json`` holds, but for the exports."""
    run, state, test = prepared.run, prepared.state, scores.test
    metric = config.dataset.judged_by
    return {
        **{f"test_{name}": value for name, value in test.as_figures().items()},
        "test_examples": test.examples,
        "test_ece": scores.reliability["test", False].error,
        "test_ece_calibrated": scores.reliability["test", True].error,
        "temperature": scores.temperature,
        "weights_sha256": weights_mark(run.best_checkpoint),
        "metric": metric,
        f"validation_{metric}": state.best_score[0],
        "best_epoch": state.best_epoch,
        "steps": state.step,
        "skipped_steps": state.skipped,
        "stopped_by": state.stopped or None,
        "wall_seconds": time.perf_counter() - started,
        "train_seconds": state.seconds,
        "images_per_second": state.images_per_second(),
        "data_wait_share": state.data_wait_share(),
        "peak_memory_gb": _peak_memory(),
        "data": identity_facts(run),
        "corrupt_images": prepared.streams.corrupt.ids,
        "best_checkpoint": str(run.best_checkpoint),
        "last_checkpoint": str(run.last_checkpoint),
        "curves": str(run.curves),
        "report": str(run.report),
    }


def _say(config: Config, prepared: Prepared, scores: Scores, result: dict) -> None:
    """The last lines on the screen."""
    console, state, test = prepared.console, prepared.state, scores.test
    corrupt, speed = prepared.streams.corrupt, result["images_per_second"]
    also = f"F1 {test.f1:.2%}" if prepared.source.multi_label else f"top-5 {test.top5:.2%}"
    notes = [f"best epoch {state.best_epoch}"]
    notes += [f"ended by {state.stopped}"] if state.stopped else []
    notes += [f"{state.skipped} steps skipped"] if state.skipped else []
    notes += [f"{len(corrupt)} corrupt images left out"] if len(corrupt) else []
    console.print(
        f"test   {in_words(test.as_figures(), config.dataset.judged_by)}, {also} on "
        f"{test.examples:,} images ({', '.join(notes)}); {result['wall_seconds']:.0f} s"
        + (f", {speed:.0f} img/s" if speed else ""),
        highlight=False,
    )
    console.print(
        f"report {prepared.run.report}: calibration error {result['test_ece']:.2%}, with temperature "
        f"{scores.temperature:.2f} {result['test_ece_calibrated']:.2%}",
        highlight=False,
    )
    console.print(f"run    {prepared.run.root}", highlight=False)


def _peak_memory() -> float:
    """The most that this process has had in main memory so far, in GB (1e9 bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e9  # Linux counts KiB
