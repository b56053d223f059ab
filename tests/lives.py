"""``python -m tests.lives KIND PLACE COUNT``: kill the processes of a run, or fill their disk.

The parent process only imports the libraries. Each process of a run is a fork of the parent and
imports nothing again.
"""

from __future__ import annotations

import itertools
import os
import random
import resource
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import cait_finetune.export.timm  # noqa: F401
import cait_finetune.workflow.finetune
import cait_finetune.workflow.setup
import cait_finetune.workflow.training
from cait_finetune.cli.compose import configure
from cait_finetune.errors import Interrupted, UserError
from cait_finetune.workflow.setup import prepare
from cait_tf.atomic import PREFIX
from tests.small_model import WORDS, small_variant

#: Exit status of a process that is refused, because another process uses the directory.
IN_USE = 3


#: A resumed run must restore the state of the loss scale, weight average, mixup and stochastic
#: depth. Only float16 has a loss scale, but a command refuses float16 on a CPU.
TRAINING = [
    *WORDS, "train.epochs=null", "train.batch_size=64",
    "train.log_every=2", "checkpoint.every_steps=3", "average=ema", "model.drop_path_rate=0.1",
    "augment.mixup=0.8", "schedule.warmup_epochs=null", "schedule.warmup_steps=5",
    "train.precision=mixed_float16",
]  # fmt: skip
WHOLE = [
    *WORDS, "train.epochs=2", "train.batch_size=256", "train.log_every=2",
    "export=[saved_model,timm]", "export.check_images=4", "logger=[csv,tensorboard]",
]  # fmt: skip


def train(words: list[str], directory: Path) -> None:
    """Train, without the stages after training."""
    config = _configured(words, directory)
    cait_finetune.workflow.training.train(config, prepare(config, directory))


def finetune(words: list[str], directory: Path) -> None:
    """Execute a whole run."""
    cait_finetune.workflow.finetune.finetune(_configured(words, directory), directory)


def _configured(words: list[str], directory: Path) -> object:
    config = configure(*words)
    if (directory / "config.yaml").exists():
        config.resume = str(directory)
    return config


