"""A tuning method as phases: which rows of the parameter table are trained, and for how many steps."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Iterable

import keras

from cait_finetune.config import OptimizerConfig, TuningConfig
from cait_finetune.errors import UserError, bad_value
from cait_finetune.optim.parameters import Parameter, only, parameter_table

Tables = dict[str, list[Parameter]]


@dataclasses.dataclass(frozen=True)
class Phase:
    """`steps` steps from `first_step` on, counted from 0, in which the table's rows are trained."""

    name: str
    first_step: int
    steps: int
    table: list[Parameter]

    @property
    def head_only(self) -> bool:
        """Whether nothing of the backbone is trained: it then runs in inference mode."""
        head = max(row.group for row in self.table)
        return all(row.group == head for row in self.table if row.trainable)


def phase_at(planned: list[Phase], step: int) -> Phase:
    """The phase whose step number `step` is, counted from 1 through the whole run."""
    # A run that was resumed on fewer images has logged steps beyond its end.
    return next((one for one in planned if step <= one.first_step + one.steps), planned[-1])


def phases(
    model: keras.Model,
    tuning: TuningConfig,
    optimizer: OptimizerConfig,
    total_steps: int,
    steps_per_epoch: int,
) -> list[Phase]:
    """The phases of a run, one after the other; together they have `total_steps`.

    Every table is the one of layer decay with some rows frozen. The optimizer and the schedule are
    made anew for each phase, warm-up included: Adam knows nothing yet of what was just unfrozen, and
    its first steps at the full rate would undo the weights. `gradual` therefore differs from ULMFiT
    (Howard & Ruder 2018, https://arxiv.org/abs/1801.06146), which has one schedule for all stages.

    =================  ======================================================================
    ``full``           everything
    ``linear_probe``   the head
    ``head_then_full`` the head for `head_epochs`, then everything
    ``gradual``        the head; then, in equal shares, the blocks from the last class-attention
                       block down to the first of the trunk; in the last of `stages` everything.
                       Each takes `stage_epochs`, the last one the rest.
    ``lora``           the low-rank updates that the model was given, and the head
    ``pattern``        the variables in whose path the regular expression is found, and the head
                       if `train_head` (BitFit, Zaken et al. 2022, is ``/(bias|beta)$``)
    =================  ======================================================================

    Dropout and stochastic depth act on the whole backbone as soon as one row of it is trained, and
    not at all before that (`Phase.head_only`).

    Raises:
        UserError: as `phase_lengths`, or the pattern matches nothing.
    """
    # The embeddings and the head have places of their own.
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
    """Steps of each phase, for a model of so many blocks, which does not have to be there yet.

    Raises:
        UserError: there are more stages than blocks, or the phases before the last fill the run.
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
    """The stages between the head alone and everything."""
    head = model.num_forward_places - 1
    blocks = head - 1  # without the embeddings, which only the last stage trains
    shares = tuning.stages - 1
    tables = {}
    for share in range(1, shares):
        lowest = head - round(share * blocks / shares)
        tables[f"stage_{share + 1}"] = only(
            table, lambda row, lowest=lowest: model.forward_place(row.path) >= lowest
        )
    return tables


def _matching(tuning: TuningConfig, table: list[Parameter], head: int) -> list[Parameter]:
    matches = re.compile(tuning.pattern).search
    if not any(matches(row.path) for row in table):
        paths = [row.path for row in table]
        raise bad_value(
            "tuning.pattern",
            repr(tuning.pattern),
            "a regular expression that is found in the path of a variable",
            f"near paths: {', '.join(_near(tuning.pattern, paths))}",
        )
    return only(
        table, lambda row: bool(matches(row.path)) or (tuning.train_head and row.group == head)
    )


def _near(pattern: str, paths: Iterable[str], count: int = 3) -> list[str]:
    """Paths that have a part much like the pattern, the likest first; the first ones if none has."""
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
