"""Where runs are written, checked before Hydra makes the folder."""

from __future__ import annotations

import sys
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from cait_finetune.config.checks import on_disk
from cait_finetune.errors import UserError


class CheckOutputPlace(Callback):
    """Ends the program where `hydra.run.dir` or `hydra.sweep.dir` is no path on a disk."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Called by Hydra before a run."""
        _check("hydra.run.dir", config.hydra.run)

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Called by Hydra before the runs of ``-m``."""
        _check("hydra.sweep.dir", config.hydra.sweep)


def _check(key: str, node: DictConfig) -> None:
    try:
        # Unresolved: a resolver may refuse `resume`, which Hydra is to hear of later.
        on_disk(key, OmegaConf.to_container(node, resolve=False)["dir"])
    except UserError as error:
        # Hydra turns an Exception of a callback into a warning.
        sys.exit(f"cait_finetune: {error}")
