"""``continue_from=RUN train.epochs=+5``: a new run that trains a finished run's weights for longer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from omegaconf import OmegaConf

from cait_finetune.config.advice import advise
from cait_finetune.config.places import expanded_path
from cait_finetune.config.words import read_text
from cait_finetune.errors import bad_value
from cait_finetune.runs.command_line import ADDED, CONTINUE, LENGTHS, override
from cait_finetune.runs.directory import RunDirectory
from cait_finetune.runs.saved import read_run

#: One value that begins with +, or several for ``-m``.
_MORE = re.compile(r"\+\d+(,\+\d+)*")
#: Keys of the initial weights. The new run has other initial weights.
_OF_START = ("model.weights_class_names", "model.weights_key")
#: Tuning methods that begin with a part of the model and end with all of it.
_STAGED = ("head_then_full", "gradual")
_OF_STAGES = ("tuning.head_epochs", "tuning.stages", "tuning.stage_epochs")


def continued(
    words: Sequence[str], folder: Path | None, recipe: str | None
) -> tuple[list[str], Path | None]:
    """Rewrite ``continue_from=RUN`` so that Hydra composes from the run's own ``config.yaml``.

    The new run has the settings of `RUN` and begins with its best weights. The optimizer and the schedule
    begin again. A run that trained the head or some blocks first now trains the whole model at once.

    Args:
        words: the keys of a command line, as typed.
        folder: the folder of ``-cd``.
        recipe: the recipe of ``-cn``.

    Returns:
        The words for Hydra, and the folder whose ``config.yaml`` is the recipe. Without `continue_from`
        both are as given.

    Raises:
        UserError: the run is not finished or its files were changed, a word does not fit, or the number
            of further epochs, steps or images is missing.
    """
    typed = {word.partition("=")[0].lstrip("+"): word.partition("=")[2] for word in words}
    more = {key: typed[key] for key in LENGTHS if typed.get(key, "").startswith("+")}
    place = read_text(typed.get(CONTINUE, "null"))
    if place == "null":
        for key, value in more.items():
            raise bad_value(key, value, "a number, or +NUMBER beside continue_from=RUN",
                            f"Write {key}={value.lstrip('+')}")  # fmt: skip
        return list(words), folder
    root = _finished(place)
    length = _length(root, typed, more)
    for key, wrong in (
        ("-cd", folder),
        ("-cn", recipe),
        ("model.weights", typed.get("model.weights")),
    ):
        if wrong is not None:
            raise bad_value(
                CONTINUE, f"{place} beside {key}", "one of the two: the run has its own"
            )
    method = OmegaConf.select(RunDirectory(root).read_config(), "tuning.method")
    staged = method in _STAGED and not any(key.startswith("tuning") for key in typed)
    cleared = (
        *(key for key in LENGTHS if key != length),
        *(key for key in _OF_START if key not in typed),
        *(_OF_STAGES if staged else ()),
    )
    steps = f"{length}={more[length].replace('+', '')}"
    ours = [override(CONTINUE, str(root)), steps]
    kept = [
        word for word in words if word.partition("=")[0].lstrip("+") not in (CONTINUE, *LENGTHS)
    ]
    if typed.get("resume", "null") != "null":  # the first command again, with resume=DIR added
        return [*kept, *ours], folder
    ours += [
        override("model.weights", str(RunDirectory(root).best_checkpoint)),
        *(["tuning.method=full"] if staged else []),
        *(f"{key}=null" for key in cleared),
    ]
    return [*kept, *(f"{ADDED}{word}" for word in ours)], root


def _finished(place: str) -> Path:
    if not place.strip():
        raise bad_value(
            CONTINUE, "nothing", "the directory of a finished run", "Write continue_from=RUN"
        )
    root = expanded_path(CONTINUE, place).absolute()
    run = RunDirectory(root)
    if not run.config.is_file():
        raise bad_value(
            CONTINUE, place, "the directory of a finished run, which holds a config.yaml"
        )
    if not run.finished:
        raise bad_value(CONTINUE, f"{place}, whose run is not finished", "a finished run",
                        f"Finish it with {advise('resume', place)}")  # fmt: skip
    read_run(root)
    return root


def _length(root: Path, typed: dict[str, str], more: dict[str, str]) -> str:
    """Return the key that sets the length of the new run.

    Raises:
        UserError: no key or several keys set it, or the value is not ``+NUMBER``.
    """
    given = [key for key in LENGTHS if typed.get(key, "null") != "null"]
    if len(given) != 1 or not _MORE.fullmatch(typed[given[0]]):
        got = ", ".join(f"{key}={typed[key]}" for key in given) or "nothing"
        raise bad_value(
            "train.epochs",
            f"{got} beside {CONTINUE}",
            "+NUMBER, the number of further epochs (or train.steps, or train.examples)",
            f"Write {advise(CONTINUE, root)} train.epochs=+5",
        )
    return given[0]
