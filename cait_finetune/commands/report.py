"""``cait-finetune report run=RUN_DIRECTORY``: write a run's report from the files of the run.

The command scores the best weights so far of a run that is not finished. It lists missing parts on the
console and on the page.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from cait_finetune.cli.arguments import helped, read_keys
from cait_finetune.cli.entry import command
from cait_finetune.config.keys import key
from cait_finetune.config.places import expanded_path
from cait_finetune.errors import UserError
from cait_finetune.runs.directory import RunDirectory
from cait_finetune.runs.records import check_records_id, read_records
from cait_finetune.runs.saved import RunDataConfig, SavedRun, read_run
from cait_finetune.runtime.console import plain_console
from cait_tf.quiet import quiet_imports

if TYPE_CHECKING:
    from cait_finetune.data.source import Source
    from cait_finetune.scores.postprocessing import Postprocessing
    from cait_finetune.scores.predictions import Predictions
    from cait_finetune.workflow.report_parts import Viewer
    from cait_finetune.workflow.scoring import Scores


@dataclass
class ReportConfig:
    """The keys of the command."""

    run: str = key("Directory of a run.")
    dataset: RunDataConfig = field(default_factory=RunDataConfig)


def report(config: ReportConfig) -> Path:
    """Make every part of the report that can be made, then write the page with all parts.

    Returns:
        The path of the page.

    Raises:
        UserError: the directory holds no run, its ``metrics.jsonl`` belongs to another run, or the
            report cannot be written into the directory.
        ChangedData: the images differ from the run's images.
    """
    saved = read_run(expanded_path("run", config.run), weights=False)
    check_records_id(saved.directory, "run")
    with saved.directory.owned("run"):
        return _report(config, saved)


def _report(config: ReportConfig, saved: SavedRun) -> Path:
    run = saved.directory
    with quiet_imports():
        import tensorflow as tf

        from cait_finetune.config.metrics import format_metrics
        from cait_finetune.report.page import write_page
        from cait_finetune.runs.identity import ChangedData
        from cait_finetune.workflow.report_parts import draw_scores, draw_training

        tf.config.list_physical_devices()

    reasons: list[str] = []
    scores = None
    try:
        scores, view = _scores(saved, config.dataset, reasons)
        draw_scores(run, scores, view)
    except ChangedData:
        raise
    except UserError as error:
        reasons.append(str(error))
    if run.metrics.is_file():
        metric = saved.task.judged_by(saved.dataset)
        title = f"{saved.dataset.name}, {saved.model.name}"
        if scores:
            title += f": test {format_metrics(scores.test.as_metrics(), metric)}"
        draw_training(run, title, metric, saved.task)
    missing, reasons = write_page(run, reasons)
    console = plain_console()
    for reason in reasons:
        console.print(reason)
    if missing:
        console.print(f"not in the report: {', '.join(missing)}")
    console.print(f"report {run.report}")
    return run.report


def _scores(
    saved: SavedRun, data: RunDataConfig, reasons: list[str]
) -> tuple[Scores, Viewer | None]:
    """Return the scores, and the function that draws mistakes.

    A finished run keeps its predictions. If predictions are missing, or come from other weights, unknown
    weights or other images, this function predicts the images again with the best weights. Without
    images or weights it scores the kept predictions and returns `None` as the second result.

    Args:
        reasons: list to which this function adds a line for each missing part of the report.

    Raises:
        UserError: the run has no predictions, and its weights or images are missing.
        ChangedData: the images differ from the run's images.
    """
    from cait_finetune.data.corrupt import CorruptImages
    from cait_finetune.data.pipeline import evaluation_stream
    from cait_finetune.runs.exports import weights_mark
    from cait_finetune.runs.identity import ChangedData
    from cait_finetune.workflow.report_parts import build_viewer
    from cait_finetune.workflow.scoring import predict_splits, score

    run, batch_size = saved.directory, saved.train.eval_batch_size
    predictions = _kept_predictions(run, reasons) if run.scored else None
    stated = _stated(saved) if run.scored else None
    mark = weights_mark(run.best_checkpoint)
    made_by = {one.weights for one in (predictions or {}).values()}
    if mark and made_by - {mark, None}:
        reasons.append(
            f"predictions: made by other weights than {run.best_checkpoint}; "
            "the command predicted again"
        )
        predictions = stated = None
    try:
        if not run.best_checkpoint.is_file():
            raise UserError(_why_no_weights(run))
        source = saved.load_source(data, "report", reasons.append)
        model = saved.build_model(source.class_names)
    except ChangedData:
        raise
    except UserError as error:
        if not predictions:
            raise
        reasons.append(str(error))
        return score(saved.task, predictions, batch_size, stated), None
    preprocessing = saved.build_preprocessing()
    if predictions and not _of_these_images(predictions, source, run):
        reasons.append("predictions: made from other images than the accepted images")
        predictions = None
    elif predictions and not _of_these_paths(predictions, source):  # absolute paths have changed
        reasons.append(
            "predictions: made under other paths of the images; the command predicted again"
        )
        predictions = None
    if not predictions or None in made_by:  # None: an older version, which recorded no weights
        corrupt = CorruptImages(saved.dataset.on_corrupt)
        predictions = predict_splits(
            model,
            lambda split: evaluation_stream(
                source, split, preprocessing, batch_size, corrupt, saved.dataset
            ),
            source,
            corrupt,
        )
    scores = score(saved.task, predictions, batch_size, stated)
    return scores, build_viewer(model, source, preprocessing)


def _stated(saved: SavedRun) -> Postprocessing | None:
    """Return the fitted postprocessing in ``result.json``. `None`: a value is missing or impossible."""
    unfitted, result = saved.task.postprocessing, saved.directory.read_result()
    try:
        return unfitted.stated(result) if result.keys() >= unfitted.facts().keys() else None
    except ValueError:
        return None


def _of_these_images(
    predictions: dict[str, Predictions], source: Source, run: RunDirectory
) -> bool:
    """Return whether the kept predictions belong to the images of `source`.

    Corrupt images have no prediction. If the run kept no record of its images, image ids are compared.
    """
    from cait_finetune.runs.identity import has_the_runs_images

    same = has_the_runs_images(run, source)
    if same is not None:
        return same
    corrupt = set(run.read_result().get("corrupt_images", []))
    return all(
        set(one.ids) == set(map(str, source.ids(split))) - corrupt
        for split, one in predictions.items()
    )


def _of_these_paths(predictions: dict[str, Predictions], source: Source) -> bool:
    """Return whether `source` has all ids of the kept predictions."""
    return all(
        set(one.ids) <= set(map(str, source.ids(split))) for split, one in predictions.items()
    )


def _kept_predictions(run: RunDirectory, reasons: list[str]) -> dict[str, Predictions] | None:
    """Return the kept predictions of all splits. `None`: a file is missing or damaged."""
    from cait_finetune.scores.predictions import load_predictions
    from cait_finetune.workflow.scoring import SPLITS

    kept = {split: run.predictions_of(split) for split in SPLITS}
    if not all(path.exists() for path in kept.values()):
        return None
    try:
        return {split: load_predictions(path) for split, path in kept.items()}
    except UserError as error:
        reasons.append(str(error))
        return None


def _why_no_weights(run: RunDirectory) -> str:
    if run.scored or read_records(run, "epoch"):
        return f"{run.best_checkpoint} is not there: images cannot be classified without weights"
    return "no epoch has ended yet: there are no weights to score"


def main() -> None:
    """Entry point. On a user's mistake, print one message and exit with status 1."""
    with command("cait_finetune report"):
        if not helped(sys.argv[1:], __doc__, ReportConfig):
            report(read_keys(sys.argv[1:], ReportConfig))
