"""Write the sweep file, from which agents of Weights & Biases start runs of this project."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cait_finetune.config import Config
from cait_finetune.config.checks import one_of, within
from cait_finetune.errors import bad_value
from cait_finetune.sweep.space import Varied, parse
from cait_finetune.tasks import task_of
from cait_tf.atomic import write_text

#: The logger that sends W&B the metric that the sweep optimises.
LOGGER = "logger=wandb"
#: Each sweep has its own directory, and each run a directory in it. The time cannot name the runs,
#: because several agents may start runs in the same second. The agent sets both variables.
_RUN_DIRECTORY = "hydra.run.dir=multirun/${oc.env:WANDB_SWEEP_ID,sweep}/${oc.env:WANDB_RUN_ID}"
_WHY_WANDB = "The sweep needs the metric that the run logs to W&B."
_COUNT = 20
_HEADER = """\
# Written by python -m cait_finetune sweep. To start the sweep:
#   wandb sweep {path}
# This prints a command, wandb agent …. Run that command on as many machines as you like.
"""


@dataclass
class SweepConfig:
    """The command's own keys, written ``sweep.KEY=VALUE``.

    - ``method``: bayes, random or grid.
    - ``metric``: a name from ``metrics.jsonl``. Null: the metric that decides the best epoch. W&B
      minimises a loss and maximises any other metric.
    - ``count``: maximum number of runs. Null: 20, or the whole grid.
    - ``early_terminate``: hyperband or none. Null: none for a grid, else hyperband. Hyperband
      compares the runs after ``min_epochs`` epochs, after ``eta`` times as many, and so on. Each
      time, one run in ``eta`` continues.
    - ``name``, ``project`` and ``entity``: name, project and entity of the sweep at W&B.
    - ``out``: the sweep file. The command does not replace a file with other content.
    - ``start``: whether the command also creates the sweep at W&B.
    """

    method: str = "bayes"
    metric: str | None = None
    count: int | None = None
    early_terminate: str | None = None
    min_epochs: int = 3
    eta: int = 3
    name: str | None = None
    project: str = "cait-finetune"
    entity: str | None = None
    out: str = "sweep.yaml"
    start: bool = False

    def __post_init__(self) -> None:
        one_of("sweep.method", self.method, ("bayes", "random", "grid"))
        if self.early_terminate is not None:
            one_of("sweep.early_terminate", self.early_terminate, ("hyperband", "none"))
        if self.count is not None:
            within("sweep.count", self.count, 1)
        within("sweep.min_epochs", self.min_epochs, 1)
        within("sweep.eta", self.eta, 2)

    @property
    def ends_early(self) -> bool:
        """Return whether Hyperband ends bad runs early."""
        chosen = self.early_terminate or ("none" if self.method == "grid" else "hyperband")
        return chosen == "hyperband"

    @property
    def runs(self) -> int | None:
        """Return the maximum number of runs. `None`: the whole grid."""
        return self.count or (None if self.method == "grid" else _COUNT)


def sweep_document(
    sweep: SweepConfig, where: list[str], fixed: list[str], space: list[Varied], config: Config
) -> dict[str, Any]:
    """Return the content of the sweep file, in W&B's schema.

    Args:
        where: ``-cd`` and ``-cn`` with their values, or an empty list.
        fixed: the words that do not vary.
        space: the keys that vary.
        config: the configuration of one run of the sweep.

    Raises:
        UserError: a grid contains a continuous or logarithmic interval, the metric is unknown, W&B
            is offline or disabled, or the fixed words choose loggers without W&B.
    """
    if sweep.method == "grid":
        for one in space:
            if "values" not in one.parameter and one.parameter["distribution"] != "int_uniform":
                raise bad_value(
                    "sweep.method", f"grid with an interval of {one.key}",
                    "choices and ranges in a grid", "give choice(…), or sweep.method=random",
                )  # fmt: skip
    if (mode := config.logger.wandb.mode) in ("offline", "disabled"):
        raise bad_value("logger.wandb.mode", mode, "auto or online", _WHY_WANDB)
    metric = sweep.metric or decisive_metric(config)
    known = _metrics(config)
    one_of("sweep.metric", metric, known)
    document: dict[str, Any] = {
        "program": "cait_finetune",
        "name": sweep.name or f"{config.dataset.name} {config.model.name}",
        "project": sweep.project,
    }
    if sweep.entity:
        document["entity"] = sweep.entity
    goal = "minimize" if metric.endswith("_loss") else "maximize"
    document |= {"method": sweep.method, "metric": {"name": metric, "goal": goal}}
    if sweep.runs:
        document["run_cap"] = sweep.runs
    if sweep.ends_early:
        document["early_terminate"] = {
            "type": "hyperband", "min_iter": sweep.min_epochs, "eta": sweep.eta,
        }  # fmt: skip
    document["parameters"] = {one.key: one.parameter for one in space}
    document["command"] = [
        "${env}", "${interpreter}", "-m", "cait_finetune", *where, *_completed(fixed),
        "${args_no_hyphens}",
    ]  # fmt: skip
    return document


def check_directories(words: list[str]) -> None:
    """Refuse words that set the directory of a run.

    Raises:
        UserError: a word sets ``resume`` or ``hydra.run.dir``.
    """
    for one in parse(words):
        if one.key_or_group in ("resume", "hydra.run.dir"):
            raise bad_value(one.key_or_group, one.input_line.partition("=")[2],
                            "none in a sweep: each run has a directory of its own")  # fmt: skip


def write(document: dict[str, Any], path: Path) -> None:
    """Write the sweep file as YAML. An existing file with the same content is no error.

    Raises:
        UserError: the file cannot be written, or exists with other content.
    """
    body = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100)
    text = _HEADER.format(path=path) + body
    try:
        if path.exists() and path.read_bytes() != text.encode():
            raise bad_value("sweep.out", f"{path}, which exists with other content", "a new file",
                            "Set sweep.out=FILE, or remove the file.")  # fmt: skip
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    except OSError as error:
        raise bad_value(
            "sweep.out", path, f"a file that can be written ({error.strerror})"
        ) from error


def decisive_metric(config: Config) -> str:
    """Return the metric that decides the best epoch, as ``metrics.jsonl`` names it."""
    average = config.average
    version = f"{average.method}_" if average.method != "none" and average.export else ""
    return f"validation_{version}{task_of(config.task).judged_by(config.dataset)}"


def _metrics(config: Config) -> tuple[str, ...]:
    task, decisive = task_of(config.task), decisive_metric(config)
    prefix = decisive.removesuffix(task.judged_by(config.dataset))
    return tuple(dict.fromkeys([decisive, *(f"{one}{name}" for one in (prefix, "validation_")
                                            for name in task.measured)]))  # fmt: skip


def _completed(fixed: list[str]) -> list[str]:
    """Return the fixed words, with the W&B logger and a separate directory for each run.

    Raises:
        UserError: the words choose loggers without W&B.
    """
    given = {one.key_or_group: one for one in parse(fixed)}
    words = [] if "logger" in given else [LOGGER]
    if "logger" in given and "wandb" not in str(given["logger"].value()):
        raise bad_value("logger", given["logger"].value(), "wandb, or wandb among others",
                        _WHY_WANDB)  # fmt: skip
    return [*fixed, *words, _RUN_DIRECTORY]
