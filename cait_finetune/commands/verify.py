"""``cait-finetune verify``: compare training runs whose results must agree.

For each feature the command trains eight steps on the digits: on one device, on two replicas, in two
worker processes, interrupted and resumed, and with more micro-batches per step.
Each cell of the table ``equality.md`` is the largest absolute difference from the run on one
device, over all losses, weights and moving averages. For the resumed run the cell also covers the
optimizer slots and every other array of the last state.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from cait_finetune.cli.arguments import read_keys
from cait_finetune.cli.compose import configure
from cait_finetune.cli.entry import command
from cait_finetune.config import Config
from cait_finetune.config.places import expanded_path
from cait_finetune.errors import UserError, bad_value, suggest
from cait_finetune.runs.markdown import markdown_table
from cait_finetune.runtime.console import plain_console
from cait_finetune.train.cluster import free_ports
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
    # The loss is steep around pretrained weights. SGD and Lion would amplify rounding differences
    # beyond `TOLERANCE`.
    "model.weights=none",
    "augment=none",
    "dataset.cache=none",
)
#: Exceeds the rounding noise of zero gradients, which Adam would otherwise scale to full steps.
_EPSILON = "optimizer.epsilon=1e-4"
_OPTIMIZER = ("optimizer=adamw_from_scratch", _EPSILON)  # for rows that choose no optimizer
_SMOOTHING = ("train.label_smoothing=0.1",)
_MIXING = ("augment.mixup=0.8", "augment.cutmix=1.0")
#: The softmax cancels the biases of the keys and of proj_l, so their gradients are rounding noise.
#: Lion would turn the sign of the noise into a full step.
_WITH_A_GRADIENT = "^(?!.*(qkv|/k|proj_l)/bias)"
#: 90 images are three steps. Epochs end after steps 3, 6 and 8, and the run resumes after step 4.
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
    "BatchNorm head": ("head=batchnorm_linear", "tuning.cache_features=false"),
    "regression": ("dataset=turned_digits",),
    "several answers": ("dataset=leaning_digits", "loss.weights=[1,0.5]"),
    "rematerialisation": ("model.remat=true",),
    "several steps a call": ("train.steps_per_execution=4", "train.log_every=4"),
    "bfloat16": ("train.precision=mixed_bfloat16",),
    "drop path, dropout": ("model.drop_path_rate=0.2", "model.drop_rate=0.1"),
}
#: Rows whose rounding or random numbers depend on the devices.
_RESUMED_ONLY = ("bfloat16", "drop path, dropout")
COLUMNS = ("2 replicas", "2 workers", "resumed", "accumulated")
_PROCESSES = ("alone", "replicas", "workers")


@dataclass
class VerifyConfig:
    """The keys of the command. `rows` lists names such as ``AdamW,LoRA``; null selects all rows."""

    out: str = "verification"
    rows: str | None = None
    process: str | None = None  # internal: the task of a process that the command starts


def verify(out: Path, rows: list[str]) -> dict[str, dict[str, float]]:
    """Run all rows in each of four processes, and compare the results.

    The processes are a single device, two replicas, and two workers.

    Returns:
        The largest absolute difference for each row and column.

    Raises:
        UserError: `out` holds files that the command did not make, or a process failed. The message
            holds the last lines of the failed process's log.
    """
    from rich.progress import Progress

    _begin(out)
    address = [f"127.0.0.1:{port}" for port in free_ports(2)]
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
            if len(groups) == 2 and groups[1][0].poll() == 0:  # replicas and workers never overlap
                groups.append([_start(out, rows, "workers", index, address) for index in range(2)])
            if len(groups) == 3 and all(one.poll() == 0 for group in groups for one in group):
                break
            time.sleep(0.3)
        progress.update(bar, completed=len(list(out.glob("*/*/done"))))
    return {row: _differences(out, row) for row in rows}


def _begin(out: Path) -> None:
    """Create an empty directory. Empty it if an earlier call of the command made it.

    Raises:
        UserError: the directory holds files and the command did not make it.
    """
    mark = out / ".verification"
    if out.exists() and any(out.iterdir()) and not mark.exists():
        raise bad_value("out", out, "a new directory, or one that this command has made")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    mark.touch()


def table(differences: dict[str, dict[str, float]]) -> str:
    """Return the differences as a Markdown table. ``0`` means bit-identical, ``—`` not run."""

    def shown(cells: dict[str, float], column: str) -> str:
        if column not in cells:
            return "—"
        return f"{cells[column]:.0e}" if cells[column] else "0"

    rows = [[row, *(shown(cells, column) for column in COLUMNS)]
            for row, cells in differences.items()]  # fmt: skip
    return markdown_table(["", *COLUMNS], rows)


def failures(differences: dict[str, dict[str, float]]) -> list[str]:
    """Return the cells that exceed their limit.

    The limit is 0 for a resumed run, and `TOLERANCE` for all other columns.
    """
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


def _runs(rows: list[str], kind: str) -> list[tuple[str, str, tuple[str, ...]]]:
    """Return the runs of a process: row, name of the run, overrides."""
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
    """Compose the configuration. Group choices come first, so that values override keys in them."""
    overrides = (*ROWS[row], *more)
    chosen = [word for word in overrides if "." not in word.partition("=")[0]]
    values = [word for word in overrides if word not in chosen]
    optimizer = () if any(word.startswith("optimizer=") for word in chosen) else _OPTIMIZER
    return configure(*optimizer, *chosen, *_COMMON, *values)


def _run_all(out: Path, rows: list[str], kind: str) -> None:
    """Execute all runs of one kind in this process, with one distribution strategy."""
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
            _state(directory, STEPS).unlink()  # as if the process had been killed after step `HALF`
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
    """Return the largest absolute difference of two runs. NaN counts as infinite.

    Args:
        parts: prefixes that select arrays of the last state. The losses of all steps always count.
    """
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
    # numpy's `max` propagates every NaN; Python's `max` loses a NaN that is not first.
    worst = float(np.max([np.abs(a.astype("float64") - b).max() for a, b in pairs]))
    return worst if np.isfinite(worst) else float("inf")


def _steps(path: Path) -> list[dict]:
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [record for record in records if record["kind"] == "step"]


def _choose(rows: str | None) -> list[str]:
    """Return the named rows in the order of the table. A row name may contain a comma.

    Raises:
        UserError: a name is unknown, or `rows` names no row.
    """
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
    """Entry point. Exit with status 1 on a user's mistake or a difference above its limit."""
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
