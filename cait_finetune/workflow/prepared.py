"""What a run has when it is about to train."""

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
    """This process' part in a run. The chief is the one worker that writes files and prints."""

    strategy: tf.distribute.Strategy
    chief: bool
    console: Console


@dataclass(frozen=True)
class Start:
    """Where training starts: at the first step, or after a state that an earlier process saved.

    ``arrays`` holds the saved variables by name; `None`: no state was saved. ``other_images``: the
    state was saved while training on other images than the run has now.
    """

    resumed: bool = False
    arrays: Mapping[str, np.ndarray] | None = None
    other_images: bool = False


@dataclass(frozen=True)
class Plan:
    """What is trained: the model, in phases with a parameter table each, against a loss.

    ``peak`` is the highest learning rate of the head.
    """

    model: keras.Model
    phases: list[Phase]
    loss: Loss
    length: Length
    peak: float


@dataclass(frozen=True)
class Prepared:
    """A run that is about to train."""

    run: RunDirectory
    worker: Worker
    source: Source
    logbook: Logbook
    start: Start
    plan: Plan
    streams: Streams
