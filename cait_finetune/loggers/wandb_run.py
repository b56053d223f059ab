"""Log to Weights & Biases: one W&B run per run, even if the run is interrupted and resumed."""

from __future__ import annotations

import json
import logging
import math
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from rich.console import Console

from cait_finetune.config import WandbConfig
from cait_finetune.loggers.logger import Confusion, Logger
from cait_finetune.loggers.wandb_service import find_key, trouble
from cait_tf.atomic import write_text

_INIT_TIMEOUT = 60.0  # seconds
_MOST_CLASSES = 100  # W&B draws a confusion matrix from a table of at most 10,000 rows


class WandbRun(Logger):
    """Writes to W&B's service, or to the run directory, which the user can upload later.

    ``wandb.json`` in the run directory holds the id of the W&B run and the last step and epoch that
    were logged. A resumed run passes its earlier records again, and the logger skips all records up
    to this step and epoch.
    """

    name: ClassVar[str] = "wandb"

    def __init__(self, config: WandbConfig, root: Path, console: Console) -> None:
        self._config = config
        self._root = root
        self._console = console
        self._file = root / "wandb.json"
        self._written: dict[str, Any] = {}
        self._run: Any = None
        self._key: str | None = None

    def begin(self, config: Mapping[str, Any], resumed: bool) -> None:
        """Open the W&B run, online if possible, and print its URL or the command to upload it."""
        import wandb

        if resumed and self._file.is_file():
            self._written = json.loads(self._file.read_text(encoding="utf-8"))
        again = bool(self._written)
        # The library would log outages itself. `_say` reports an outage in one line.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        wandb.setup(wandb.Settings(silent=True))
        mode, why, expected = self._choose_mode(wandb)
        try:
            self._run = self._open(wandb, config, mode, again)
        except Exception as error:
            if mode != "online":
                raise
            why = str(error).strip().splitlines()[0]
            mode, expected = "offline", False
            self._run = self._open(wandb, config, mode, again)
        self._run.define_metric("*", step_metric="step")
        self._written = {"id": self._run.id, "step": 0, "epoch": 0} | self._written
        self._note()
        if mode == "online":
            self._say(self._run.url)
        elif mode == "offline":
            said = f"offline{why and f', as {why}'}; to upload it: {self._how_to_sync(again)}"
            self._say(said, None if expected else "yellow")

    def reopen(self, config: Mapping[str, Any], step: int) -> None:
        """Open the W&B run again."""
        self.begin(config, resumed=True)

    def record(self, kind: str, values: Mapping[str, float]) -> None:
        """Log a row at its step, unless it was logged before the run was resumed.

        A step and an epoch that end together share a row.
        """
        step = int(values["step"])
        # A run that stops within an epoch and resumes logs the epoch twice, at two steps.
        place = [values[kind], step]
        if place > [self._written[kind], self._written.get(f"{kind}_at", math.inf)]:
            self._log(dict(values), step)
            self._written |= {kind: values[kind], f"{kind}_at": step}
            self._note()

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Log a table, unless the W&B run already has records."""
        import wandb

        if not self._written["step"] and not self._written["epoch"]:
            self._log({name: wandb.Table(columns=list(columns), data=[list(row) for row in rows])})

    def result(self, metrics: Mapping[str, float]) -> None:
        """Write the numbers to the run's summary, which sweeps and the table of runs use."""
        self._run.summary.update(dict(metrics))

    def picture(self, name: str, path: Path) -> None:
        """Log an image at the last step."""
        import wandb

        self._log({f"pictures/{name}": wandb.Image(str(path))})

    def confusion_matrix(self, confusion: Confusion) -> None:
        """Log W&B's own chart. With more than 100 classes, log nothing: the chart would be cut off.

        With several labels, the charts are ``confusion_matrix/LABEL``.
        """
        import wandb

        if len(confusion.class_names) <= _MOST_CLASSES:
            chart = wandb.plot.confusion_matrix(
                y_true=[int(one) for one in confusion.truth],
                preds=[int(one) for one in confusion.predicted],
                class_names=list(confusion.class_names),
            )
            self._log({"/".join(filter(None, ("confusion_matrix", confusion.label))): chart})

    def artifact(self, name: str, path: Path, aliases: Sequence[str]) -> None:
        """Upload a version of the model artifact ``NAME-ID``, without copying its files first.

        Do nothing if ``logger.wandb.log_model`` is false or the service is unreachable.
        """
        import wandb

        if not self._config.log_model:
            return
        if why := self._lost():
            self._say(f"{why}; the {name} is not uploaded, but kept: {path}", "yellow")
            return
        artifact = wandb.Artifact(f"{name}-{self._written['id']}", "model")
        add = artifact.add_dir if path.is_dir() else artifact.add_file
        add(str(path), skip_cache=True, policy="immutable")
        self._run.log_artifact(artifact, aliases=list(aliases))

    def finish(self, exit_code: int) -> None:
        """Wait for the uploads, at most ``finish_timeout`` seconds.

        Records that were not uploaded stay in the run directory.
        """
        if self._run is None:
            return
        if why := self._lost():
            timeout = f"logger.wandb.finish_timeout={self._config.finish_timeout:g} s"
            self._say(f"{why}; waiting for it ({timeout})", "yellow")
        try:
            self._run.finish(exit_code=exit_code)
        except TimeoutError:
            self._say(
                "not everything was uploaded within logger.wandb.finish_timeout="
                f"{self._config.finish_timeout:g} s, but is kept; to upload it: "
                f"{self._how_to_sync()}",
                "yellow",
            )

    def _choose_mode(self, wandb: Any) -> tuple[str, str, bool]:
        """Choose the mode.

        Returns:
            The mode, the reason if the mode is offline although the user did not choose it, and
            whether the mode is expected. An unexpected mode is printed in yellow.
        """
        wanted = self._config.mode
        if wanted == "auto":
            wanted = os.environ.get("WANDB_MODE", "auto")
        if wanted not in ("auto", "online"):
            return wanted, "", True
        settings = wandb.setup().settings
        key = find_key(settings)
        if key is None:
            return "offline", "no key was found (wandb login)", wanted == "auto"
        if why := trouble(settings.base_url, key):
            return "offline", why, False
        self._key = key
        return "online", "", True

    def _lost(self) -> str:
        """Return why an online run can no longer use the service, or an empty string."""
        online = self._run.settings.mode == "online"
        return trouble(self._run.settings.base_url, self._key) if online else ""

    def _open(self, wandb: Any, config: Mapping[str, Any], mode: str, again: bool) -> Any:
        ours = self._config
        return wandb.init(
            id=self._written.get("id"),  # without an id, W&B draws one or takes the sweep's
            resume="allow" if again else None,
            mode=mode,
            dir=str(self._root),
            project=ours.project,
            entity=ours.entity,
            name=ours.name or "/".join(self._root.absolute().parts[-3:]),
            group=ours.group,
            tags=list(ours.tags),
            config=dict(config),
            allow_val_change=True,  # for keys that may change when a run is resumed
            settings=wandb.Settings(
                silent=True,
                console="off",  # keep the progress bar out of the log file
                init_timeout=_INIT_TIMEOUT,
                finish_timeout=ours.finish_timeout,
                finish_timeout_raises=True,
            ),
        )

    def _say(self, text: str, style: str | None = None) -> None:
        """Print one line without wrapping it, because it may hold a command to copy."""
        self._console.print(
            f"wandb  {text}", style=style, highlight=False, markup=False, soft_wrap=True
        )

    def _log(self, values: dict[str, Any], step: int = 0) -> None:
        # W&B drops a row whose step is before its last row or before the step where it resumed.
        self._run.log(values, step=max(step, self._run.step, self._run.starting_step))

    def _note(self) -> None:
        write_text(self._file, json.dumps(self._written) + "\n")

    def _how_to_sync(self, all_parts: bool = False) -> str:
        """Return the command that uploads the run.

        Args:
            all_parts: whether to upload every offline directory of the run, by a glob pattern.
        """
        directory = Path(self._run.settings.sync_dir)
        if all_parts:
            parent = shlex.quote(str(directory.parent))
            return f"wandb sync {parent}/offline-run-*-{self._written['id']}*"
        return f"wandb sync {shlex.quote(str(directory))}"
