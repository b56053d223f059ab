"""``python -m cait_finetune verify``: is training the same on every number of devices, and resumed?

Eight real steps on the digits for each feature, on one device, on two replicas, in two processes,
cut off and resumed, and with the batch worked off in parts; the largest difference of any loss,
weight or moving average to the first is the cell of a table, ``equality.md``. Of what is resumed
the optimizer's slots and everything else in the last state count, too.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from cait_finetune.cli.arguments import read_keys
from cait_finetune.cli.entry import command
from cait_finetune.cli.hydra_app import configure
from cait_finetune.config import Config
from cait_finetune.config.places import expanded_path
from cait_finetune.errors import UserError, bad_value, suggest
from cait_finetune.runtime.console import plain_console
from cait_tf.atomic import write_text
from cait_tf.quiet import quiet_imports

STEPS, HALF = 8, 4
TOLERANCE = 1e-5
_COMMON = (
    "train.epochs=null",
    f"train.steps={STEPS}",
    "train.batch_size=32",
    "train.log_every=1",
    "train.label_smoothing=0",
    "train.clip_norm=0",
    "schedule.warmup_epochs=null",
    "schedule.warmup_steps=2",
    f"checkpoint.every_steps={HALF}",
    "model.image_size=16",
    # Pretrained weights lie where the loss is steep: SGD and Lion make 1e-4 of rounding in eight steps.
    "model.weights=none",
    "augment=none",
    "dataset.cache=none",
)
#: Above the rounding noise of gradients that are zero, which Adam would make full steps of.
_EPSILON = "optimizer.epsilon=1e-4"
_OPTIMIZER = ("optimizer=adamw_from_scratch", _EPSILON)  # where the row chooses none
_SMOOTHING = ("train.label_smoothing=0.1",)
_MIXING = ("augment.mixup=0.8", "augment.cutmix=1.0")
#: The softmax cancels the biases of the keys and of proj_l, whose gradients are rounding noise: Lion
#: would take its sign for a full step.
_WITH_A_GRADIENT = "^(?!.*(qkv|/k|proj_l)/bias)"
#: 90 images are three steps: epochs end after steps 3, 6 and 8, none of them where a run is resumed.
_SHORT_EPOCHS = ("dataset.examples_per_class=9",)
_ALL = (
    "train.clip_norm=0.5",
    "optimizer.layer_decay=0.75",
    *_SMOOTHING,
    *_MIXING,
    "average=ema",
    "train.accumulation=2",
)
ROWS: dict[str, tuple[str, ...]] = {
    "AdamW": (),
    "clipping": ("train.clip_norm=0.5",),
    "layer decay": ("optimizer.layer_decay=0.75",),
    "label smoothing": _SMOOTHING,
    "mixup and cutmix": _MIXING,
    "moving average": ("average=ema",),
    "accumulation": ("train.accumulation=2",),
    "all of the above": _ALL,
    "SGD": ("optimizer=sgd", "optimizer.lr_batch_size=null", "optimizer.base_lr=0.05"),
    "LAMB": ("optimizer=lamb", "optimizer.lr_batch_size=null", _EPSILON),
    "Lion": ("optimizer=lion", "tuning=pattern", f'tuning.pattern="{_WITH_A_GRADIENT}"'),
    "schedule-free": ("optimizer=schedule_free", _EPSILON),
    "stochastic weight averaging": ("average=swa", "average.swa_epochs=2", *_SHORT_EPOCHS),
    "LoRA": ("tuning=lora",),
    "BitFit": ("tuning=bitfit",),
    "head, then full": ("tuning=head_then_full", "tuning.head_epochs=1", *_SHORT_EPOCHS),
    "gradual unfreezing": ("tuning=gradual", "tuning.stages=3", *_SHORT_EPOCHS),
    "linear probe": ("tuning=linear_probe", "tuning.cache_dir=null"),
    "rematerialisation": ("model.remat=true",),
    "several steps a call": ("train.steps_per_execution=4", "train.log_every=4"),
    "bfloat16": ("train.precision=mixed_bfloat16",),
    "drop path, dropout": ("model.drop_path_rate=0.2", "model.drop_rate=0.1"),
}
#: Rows that are another computation on other devices: rounded elsewhere, or with draws of their own.
_RESUMED_ONLY = ("bfloat16", "drop path, dropout")
COLUMNS = ("2 replicas", "2 workers", "resumed", "accumulated")
_PROCESSES = ("alone", "replicas", "workers")


@dataclass
class VerifyConfig:
    """The keys of the command. `rows` are names such as ``AdamW,LoRA``; null is all of them."""

    out: str = "verification"
    rows: str | None = None
    process: str | None = None  # what one of the processes that the command starts has to do


def verify(out: Path, rows: list[str]) -> dict[str, dict[str, float]]:
    """Run everything in processes of their own, and compare.

    Returns:
        For each row and column the largest absolute difference.

    Raises:
        UserError: one of the processes failed; with the last lines it said.
    """
    from rich.progress import Progress

    _begin(out)
    address = [f"127.0.0.1:{port}" for port in _free_ports(2)]
    groups = [[_start(out, rows, "alone")], [_start(out, rows, "replicas")]]
    with Progress(console=plain_console(stderr=True)) as progress:
        bar = progress.add_task("runs", total=sum(len(_runs(rows, one)) for one in _PROCESSES))
        while True:
            progress.update(bar, completed=len(list(out.glob("*/*/done"))))
            for process in (one for group in groups for one in group):
                if process.poll():
                    _stop(groups)
                    raise UserError(
                        f"verify: {process.args[-1]} failed\n"
                        + "\n".join((process.log.read_text(encoding="utf-8")).splitlines()[-15:])
                    )
            if len(groups) == 2 and groups[1][0].poll() == 0:  # two processes at a time
                groups.append([_start(out, rows, "workers", index, address) for index in range(2)])
            if len(groups) == 3 and all(one.poll() == 0 for group in groups for one in group):
                break
            time.sleep(0.3)
        progress.update(bar, completed=len(list(out.glob("*/*/done"))))
    return {row: _differences(out, row) for row in rows}


def _begin(out: Path) -> None:
    """An empty directory; one of this command's own is emptied, any other is left as it is.

    Raises:
        UserError: there is something else in it.
    """
    mark = out / ".verification"
    if out.exists() and any(out.iterdir()) and not mark.exists():
        raise bad_value("out", out, "a new directory, or one that this command has made")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    mark.touch()


def table(differences: dict[str, dict[str, float]]) -> str:
    """As Markdown; ``0`` is equality to the bit."""
    lines = ["| | " + " | ".join(COLUMNS) + " |", "|---|" + "---|" * len(COLUMNS)]
    for row, cells in differences.items():
        shown = [
            "—" if column not in cells else f"{cells[column]:.0e}" if cells[column] else "0"
            for column in COLUMNS
        ]
        lines.append(f"| {row} | " + " | ".join(shown) + " |")
    return "\n".join(lines) + "\n"


def failures(differences: dict[str, dict[str, float]]) -> list[str]:
    """The cells that are too large: a resumed run has to be the same to the bit."""
    return [
        f"{row}, {column}: {value:.1e}"
        for row, cells in differences.items()
        for column, value in cells.items()
        if not value <= (0.0 if column == "resumed" else TOLERANCE)
    ]


class _Process(subprocess.Popen):
    log: Path


def _start(
    out: Path, rows: list[str], kind: str, index: int = 0, addresses: list[str] | None = None
) -> _Process:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
    environment.pop("TF_CONFIG", None)
    if addresses:
        task = {"type": "worker", "index": index}
        environment["TF_CONFIG"] = json.dumps({"cluster": {"worker": addresses}, "task": task})
    words = [f"out={out}", f"rows={','.join(rows)}", f"process={kind}"]
    log = out / f"{kind}_{index}.log"
    with open(log, "w", encoding="utf-8") as file:
        process = _Process(
            [sys.executable, "-m", "cait_finetune", "verify", *words],
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    process.log = log
    return process


def _stop(groups: list[list[_Process]]) -> None:
    for process in (one for group in groups for one in group):
        process.kill()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _runs(rows: list[str], kind: str) -> list[tuple[str, str, tuple[str, ...]]]:
    """What a process has to run: row, name of the run, overrides."""
    runs = []
    for row in rows:
        if kind == "alone":
            runs.append((row, "one device", ()))
            runs.append((row, "resumed", ()))
        if row in _RESUMED_ONLY:
            continue
        if kind == "alone":
            parts = 8 if "train.accumulation=2" in ROWS[row] else 4
            runs.append((row, "accumulated", (f"train.accumulation={parts}",)))
        else:
            runs.append((row, f"2 {kind}", ()))
    return runs


def _config(row: str, more: tuple[str, ...]) -> Config:
    """Choices of groups first: what follows is set in them."""
    overrides = (*ROWS[row], *more)
    chosen = [word for word in overrides if "." not in word.partition("=")[0]]
    values = [word for word in overrides if word not in chosen]
    optimizer = () if any(word.startswith("optimizer=") for word in chosen) else _OPTIMIZER
    return configure(*optimizer, *chosen, *_COMMON, *values)


def _run_all(out: Path, rows: list[str], kind: str) -> None:
    """In a process of its own: the runs of its kind, all with one strategy."""
    with quiet_imports():
        from cait_finetune import model as models
        from cait_finetune.config import DistributionConfig
        from cait_finetune.runtime.tuning import configure_process
        from cait_finetune.train.distribution import build_strategy, is_chief
        from cait_finetune.workflow.setup import prepare
        from cait_finetune.workflow.training import train

    distribution = {
        "alone": DistributionConfig("cpu"),
        "replicas": DistributionConfig("mirrored", devices=2),
        "workers": DistributionConfig("multi_worker", cluster="tf_config"),
    }[kind]
    strategy = build_strategy(distribution)
    for row, name, more in _runs(rows, kind):
        config = _config(row, more)
        directory = out / row / name
        if name == "resumed":
            shutil.copytree(out / row / "one device", directory)
            (directory / "done").unlink()
            _state(directory, STEPS).unlink()  # as if the process had been killed after the half
            config.resume = str(directory)
        configure_process(config, models.check(config.model))
        train(config, prepare(config, directory, strategy))
        if is_chief(strategy):
            (directory / "done").touch()


def _state(directory: Path, step: int) -> Path:
    return directory / "checkpoints" / f"state_{step:08}.safetensors"


def _differences(out: Path, row: str) -> dict[str, float]:
    cells = {}
    for column in COLUMNS:
        if (out / row / column / "done").exists():
            parts = ("",) if column == "resumed" else ("model/", "train/average/")
            cells[column] = _difference(out / row / "one device", out / row / column, parts)
    return cells


def _difference(one: Path, other: Path, parts: tuple[str, ...]) -> float:
    """The largest of any array whose name starts so and any step's loss; NaN counts as infinite."""
    import numpy as np
    from safetensors.numpy import load_file

    states = [load_file(_state(directory, STEPS)) for directory in (one, other)]
    names = [name for name in states[0] if name.startswith(parts)]
    pairs = [(states[0][name], states[1][name]) for name in names]
    losses = [
        [record["loss"] for record in _steps(directory / "metrics.jsonl")]
        for directory in (one, other)
    ]
    pairs.append((np.array(losses[0]), np.array(losses[1])))
    # numpy's maximum of all keeps a NaN, Python's drops one that is not the first.
    worst = float(np.max([np.abs(a.astype("float64") - b).max() for a, b in pairs]))
    return worst if np.isfinite(worst) else float("inf")


