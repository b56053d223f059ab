"""The command line that started a run, quoted for a shell."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from cait_finetune.config.words import quoted, unquoted

#: The key of a finished run to train for longer, and the keys that set the length of training.
CONTINUE = "continue_from"
LENGTHS = ("train.epochs", "train.steps", "train.examples")
#: Prefix of the overrides that ``continue_from=RUN`` adds: Hydra then adds or replaces the key.
ADDED = "++"

_PROGRAM = ("python", "-m", "cait_finetune")


def command_line(directory: Path) -> str | None:
    """Return the command that started the run in `directory`, or `None` if Hydra did not start it.

    For a run of a sweep (``-m``), the command holds the run's own value of each swept key.
    """
    if not HydraConfig.initialized():
        return None
    hydra: Any = HydraConfig.get()  # a DictConfig, not Hydra's dataclass
    place = OmegaConf.select(hydra, "runtime.output_dir", throw_on_missing=False)
    if place is None or Path(place) != directory:  # Hydra's state is of another run in this process
        return None
    folders = [
        source.path for source in hydra.runtime.config_sources if source.provider == "command-line"
    ]
    words = [word for folder in folders for word in ("-cd", folder)]
    if hydra.job.config_name != "config":
        words += ["-cn", hydra.job.config_name]
    typed = list(map(unquoted, hydra.overrides.task))
    if any(word.startswith(f"{ADDED}{CONTINUE}=") for word in typed):
        words, typed = [], _as_typed(typed)
    return format_command([*words, *typed])


def _as_typed(words: list[str]) -> list[str]:
    """Return the words of a command with `CONTINUE` as the user typed them."""
    typed = []
    for word in words:
        key, _, value = word.removeprefix(ADDED).partition("=")
        if not word.startswith(ADDED) or key == CONTINUE:
            typed.append(f"{key}={value}")
        elif key in LENGTHS and value != "null":
            typed.append(f"{key}=+{value}")
    return typed


def format_command(words: list[str]) -> str:
    """Return ``python -m cait_finetune`` and `words`, quoted for a shell."""
    return shlex.join([*_PROGRAM, *words])


def run_again(directory: Path) -> str:
    """Return the command that repeats a run from its ``config.yaml``, whatever its recipe was."""
    return format_command(["-cd", str(directory.absolute()), "-cn", "config"])


def named_keys(command: str) -> dict[str, str]:
    """Return the keys and values in a command: ``{"optimizer.base_lr": "0.001", …}``.

    The options ``-cn`` and ``-cd`` are keys too.
    """
    recipe, folder, words = split_command(command)
    named = {"-cn": recipe} if recipe != "config" or folder else {}
    if folder:
        named["-cd"] = str(folder)
    for word in words:
        key, _, value = word.lstrip("+~").partition("=")
        named[key] = value
    return named


def split_command(command: str) -> tuple[str, Path | None, list[str]]:
    """Return the recipe, its folder or `None`, and the other words of a command."""
    words = shlex.split(command)[len(_PROGRAM) :]
    options = {"-cn": "config", "-cd": ""}
    typed = []
    while words:
        word = words.pop(0)
        if word in options and words:
            options[word] = words.pop(0)
        else:
            typed.append(word)
    folder = Path(options["-cd"]) if options["-cd"] else None
    return options["-cn"], folder, typed


def override(key: str, value: Any) -> str:
    """Return ``key=value`` in the syntax that Hydra parses."""
    return f"{key}={_as_hydra_reads(value)}"


def _as_hydra_reads(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{','.join(_as_hydra_reads(one) for one in value)}]"
    return quoted(value) if isinstance(value, str) else str(value)
