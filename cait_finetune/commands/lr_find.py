"""``cait-finetune lr_find dataset=… model=…``: a learning-rate range test.

The test takes one step at each of a series of growing rates, until the loss diverges (Smith 2017,
https://arxiv.org/abs/1506.01186). Data, augmentation, precision and parameter table are as in training.
The rate applies to the head; the table's multipliers scale the rate of other layers. The test does not
validate, and it discards the weights.
"""

from __future__ import annotations

import csv
import dataclasses
import math
import statistics
from collections.abc import Callable
from pathlib import Path

from cait_finetune.config import Config
from cait_finetune.errors import bad_value

#: The test ends when the smoothed loss exceeds this multiple of its minimum.
_FLOWN_OFF = 4.0
#: Number of first losses whose moving average is too noisy to use.
_NOISY = 10


@dataclasses.dataclass(frozen=True)
class Suggestion:
    """Two common choices: the rate of the steepest fall, and a tenth of the rate of the lowest loss."""

    steepest: float
    tenth_of_lowest: float


def find(config: Config, directory: Path) -> Suggestion:
    """Run the test, and write ``lr_find.csv`` and ``lr_find.png`` to `directory`.

    The test covers the first phase of a run with several phases. It writes both files even if the curve
    suggests no rate. In a cluster only the first worker writes the files.

    Raises:
        UserError: the configuration has a mistake, or the loss hardly fell.
    """
    import numpy as np

    from cait_finetune import model as models
    from cait_finetune.runtime.progress import progress_bar
    from cait_finetune.runtime.tuning import configure_process
    from cait_finetune.train.distribution import build_agreement
    from cait_finetune.workflow.setup import prepare
    from cait_finetune.workflow.stages import Stages
    from cait_finetune.workflow.training import trained_part

    _refuse(config)
    configure_process(config, models.check(config.model))
    prepared = prepare(config, directory)
    plan, worker = prepared.plan, prepared.worker
    sweep = config.lr_find
    rates = np.geomspace(sweep.low, sweep.high, sweep.steps).tolist()
    stages = Stages(
        config, plan.model, worker.strategy, plan.loss, plan.phases[:1],
        lambda phase: trained_part(prepared, phase), plan.length.steps_per_epoch,
        lambda _: rates.__getitem__,
    )  # fmt: skip
    (build,) = stages.unfinished(0)
    stage = build()
    stream = iter(prepared.streams.training(0))
    if len(plan.phases) > 1:
        worker.console.print(f"phase  {stage.name} alone, the first of the run")
    with progress_bar("", len(rates), worker.console, unit="") as advance:

        def loss_at(rate: float) -> float:
            images, labels, _ = next(stream)
            loss = float(stage.step(images, labels, [rate])[0, 0])
            advance(words=f"lr {rate:.1e}  loss {loss:.3f}")
            return loss

        losses = losses_at(rates, loss_at, sweep.smoothing)
    smoothed = smooth(losses, sweep.smoothing)
    tried = rates[: len(losses)]
    suggestion = suggest_rate(tried, losses, smoothed)
    picture = prepared.run.root / "lr_find.png"
    if worker.chief:
        title = f"{config.dataset.name}, {config.model.name}, {config.optimizer.name}"
        _write(picture, title, tried, losses, smoothed, suggestion)
    if agree := build_agreement(worker.strategy):
        agree([False])  # the other workers wait here: a worker that exits ends the cluster
    if suggestion is None:
        raise bad_value(
            "lr_find.low",
            f"{rates[0]:g}: the loss hardly fell at this rate and the rates above it",
            "a range of rates in which the loss falls, then grows",
            f"Change lr_find.low and lr_find.high, or increase lr_find.steps; see {picture}",
        )
    worker.console.print(
        f"loss   fell from {smoothed[0]:.3f} to {min(smoothed):.3f}, fastest at rate "
        f"{suggestion.steepest:.1e}; a tenth of the rate of the lowest loss is "
        f"{suggestion.tenth_of_lowest:.1e}\n"
        f"try    optimizer.base_lr={suggestion.steepest:.1e} optimizer.lr_batch_size=null\n"
        f"see    {picture}",
        highlight=False,
    )
    return suggestion


