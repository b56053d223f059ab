"""The parameter table: the learning-rate multiplier and weight decay of every variable.

The optimizer applies exactly this table, which a run writes to ``parameters.csv``. The model
defines the structure (`layer_id`, `no_weight_decay`), and this module reads it. Tuning methods
differ only in the rows that they train (`only`). `phases` chooses the rows.
"""

from __future__ import annotations

import csv
import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras

from cait_tf.atomic import atomic_open
from cait_tf.heads import is_statistic


@dataclasses.dataclass(frozen=True)
class Parameter:
    """One row of the table. `group` is the layer id. `multiplier` scales the learning rate."""

    path: str
    shape: tuple[int, ...]
    group: int
    multiplier: float
    weight_decay: float
    trainable: bool
    variable: Any = dataclasses.field(repr=False, compare=False)

    @property
    def size(self) -> int:
        """The number of elements of the variable."""
        return math.prod(self.shape)


def parameter_table(
    model: keras.Model, method: str, layer_decay: float, weight_decay: float
) -> list[Parameter]:
    """Return the table of a model. ``full`` trains every row; other methods train the head.

    The rows of statistics, and of variables without effect (`unused`), are always frozen. The training step updates the statistics of a BatchNorm
    head. The statistics of a regressor's targets are constant.

    The multiplier of layer-wise decay is ``layer_decay ** (last_id - id)``, which is 1 for the head
    (timm's ``param_groups_layer_decay``). One-dimensional parameters (biases, norms, LayerScale)
    and the parameters in the model's `no_weight_decay` have no weight decay. LoRA's matrices have
    the layer id of their kernel. They have weight decay, which pulls them to zero, where they do
    not change the backbone.
    """
    last = model.num_layer_ids - 1
    exempt = model.no_weight_decay()
    table = []
    for variable in model.weights:
        group = model.layer_id(variable.path)
        shape = tuple(variable.shape)
        decays = len(shape) > 1 and variable.path.split("/")[-1] not in exempt
        table.append(
            Parameter(
                path=variable.path,
                shape=shape,
                group=group,
                multiplier=layer_decay ** (last - group),
                weight_decay=weight_decay if decays else 0.0,
                trainable=not is_statistic(variable.path)
                and not model.unused(variable.path)
                and (method == "full" or group == last),
                variable=variable,
            )
        )
    return table


def only(table: list[Parameter], chosen: Callable[[Parameter], bool]) -> list[Parameter]:
    """Return the same table, in which rows that are not `chosen` are frozen."""
    return [dataclasses.replace(row, trainable=row.trainable and chosen(row)) for row in table]


def write_csv(tables: Mapping[str, list[Parameter]], path: Path) -> None:
    """Write the tables of all phases: one row per phase and variable, in the model's order.

    Args:
        tables: by name of the phase.
    """
    columns = ("path", "shape", "group", "multiplier", "weight_decay", "trainable")
    with atomic_open(path, newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("phase", *columns))
        for phase, table in tables.items():
            for row in table:
                values = {**vars(row), "shape": "x".join(map(str, row.shape))}
                writer.writerow([phase, *(values[column] for column in columns)])


def group_rates(table: list[Parameter], rate: float) -> dict[str, float]:
    """Return the learning rates of the groups that are trained, with keys such as ``lr/group_00``.

    Args:
        rate: the schedule's learning rate, which is the head's.
    """
    multipliers = {row.group: row.multiplier for row in table if row.trainable}
    return {f"lr/group_{group:02}": rate * multipliers[group] for group in sorted(multipliers)}


def summary(table: list[Parameter], base_lr: float) -> list[tuple[str, ...]]:
    """Return a row of text for each group, to print before the first step.

    The columns are group, number of variables, trained parameters, all parameters, multiplier and
    peak learning rate.
    """
    rows = []
    by_group = sorted(table, key=lambda row: row.group)
    for group, members in itertools.groupby(by_group, key=lambda row: row.group):
        listed = list(members)
        trained = sum(row.size for row in listed if row.trainable)
        total = sum(row.size for row in listed)
        rate = f"{base_lr * listed[0].multiplier:.2e}" if trained else "frozen"
        multiplier = f"{listed[0].multiplier:.4g}"
        rows.append((str(group), str(len(listed)), f"{trained:,}", f"{total:,}", multiplier, rate))
    return rows
