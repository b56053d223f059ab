"""Check the output directory of a run or sweep, and claim it, before Hydra makes it."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import sys
from pathlib import Path
from typing import Any, ClassVar

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from cait_finetune.config.checks import on_disk
from cait_finetune.data.image_files.listing import OUTPUT_MARK
from cait_finetune.errors import UserError, bad_value
from cait_finetune.runs.command_line import override
from cait_finetune.runs.directory import RunDirectory

_ABOVE = 3  # outputs/DATASET/MODEL


class OutputPlace(Callback):
    """Check and claim `hydra.run.dir` or `hydra.sweep.dir`. `claimed` is the last claimed directory.

    The program exits if the directory is a URL such as ``gs://bucket/run``. A directory that is
    named after the current time has one owner: a command of the same second gets the next free name.
    """

    claimed: ClassVar[Path | None] = None

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Check and claim `hydra.run.dir`. Hydra calls this method before a run."""
        _settle("hydra.run.dir", config, config.hydra.run)

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Check and claim `hydra.sweep.dir`. Hydra calls this method before the runs of ``-m``."""
        _settle("hydra.sweep.dir", config, config.hydra.sweep)
        root = RunDirectory(Path(config.hydra.sweep.dir))
        if root.config.is_file() and root.identity.is_file():
            sys.exit("cait_finetune: " + str(bad_value(
                "hydra.sweep.dir", root.root, "a directory that is not itself a run", "Choose another."
            )))  # fmt: skip
        _keep_configuration(root.root)


def _settle(key: str, config: DictConfig, node: DictConfig) -> None:
    try:
        # Do not resolve: a resolver may refuse `resume`, and Hydra should report that error later.
        on_disk(key, OmegaConf.to_container(node, resolve=False)["dir"])
        if not named_by_time(node) or config.get("resume") is not None:
            return
        OutputPlace.claimed = claim(key, Path(node.dir))
        claimed = str(OutputPlace.claimed)
    except UserError as error:
        # Hydra turns an exception in a callback into a warning, but lets SystemExit pass.
        sys.exit(f"cait_finetune: {error}")
    with read_write(config), open_dict(config):
        node.dir = claimed
        # Hydra composes each run of a multirun again, from these overrides.
        config.hydra.overrides.hydra.append(override(key, claimed))


def _keep_configuration(directory: Path) -> None:
    """Copy an earlier sweep's ``multirun.yaml`` to ``multirun-1.yaml``, …, before Hydra replaces it."""
    earlier = directory / "multirun.yaml"
    if not earlier.is_file():
        return
    names = (directory / f"multirun-{number}.yaml" for number in itertools.count(1))
    kept = next(path for path in names if not path.exists())
    try:
        shutil.copyfile(earlier, kept)
    except OSError as error:
        sys.exit("cait_finetune: " + str(bad_value(
            "hydra.sweep.dir", directory, f"a directory that can be written ({error.strerror})"
        )))  # fmt: skip


def named_by_time(node: DictConfig) -> bool:
    """Return whether the ``dir`` of Hydra's run or sweep contains the time."""
    return "${now:" in OmegaConf.to_container(node, resolve=False)["dir"]


def claim(key: str, directory: Path) -> Path:
    """Make a new directory: `directory`, or the first free name of ``NAME-2``, ``NAME-3``, ….

    Args:
        key: the key that the message of an error names.

    Returns:
        The directory that was made.

    Raises:
        UserError: the directory cannot be made.
    """
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        for number in itertools.count(1):
            made = directory if number == 1 else directory.with_name(f"{directory.name}-{number}")
            with contextlib.suppress(FileExistsError):
                made.mkdir()
                # With the mark, later commands skip the directory when they list images.
                (made / OUTPUT_MARK).touch()
                return made
    except OSError as error:
        raise bad_value(
            key, directory, f"a directory that can be made ({error.strerror})"
        ) from error


def release(directory: Path) -> None:
    """Remove a claimed directory that holds no output, and the folders above it that become empty.

    The function does not remove a directory that the user named.
    """
    if not (directory / OUTPUT_MARK).is_file():
        return
    ours = {directory / OUTPUT_MARK, directory / ".lock", directory / "multirun.yaml"}
    inside = sorted(
        directory.rglob("*"), reverse=True
    )  # what is in a folder comes before the folder
    if any(path.is_file() and path not in ours for path in inside):
        return
    with contextlib.suppress(OSError):
        for path in inside:
            path.rmdir() if path.is_dir() else path.unlink()
        directory.rmdir()
        for parent in itertools.islice(directory.parents, _ABOVE):
            parent.rmdir()  # raises at a folder that holds other runs