def losses_at(
    rates: list[float], loss_at: Callable[[float], float], smoothing: float
) -> list[float]:
    """Return the loss of one step at each rate, up to the rate at which the loss diverges.

    The list ends before a loss that is not finite, and after a loss whose smoothed value exceeds
    `_FLOWN_OFF` times the lowest.

    Args:
        rates: learning rates in increasing order.
        loss_at: takes one step at a rate and returns the loss.
        smoothing: as `factor` in `smooth`.

    Raises:
        UserError: the first loss is not finite.
    """
    losses: list[float] = []
    for rate in rates:
        loss = loss_at(rate)
        if not math.isfinite(loss):
            break
        losses.append(loss)
        smoothed = smooth(losses, smoothing)
        if smoothed[-1] > _FLOWN_OFF * min(smoothed):
            break
    if not losses:
        raise bad_value(
            "lr_find.low", f"{rates[0]:g}, where the loss is not finite", "a lower rate"
        )
    return losses


def smooth(losses: list[float], factor: float) -> list[float]:
    """Return the bias-corrected exponential moving average, one value per loss."""
    average, smoothed = 0.0, []
    for number, loss in enumerate(losses, start=1):
        average = factor * average + (1.0 - factor) * loss
        smoothed.append(average / (1.0 - factor**number))
    return smoothed


def suggest_rate(
    rates: list[float], losses: list[float], smoothed: list[float]
) -> Suggestion | None:
    """Return the suggestion of a curve of smoothed losses over geometrically growing rates.

    Args:
        rates: one per loss.
        losses: the losses as measured.
        smoothed: the losses after `smooth`.

    Returns:
        `None`: the smoothed loss never falls to one standard deviation below the mean of the first
        losses, or there are too few losses.
    """
    later = range(min(_NOISY, len(smoothed)), len(smoothed))
    if not later:
        return None
    lowest = min(later, key=smoothed.__getitem__)
    start = losses[:_NOISY]
    if smoothed[lowest] > statistics.mean(start) - statistics.stdev(start):
        return None
    # Central differences: the logarithm of the rate grows by equal steps.
    slopes = {i: smoothed[i + 1] - smoothed[i - 1] for i in range(_NOISY - 1, lowest)}
    return Suggestion(rates[min(slopes, key=slopes.__getitem__)], rates[lowest] / 10)


def _write(
    picture: Path, title: str, rates: list[float], losses: list[float], smoothed: list[float],
    suggestion: Suggestion | None,
) -> None:  # fmt: skip
    """Draw the picture, and write the table to a CSV file of the same name."""
    from cait_finetune.report.lr_curve import draw_lr_curve

    with open(picture.with_suffix(".csv"), "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("learning_rate", "loss", "smoothed"))
        writer.writerows(zip(rates, losses, smoothed, strict=True))
    marks = {}
    if suggestion:
        marks = {"steepest": suggestion.steepest,
                 "a tenth of the lowest": suggestion.tenth_of_lowest}  # fmt: skip
    draw_lr_curve(rates, losses, smoothed, marks, title, picture)


def _refuse(config: Config) -> None:
    """Refuse keys that a range test cannot use.

    Raises:
        UserError: the configuration sets one of these keys.
    """
    if config.resume:
        raise bad_value("resume", config.resume, "null: a range test cannot be resumed")
    if config.train.steps_per_execution > 1:
        raise bad_value("train.steps_per_execution", config.train.steps_per_execution, "1 here")
    if config.tuning.solver == "lbfgs":
        raise bad_value("tuning.solver", "lbfgs, which has no learning rate", "sgd")


def main() -> None:
    """Entry point."""
    from cait_finetune.cli.hydra_app import run_with_hydra

    def load() -> Callable[[Config, Path], object]:
        import cait_finetune.model  # noqa: F401  loads TensorFlow, which logs
        from cait_finetune.runs.directory import RunDirectory
        from cait_finetune.train.cluster import is_first_worker

        def find_alone(config: Config, directory: Path) -> Suggestion:
            if not is_first_worker(config.distribution):
                return find(config, directory)
            with RunDirectory(directory).owned("hydra.run.dir"):
                return find(config, directory)

        return find_alone

    run_with_hydra("lr_find", load)
