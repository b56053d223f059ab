"""Weights & Biases: one run of theirs for one run of ours, however often it was interrupted."""

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
from cait_finetune.loggers.logger import Logger
from cait_finetune.loggers.wandb_service import find_key, trouble
from cait_tf.atomic import write_text

_INIT_TIMEOUT = 60.0  # seconds
_MOST_CLASSES = 100  # of a confusion matrix: W&B draws a table of at most 10,000 rows


class WandbRun(Logger):
    """Writes to W&B's service, or to the run directory until somebody uploads it.

    ``wandb.json`` in the run directory holds the id of W&B's run and the last step and epoch that
    were handed over. When the run goes on, what comes again up to there is left out: it is the same.
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
        """Open the run, online if that is possible, and say where it is."""
        import wandb

        if resumed and self._file.is_file():
            self._written = json.loads(self._file.read_text(encoding="utf-8"))
        again = bool(self._written)
        # Its outages are ours to report, in one line.
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
        """Open W&B's run again."""
        self.begin(config, resumed=True)

    def record(self, kind: str, values: Mapping[str, float]) -> None:
        """A row at its step; a step and an epoch that end together are one row."""
        step = int(values["step"])
        # After a stop within an epoch, the epoch stands twice in the log: the last one is whole.
        place = [values[kind], step]
        if place > [self._written[kind], self._written.get(f"{kind}_at", math.inf)]:
            self._log(dict(values), step)
            self._written |= {kind: values[kind], f"{kind}_at": step}
            self._note()

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Once in a run."""
        import wandb

        if not self._written["step"] and not self._written["epoch"]:
            self._log({name: wandb.Table(columns=list(columns), data=[list(row) for row in rows])})

    def result(self, metrics: Mapping[str, float]) -> None:
        """The run's summary, which sweeps and the table of runs go by."""
        self._run.summary.update(dict(metrics))

    def picture(self, name: str, path: Path) -> None:
        """An image at the last step."""
        import wandb

        self._log({f"pictures/{name}": wandb.Image(str(path))})

    def confusion_matrix(
        self, truth: Sequence[int], predicted: Sequence[int], class_names: Sequence[str]
    ) -> None:
        """W&B's own chart; with very many classes only the picture is of use."""
        import wandb

        if len(class_names) <= _MOST_CLASSES:
            chart = wandb.plot.confusion_matrix(
                y_true=[int(one) for one in truth],
                preds=[int(one) for one in predicted],
                class_names=list(class_names),
            )
            self._log({"confusion_matrix": chart})

    def artifact(self, name: str, path: Path, aliases: Sequence[str]) -> None:
        """A version of ``NAME-ID``, of the type model, whose files are not copied before."""
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
        """Wait for the uploads, but not for ever: what is left stays in the run directory."""
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
        """The mode; why it is offline without being asked to; whether that is as it should be."""
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
        """Of a run that is online: why the service cannot be reached any more, if so."""
        online = self._run.settings.mode == "online"
        return trouble(self._run.settings.base_url, self._key) if online else ""

    def _open(self, wandb: Any, config: Mapping[str, Any], mode: str, again: bool) -> Any:
        ours = self._config
        return wandb.init(
            id=self._written.get("id"),  # else drawn, or given by a sweep
            resume="allow" if again else None,
            mode=mode,
            dir=str(self._root),
            project=ours.project,
            entity=ours.entity,
            name=ours.name or "/".join(self._root.absolute().parts[-3:]),
            group=ours.group,
            tags=list(ours.tags),
            config=dict(config),
            allow_val_change=True,  # of what may change when a run goes on
            settings=wandb.Settings(
                silent=True,
                console="off",  # the progress bar is not for a file
                init_timeout=_INIT_TIMEOUT,
                finish_timeout=ours.finish_timeout,
                finish_timeout_raises=True,
            ),
        )

    def _say(self, text: str, style: str | None = None) -> None:
        """On one line, however long: it may hold a command to copy."""
        self._console.print(
            f"wandb  {text}", style=style, highlight=False, markup=False, soft_wrap=True
        )

    def _log(self, values: dict[str, Any], step: int = 0) -> None:
        # W&B drops what is at an earlier step than its last row, or than where it goes on.
        self._run.log(values, step=max(step, self._run.step, self._run.starting_step))

    def _note(self) -> None:
        write_text(self._file, json.dumps(self._written) + "\n")

    def _how_to_sync(self, all_parts: bool = False) -> str:
        """The command; with `all_parts` for every directory of the run, in a pattern."""
        directory = Path(self._run.settings.sync_dir)
        if all_parts:
            parent = shlex.quote(str(directory.parent))
            return f"wandb sync {parent}/offline-run-*-{self._written['id']}*"
        return f"wandb sync {shlex.quote(str(directory))}"