def live(work: Callable[[], None], log: Path) -> int:
    """Call `work` in a fork, with output to `log`, and return the process id."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        with open(log, "a", encoding="utf-8") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        work()
        code = 0
    except UserError as error:
        print(f"MESSAGE {error}", flush=True)
        code = IN_USE if "in use by" in str(error) else 1
    except Interrupted as error:
        print(f"MESSAGE {error}", flush=True)
        code = error.code
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def exit_status(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def ended(pid: int) -> bool:
    return os.waitpid(pid, os.WNOHANG)[0] == pid


def kill_in_training(place: Path, kills: int) -> None:
    """Kill a run at random times during training, often while it writes a checkpoint."""
    cait_finetune.workflow.setup.check_precision = lambda *_: None
    log, whole, killed = place / "log", place / "whole", place / "killed"
    # A kill during a write of weights waits for the end of an epoch, up to 20 steps.
    words = [*TRAINING, f"train.steps={80 + 8 * kills}"]
    assert exit_status(live(lambda: train(words, whole), log)) == 0
    checkpoints = killed / "checkpoints"
    writing_kinds = {"state": f"{PREFIX}*state*", "weights": f"{PREFIX}*-[bl]*"}
    chance = random.Random(0)
    half_written = dict.fromkeys(writing_kinds, 0)
    done = stateless = tried = 0
    # Before any step, after the first step, then at random and during each kind of write in turn.
    moments = itertools.chain(
        [None, None], itertools.cycle(["state", "weights", None, "state", None])
    )
    writing = next(moments)
    while done < kills and tried < 2 * kills:
        tried += 1
        pid = live(lambda: train(words, killed), log)
        states, left = set(checkpoints.glob("state_*")), set(checkpoints.glob(f"{PREFIX}*"))
        begun = done >= 2
        wait_for = chance.randint(0, 1) if begun else 0  # number of new states
        until = None
        while not ended(pid):
            if writing:
                now = bool(set(checkpoints.glob(writing_kinds[writing])) - left)
            elif begun:
                if until is None and (not wait_for or set(checkpoints.glob("state_*")) - states):
                    until = time.monotonic() + chance.uniform(0, 0.5 if wait_for else 4)
                now = until is not None and time.monotonic() >= until
            else:
                now = (killed / ("metrics.jsonl" if done else "parameters.csv")).exists()
            if now:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                met = {
                    kind: bool(set(checkpoints.glob(p)) - left) for kind, p in writing_kinds.items()
                }
                for kind in met:
                    half_written[kind] += met[kind]
                stateless += not any(checkpoints.glob("state_*.safetensors"))
                if writing is None or met[writing]:  # else the write was over: try again
                    done += 1
                    writing = next(moments)
                break
            time.sleep(0.0002 if writing else 0.01)
        else:
            break  # the run finished too early
    if done == kills:
        assert exit_status(live(lambda: train(words, killed), log)) == 0
    print("KILLS", done, stateless, *half_written.values())


def kill_after_training(place: Path, kills: int) -> None:
    """Kill or end a run at random times after training, while a second process competes for it.

    A finished run is kept, and the next run starts from a copy of the trained run.
    """
    log, trained, whole = place / "log", place / "trained", place / "whole"
    assert exit_status(live(lambda: train(WHOLE, trained), log)) == 0
    shutil.copytree(trained, whole)
    began = time.monotonic()
    assert exit_status(live(lambda: finetune(WHOLE, whole), log)) == 0
    seconds = time.monotonic() - began
    chance = random.Random(0)
    done = refused = finished = 0
    while done < kills:
        run = place / f"killed_{finished}"
        if not run.exists():
            shutil.copytree(trained, run)
        rivals = [live(lambda run=run: finetune(WHOLE, run), log) for _ in range(2)]
        sign = chance.choice((signal.SIGKILL, signal.SIGTERM, signal.SIGHUP))
        statuses = _ended(rivals, chance.uniform(0, seconds), sign)
        refused += IN_USE in statuses
        assert set(statuses) <= {0, IN_USE, -signal.SIGKILL, Interrupted.code}, statuses
        if 0 in statuses:
            finished += 1
        else:
            done += 1
    if (run := place / f"killed_{finished}").exists():
        assert exit_status(live(lambda: finetune(WHOLE, run), log)) == 0
    print("KILLS", done, refused)


def _ended(rivals: list[int], after: float, sign: signal.Signals) -> list[int]:
    """Signal the last running process after `after` seconds alone; return all exit statuses."""
    statuses: dict[int, int] = {}
    until = None
    while len(statuses) < len(rivals):
        for pid in rivals:
            if pid not in statuses and (found := os.waitpid(pid, os.WNOHANG))[0]:
                statuses[pid] = os.waitstatus_to_exitcode(found[1])
        left = [pid for pid in rivals if pid not in statuses]
        if until is None and len(left) == 1:
            until = time.monotonic() + after
        if left and until is not None and time.monotonic() >= until:
            os.kill(left[0], sign)
            until = float("inf")
        time.sleep(0.005)
    return list(statuses.values())


def fill_the_disk(place: Path, stride: int) -> None:
    """Fill the disk before every `stride`-th write of a run in turn; resume it after each failure.

    A write is one of the first two to a file in one process.
    """
    run, whole = place / "killed", place / "whole"
    assert exit_status(live(lambda: finetune(WHOLE, whole), place / "log")) == 0
    met: list[str] = []
    filled = 0
    while True:
        reading, writing = os.pipe()
        out = Path(f"/dev/fd/{writing}")  # a pipe, because the limit does not allow a file
        known = set(met)

        def life(known: set[str] = known) -> None:
            full_at_a_new_write(run, known, stride)
            finetune(WHOLE, run)

        pid = live(life, out)
        os.close(writing)
        with open(reading, encoding="utf-8", errors="replace") as pipe:
            said = pipe.read()
        status = exit_status(pid)
        lines = said.splitlines()
        met += [line.removeprefix("NEW ") for line in lines if line.startswith("NEW ")]
        full = [line for line in lines if line.startswith("FULL ")]
        if not full:
            assert status == 0, said
            break
        filled += 1
        assert status == 1, (full, said)
        assert said.count("MESSAGE ") == 1, (full, said)
        assert "Traceback" not in said, (full, said)
    print("FULL", filled, *met)


def full_at_a_new_write(root: Path, met: set[str], stride: int) -> None:
    """Fill the disk for this process at its `stride`-th write below `root` that is not in `met`.

    A limit on file sizes imitates a full disk. The limit also holds for writes in C++ and Rust.
    """
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    counts: dict[str, int] = {}
    new: list[str] = []

    def hook(event: str, arguments: tuple) -> None:
        if len(new) == stride or event not in ("open", "cait_tf.atomic_path"):
            return
        path = (
            os.fsdecode(arguments[0]) if isinstance(arguments[0], str | bytes | os.PathLike) else ""
        )
        writes = event != "open" or (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR)
        if not (writes and path.startswith(f"{root}/")) or PREFIX in path:
            return
        counts[path] = counts.get(path, 0) + 1
        name = f"{Path(path).relative_to(root)}#{counts[path]}"
        if counts[path] > 2 or name in met:
            return
        new.append(name)
        os.write(1, f"\nNEW {name}\n".encode())
        if len(new) == stride:
            os.write(1, f"\nFULL {name}\n".encode())
            most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, most))

    sys.addaudithook(hook)


def main() -> None:
    kind, place, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    kinds = {"training": kill_in_training, "after": kill_after_training, "disk": fill_the_disk}
    with small_variant():
        kinds[kind](place, count)


if __name__ == "__main__":
    main()
