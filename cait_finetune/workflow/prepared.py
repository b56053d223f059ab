"""The objects that `prepare` builds and training uses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf
from rich.console import Console

from cait_finetune.data.source import Source
from cait_finetune.optim.length import Length
from cait_finetune.optim.phases import Phase
from cait_finetune.runs.directory import RunDirectory
from cait_finetune.train.logbook import Logbook
from cait_finetune.train.loss import Loss
from cait_finetune.workflow.streams import Streams


@dataclass(frozen=True)
class Worker:
    """This process as a worker of the run. Only the chief writes files and prints."""

    strategy: tf.distribute.Strategy
    chief: bool
    console: Console


@dataclass(frozen=True)
class Start:
    """Where training starts: at the first step, or at a state that an earlier process saved.

    Attributes:
        arrays: the saved variables by name. `None`: no state was saved.
        other_images: the images have changed since the state was saved.
    """

    resumed: bool = False
    arrays: Mapping[str, np.ndarray] | None = None
    other_images: bool = False


@dataclass(frozen=True)
class Plan:
    """The model, the loss, and the phases of training, each with a parameter table.

    Attributes:
        peak: the highest learning rate of the head.
    """

    model: keras.Model
    phases: list[Phase]
    loss: Loss
    length: Length
    peak: float


@dataclass(frozen=True)
class Prepared:
    """A run that is ready to train."""

    run: RunDirectory
    worker: Worker
    source: Source
    logbook: Logbook
    start: Start
    plan: Plan
    streams: Streams
