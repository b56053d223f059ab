"""Plan the phases of a tuning method: the trained rows of the parameter table, and the steps."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Iterable

import keras

from cait_finetune.config import OptimizerConfig, TuningConfig
from cait_finetune.config.checks import given
from cait_finetune.errors import UserError, bad_value
from cait_finetune.optim.parameters import Parameter, only, parameter_table

Tables = dict[str, list[Parameter]]


@dataclasses.dataclass(frozen=True)
class Phase:
    """A phase trains the trainable rows of `table` for `steps` steps.

    `first_step` is the first step's number in the run, counted from 0.
    """

    name: str
    first_step: int
    steps: int
    table: list[Parameter]

    @property
    def head_only(self) -> bool:
        """Whether only the head is trained. The backbone then runs in inference mode."""
        head = max(row.group for row in self.table)
        return all(row.group == head for row in self.table if row.trainable)


def phase_at(planned: list[Phase], step: int) -> Phase:
    """Return the phase of step number `step`, counted from 1 through the whole run."""
    # A run that resumed with fewer images may have logged steps beyond its new end.
    return next((one for one in planned if step <= one.first_step + one.steps), planned[-1])


def phases(
    model: keras.Model,
    tuning: TuningConfig,
    optimizer: OptimizerConfig,
    total_steps: int,
    steps_per_epoch: int,
) -> list[Phase]:
    """Return the phases of a run in order. Together they have `total_steps`.

    Every phase has the table of layer-wise decay, with some rows frozen. Each phase starts with a
    new optimizer and a new schedule, with warm-up. Adam has no statistics of newly unfrozen
    variables, and first steps at the full learning rate would damage the weights. `gradual`
    therefore differs from ULMFiT (Howard & Ruder 2018, https://arxiv.org/abs/1801.06146), which has
    one schedule for all stages.

    =================  ======================================================================
    ``full``           trains everything
    ``linear_probe``   trains the head
    ``head_then_full`` trains the head for `head_epochs`, then everything
    ``gradual``        trains the head, then unfreezes the blocks in equal shares, from the last
                       class-attention block to the first block of the trunk. The last of
                       `stages` trains everything. Each stage takes `stage_epochs`, and the
                       last stage takes the rest of the run.
    ``lora``           trains the model's low-rank updates and the head
    ``pattern``        trains the variables whose path contains a match of the regular
                       expression, and the head if `train_head`. BitFit (Zaken et al. 2022) is
                       ``/(bias|beta)$``.
    =================  ======================================================================

    Dropout and stochastic depth are active in the whole backbone while any of its rows is trained.
    Otherwise they are off (`Phase.head_only`).

    Raises:
        UserError: an error of `phase_lengths`, or the pattern matches no variable.
    """
    # Subtract 2, because the embeddings and the head also have forward places.
    lengths = phase_lengths(tuning, model.num_forward_places - 2, total_steps, steps_per_epoch)
    table = parameter_table(model, "full", optimizer.layer_decay, optimizer.weight_decay)
    tables = _tables(model, tuning, table)
    planned, first = [], 0
    for (name, rows), steps in zip(tables.items(), lengths, strict=True):
        planned.append(Phase(name, first, steps, rows))
        first += steps
    return planned


def phase_lengths(
    tuning: TuningConfig, blocks: int, total_steps: int, steps_per_epoch: int
) -> list[int]:
    """Return the number of steps of each phase. The model does not have to exist yet.

    Args:
        blocks: number of blocks of the model.

    Raises:
        UserError: there are more than ``blocks + 1`` stages, or the last phase has no step.
    """
    if tuning.stages and tuning.stages - 1 > blocks:
        raise bad_value(
            "tuning.stages",
            tuning.stages,
            f"at most {blocks + 1}: the head, and a stage for each of the model's {blocks} blocks",
        )
    early_phases = tuning.stages - 1 if tuning.stages else int(tuning.method == "head_then_full")
    early_epochs = tuning.head_epochs or tuning.stage_epochs or 0
    early_steps = early_epochs * steps_per_epoch
    rest = total_steps - early_phases * early_steps
    if rest <= 0:
        raise _too_long(tuning, early_epochs, early_phases, total_steps / steps_per_epoch)
    return [early_steps] * early_phases + [rest]


def _tables(model: keras.Model, tuning: TuningConfig, table: list[Parameter]) -> Tables:
    head = model.num_layer_ids - 1
    head_alone = only(table, lambda row: row.group == head)
    match tuning.method:
        case "full":
            return {"full": table}
        case "linear_probe":
            return {"linear_probe": head_alone}
        case "head_then_full":
            return {"head": head_alone, "full": table}
        case "gradual":
            return {"head": head_alone, **_unfrozen_by_depth(model, tuning, table), "full": table}
        case "lora":
            if all(row.variable.trainable for row in table):
                raise ValueError(
                    "the model has no low-rank updates: call cait_finetune.model.adapt"
                )
            return {"lora": only(table, lambda row: row.variable.trainable)}
        case "pattern":
            return {"pattern": _matching(tuning, table, head)}
    raise AssertionError(tuning.method)


def _unfrozen_by_depth(model: keras.Model, tuning: TuningConfig, table: list[Parameter]) -> Tables:
    """Return the tables of the stages between the first (head only) and the last (everything)."""
    head = model.num_forward_places - 1
    blocks = head - 1  # without the embeddings, because only the last stage trains them
    shares = given(tuning.stages) - 1
    tables = {}
    for share in range(1, shares):
        lowest = head - round(share * blocks / shares)
        tables[f"stage_{share + 1}"] = only(
            table, lambda row, lowest=lowest: model.forward_place(row.path) >= lowest
        )
    return tables


def _matching(tuning: TuningConfig, table: list[Parameter], head: int) -> list[Parameter]:
    pattern = given(tuning.pattern)
    matches = re.compile(pattern).search
    if not any(matches(row.path) for row in table):
        paths = [row.path for row in table]
        raise bad_value(
            "tuning.pattern",
            repr(pattern),
            "a regular expression that is found in the path of a variable",
            f"near paths: {', '.join(_near(pattern, paths))}",
        )
    return only(
        table,
        lambda row: bool(matches(row.path)) or (given(tuning.train_head) and row.group == head),
    )


def _near(pattern: str, paths: Iterable[str], count: int = 3) -> list[str]:
    """Return the `count` paths that contain the text most similar to the pattern, best first."""
    wanted = re.sub(r"[^\w/]+", "", pattern).strip("/")
    length = wanted.count("/") + 1

    def likeness(path: str) -> float:
        parts = path.split("/")
        windows = ("/".join(parts[i : i + length]) for i in range(len(parts)))
        return max(difflib.SequenceMatcher(None, wanted, window).ratio() for window in windows)

    return sorted(paths, key=likeness, reverse=True)[:count]  # stable: the model's order decides


def _too_long(
    tuning: TuningConfig, early_epochs: int, early_phases: int, epochs: float
) -> UserError:
    key = "head_epochs" if tuning.method == "head_then_full" else "stage_epochs"
    got = f"{early_epochs}"
    if early_phases > 1:
        got += f" for each of {early_phases} stages before the last"
    return bad_value(
        f"tuning.{key}",
        got,
        f"fewer epochs than the run's {epochs:g}, so that the last phase has some",
        "raise train.epochs" + (" or lower tuning.stages" if early_phases > 1 else ""),
    )
