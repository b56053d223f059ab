"""What comes after training: the test split once, the curves, the checked export, the result."""

from __future__ import annotations

import resource
import sys
import time

import keras

from cait_finetune.config import Config
from cait_finetune.data.pipeline import encoded_images
from cait_finetune.evaluation import build_evaluator
from cait_finetune.export.saved_model import export_saved_model
from cait_finetune.preparation import Prepared
from cait_finetune.report.curves import draw_curves
from cait_finetune.train.figures import in_words


def conclude(config: Config, prepared: Prepared, model: keras.Model, started: float) -> dict:
    """Score and export `model`, which holds the best weights, and write ``result.json``.

    Args:
        started: when this process began the run, on `time.perf_counter`'s clock.

    Returns:
        What the file holds.

    Raises:
        UserError: the exported model does not answer as the trained one does.
    """
    run, state, streams, console = prepared.run, prepared.state, prepared.streams, prepared.console
    corrupt, metric = streams.corrupt, config.dataset.judged_by
    test = build_evaluator(model, prepared.source.multi_label)(streams.test())
    draw_curves(
        prepared.metrics.read("step"),
        prepared.metrics.read("epoch"),
        f"{config.dataset.name}, {config.model.name}: test {in_words(test.as_figures(), metric)}",
        run.curves,
        "top1" if "top1" in test.as_figures() else metric,
    )
    difference = None
    if config.export.enabled:
        samples = encoded_images(prepared.source, "validation", config.export.check_images, corrupt)
        difference = export_saved_model(
            model,
            streams.preprocessing,
            streams.preprocessing.decode,
            prepared.source.class_names,
            samples,
            run.saved_model,
            prepared.source.multi_label,
        )
        console.print(
            f"export checked on {len(samples)} validation images: same top-1, "
            f"largest difference {difference:.1e}",
            highlight=False,
        )
    speed = state.images_per_second()
    result = {
        **{f"test_{name}": value for name, value in test.as_figures().items()},
        "test_examples": test.examples,
        "metric": metric,
        f"validation_{metric}": state.best_score[0],
        "best_epoch": state.best_epoch,
        "steps": state.step,
        "skipped_steps": state.skipped,
        "stopped_by": state.stopped or None,
        "wall_seconds": time.perf_counter() - started,
        "train_seconds": state.seconds,
        "images_per_second": speed,
        "data_wait_share": state.data_wait_share(),
        "peak_memory_gb": _peak_memory(),
        "corrupt_images": corrupt.ids,
        "export_max_difference": difference,
        "best_checkpoint": str(run.best_checkpoint),
        "last_checkpoint": str(run.last_checkpoint),
        "saved_model": str(run.saved_model) if config.export.enabled else None,
        "curves": str(run.curves),
    }
    run.write_result(result)
    also = f"F1 {test.f1:.2%}" if prepared.source.multi_label else f"top-5 {test.top5:.2%}"
    notes = [f"best epoch {state.best_epoch}"]
    notes += [f"ended by {state.stopped}"] if state.stopped else []
    notes += [f"{state.skipped} steps skipped"] if state.skipped else []
    notes += [f"{len(corrupt)} corrupt images left out"] if len(corrupt) else []
    console.print(
        f"test   {in_words(test.as_figures(), metric)}, {also} on {test.examples:,} images "
        f"({', '.join(notes)}); {result['wall_seconds']:.0f} s"
        + (f", {speed:.0f} img/s" if speed else ""),
        highlight=False,
    )
    console.print(f"run    {run.root}", highlight=False)
    return result


def _peak_memory() -> float:
    """The most that this process has had in main memory so far, in GB (1e9 bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e9  # Linux counts KiB