def _steps(path: Path) -> list[dict]:
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [record for record in records if record["kind"] == "step"]


def _choose(rows: str | None) -> list[str]:
    """The rows that are named, in the table's order; a name may have a comma in it."""
    if rows is None:
        return list(ROWS)
    chosen, rest = [], rows
    for row in sorted(ROWS, key=len, reverse=True):
        if row in rest:
            chosen.append(row)
            rest = rest.replace(row, "")
    unknown = [part.strip() for part in rest.split(",") if part.strip()]
    if unknown or not chosen:
        raise bad_value("rows", rows, f"some of {'; '.join(ROWS)}", suggest(rows, ROWS))
    return [row for row in ROWS if row in chosen]


def main() -> None:
    """Entry point; exit status 1 when something differs that must not."""
    with command("cait_finetune verify"):
        config = read_keys(sys.argv[1:], VerifyConfig)
        out, rows = expanded_path("out", config.out), _choose(config.rows)
        if config.process:
            _run_all(out, rows, config.process)
            return
        differences = verify(out, rows)
        text = table(differences)
        write_text(out / "equality.md", text)
        print(f"{text}\nwritten to {out / 'equality.md'}")
    if bad := failures(differences):
        sys.exit("cait_finetune verify: not equal: " + "; ".join(bad))
