"""The parameter table: for every variable its learning-rate multiplier and weight decay.

The optimizer applies this table and nothing else, so what is written to ``parameters.csv`` is what
happens. The model owns the structure (`layer_id`, `no_weight_decay`); this module only reads it.
Every tuning method is this table with other rows trained (`only`); `phases` chooses them.
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


@dataclasses.dataclass(frozen=True)
class Parameter:
    """One row. `group` is the layer id, `multiplier` scales the learning rate."""

    path: str
    shape: tuple[int, ...]
    group: int
    multiplier: float
    weight_decay: float
    trainable: bool
    variable: Any = dataclasses.field(repr=False, compare=False)

    @property
    def size(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


def parameter_table(
    model: keras.Model, method: str, layer_decay: float, weight_decay: float
) -> list[Parameter]:
    """The table of a model: every row is trained (``full``), or the head's (``linear_probe``).

    Layer-wise decay is ``layer_decay ** (last_id - id)``, the head's multiplier being 1 (timm's
    ``param_groups_layer_decay``). One-dimensional parameters (biases, norms, LayerScale) and those
    the model names do not decay. LoRA's updates have the layer id of their kernel, and as matrices
    they decay: towards zero, which is the backbone as it was.
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
                trainable=method == "full" or group == last,
                variable=variable,
            )
        )
    return table


def only(table: list[Parameter], chosen: Callable[[Parameter], bool]) -> list[Parameter]:
    """The same table with every row frozen that is not `chosen`."""
    return [dataclasses.replace(row, trainable=row.trainable and chosen(row)) for row in table]


def write_csv(tables: Mapping[str, list[Parameter]], path: Path) -> None:
    """Write the table of each phase, by its name, one row a variable, in the model's order."""
    columns = ("path", "shape", "group", "multiplier", "weight_decay", "trainable")
    with atomic_open(path, newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("phase", *columns))
        for phase, table in tables.items():
            for row in table:
                values = {**vars(row), "shape": "x".join(map(str, row.shape))}
                writer.writerow([phase, *(values[column] for column in columns)])


def group_rates(table: list[Parameter], rate: float) -> dict[str, float]:
    """The learning rates of the groups of which something is trained, as ``lr/group_00``.

    Args:
        rate: the schedule's, which the head has.
    """
    multipliers = {row.group: row.multiplier for row in table if row.trainable}
    return {f"lr/group_{group:02}": rate * multipliers[group] for group in sorted(multipliers)}


def summary(table: list[Parameter], base_lr: float) -> list[tuple[str, ...]]:
    """Rows to show before the first step: group, variables, trained and all numbers, peak rate."""
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
