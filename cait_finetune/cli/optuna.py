"""Defaults of Hydra's Optuna sweeper: maximise the validation metric that a run returns."""

from __future__ import annotations

import dataclasses

from hydra.core.config_store import ConfigStore


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
