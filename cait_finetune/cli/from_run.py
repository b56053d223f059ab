"""Replace ``continue_from=RUN``, and ``run=RUN`` of ``evaluate``, by keys of that run."""

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
from cait_finetune.runs.nearby import no_run
from cait_finetune.runs.saved import read_run
from cait_tf.variants import get_variant

#: ``+NUMBER``, or several such values for ``-m``.
_MORE = re.compile(r"\+\d+(,\+\d+)*")
#: Keys of the initial weights. The new run has other initial weights.
_OF_START = ("model.weights_class_names", "model.weights_key")
#: Tuning methods that first train a part of the model and finally train all of it.
_STAGED = ("head_then_full", "gradual")
_OF_STAGES = ("tuning.head_epochs", "tuning.stages", "tuning.stage_epochs")


def continued(
    words: Sequence[str], folder: Path | None, recipe: str | None
) -> tuple[list[str], Path | None]:
    """Rewrite ``continue_from=RUN`` so that Hydra composes from the run's own ``config.yaml``.

    The new run has the settings of `RUN` and begins with its best weights. The optimizer and the schedule
    begin again. If `RUN` trained its head or some blocks first, the new run trains the whole model from its
    first step, unless `words` set a key of ``tuning``.

    Args:
        words: the keys of a command line, as typed.
        folder: the folder of ``-cd``.
        recipe: the recipe of ``-cn``.

    Returns:
        The words for Hydra, and the folder whose ``config.yaml`` is the recipe. Without `continue_from`
        both are as given.

    Raises:
        UserError: the run is not finished, or its files were changed; ``-cd``, ``-cn`` or
            `model.weights` is also given; or the number of further epochs, steps or images is missing.
    """
    typed = _by_key(words)
    more = {key: typed[key] for key in LENGTHS if typed.get(key, "").startswith("+")}
    place = read_text(typed.get(CONTINUE, "null"))
    if place == "null":
        for key, value in more.items():
            raise bad_value(key, value, "a number, or +NUMBER beside continue_from=RUN",
                            f"Write {key}={value.lstrip('+')}")  # fmt: skip
        return list(words), folder
    root = _finished(place)
    length = _length(root, typed, more)
    _refuse_beside(CONTINUE, place, typed, folder, recipe)
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
    if typed.get("resume", "null") != "null":  # the user repeats the command that began this run
        return [*kept, *ours], folder
    ours += [
        override("model.weights", str(RunDirectory(root).best_checkpoint)),
        *(["tuning.method=full"] if staged else []),
        *(f"{key}=null" for key in cleared),
    ]
    return [*kept, *(f"{ADDED}{word}" for word in ours)], root


def evaluated(
    words: Sequence[str], folder: Path | None, recipe: str | None
) -> tuple[list[str], Path | None]:
    """Replace ``run=RUN`` of ``evaluate`` by keys for the run's best weights and crop ratio.

    Hydra composes the other settings from the run's ``config.yaml``.

    Args:
        words: the keys of the command line, as typed.
        folder: the folder of ``-cd``.
        recipe: the recipe of ``-cn``.

    Returns:
        The words for Hydra, and the folder whose ``config.yaml`` is the recipe. Without `run` both are as
        given.

    Raises:
        UserError: `run` is not the directory of a run with weights; or ``-cd``, ``-cn`` or
            `model.weights` is also given.
    """
    typed = _by_key(words)
    if "run" not in typed:
        return list(words), folder
    place = read_text(typed["run"])
    root = expanded_path("run", place).absolute()
    saved = read_run(root)
    _refuse_beside("run", place, typed, folder, recipe)
    cleared, own = [*_OF_START], []
    if saved.preprocessing.resize_mode != "pad":
        crop = saved.preprocessing.crop_pct or get_variant(saved.model.name).crop_pct
        cleared.append("preprocessing.crop_pct")
        own.append(f"evaluation.crop_pcts=[{crop}]")
    ours = [
        override("model.weights", str(saved.directory.best_checkpoint)),
        *own,
        *(f"{key}=null" for key in (*cleared, CONTINUE)),
    ]
    kept = [word for word in words if not word.startswith("run=")]
    added = [word for word in ours if word.partition("=")[0] not in typed]
    return [*kept, *(f"{ADDED}{word}" for word in added)], root


def _by_key(words: Sequence[str]) -> dict[str, str]:
    return {word.partition("=")[0].lstrip("+"): word.partition("=")[2] for word in words}


def _refuse_beside(
    key: str, place: str, typed: dict[str, str], folder: Path | None, recipe: str | None
) -> None:
    """Refuse a recipe or weights in addition to a run, which has its own recipe and weights.

    Raises:
        UserError: ``-cd``, ``-cn`` or `model.weights` is given.
    """
    weights = typed.get("model.weights")
    for other, value in {"-cd": folder, "-cn": recipe, "model.weights": weights}.items():
        if value is not None:
            raise bad_value(key, f"{place} beside {other}", "one of the two",
                            f"Leave {other} out: the run has a recipe and weights.")  # fmt: skip


def _finished(place: str) -> Path:
    if not place.strip():
        raise bad_value(
            CONTINUE, "nothing", "the directory of a finished run", "Write continue_from=RUN"
        )
    root = expanded_path(CONTINUE, place).absolute()
    run = RunDirectory(root)
    if not run.config.is_file():
        raise no_run(CONTINUE, place, "the directory of a finished run, which holds a config.yaml")
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
