"""Hydra's Optuna sweeper, set for what a run returns: a validation metric, which is to be high."""

from __future__ import annotations

import dataclasses

from hydra.core.config_store import ConfigStore


def register_study() -> None:
    """Give ``hydra/sweeper=optuna`` our defaults; without the extra ``sweep`` it stays unknown.

    They cannot stand in ``conf/``: Hydra refuses a file of the name of a stored sweeper. A trial
    that fails, as one that diverges does, is a failed trial and not the end of the study. Trials are
    made one after the other, each with what is known from those before; with a launcher that makes
    them side by side, ``hydra.sweeper.n_jobs`` says how many.
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
