"""Defaults of Hydra's Optuna sweeper: maximise the validation metric that a run returns."""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from cait_finetune.errors import bad_value


class SearchSpace(Callback):
    """Refuse a study that searches nothing: it would repeat one run for each trial."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Check that a key has several values. Hydra calls this method before the runs of ``-m``."""
        sweeper = config.hydra.sweeper
        if config.hydra.runtime.choices["hydra/sweeper"] != "optuna":
            return
        given = ("params", "search_space", "custom_search_space")
        words = OverridesParser.create().parse_overrides(list(config.hydra.overrides.task))
        if any(word.is_sweep_override() for word in words) or any(map(sweeper.get, given)):
            return
        # Hydra turns an exception in a callback into a warning, but lets SystemExit pass.
        sys.exit("cait_finetune: " + str(bad_value(
            "hydra/sweeper", "optuna with nothing to search", "a key with several values",
            "Add one, such as 'optimizer.base_lr=tag(log, interval(1e-5, 1e-3))'",
        )))  # fmt: skip


def register_study() -> None:
    """Register our defaults of ``hydra/sweeper=optuna``. Without the extra ``sweep``, do nothing.

    A file in ``conf/`` cannot set the defaults: Hydra refuses a file with the name of a stored sweeper.
    A trial that fails, for example because the loss diverges, does not end the study. Trials run one
    after the other, and each trial uses the results of all earlier trials. With a launcher that runs
    trials in parallel, set ``hydra.sweeper.n_jobs`` to the number of parallel trials.
    """
    try:
        from hydra_plugins.hydra_optuna_sweeper.config import OptunaSweeperConf
    except ModuleNotFoundError:
        return
    ours = dataclasses.replace(
        OptunaSweeperConf(), direction="maximize", n_jobs=1, max_failure_rate=1.0
    )
    ConfigStore.instance().store(
        group="hydra/sweeper", name="optuna", node=ours, provider="cait_finetune"
    )
