"""The Hydra command line: compose the configuration, run, and print an error as one message."""

from __future__ import annotations

import contextlib
import gc
import os
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import hydra
from hydra.conf import HydraConf
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from cait_finetune import config as configuration
from cait_finetune.cli.entry import Errors, command
from cait_finetune.cli.explain import explain, group_without_name, includes_itself
from cait_finetune.cli.loading import end_loading
from cait_finetune.cli.optuna import register_study
from cait_finetune.cli.output_place import named_by_time
from cait_finetune.config import Config
from cait_finetune.config.checks import on_disk
from cait_finetune.config.places import expanded, expanded_path
from cait_finetune.config.typed import check_typed
from cait_finetune.config.words import keep_text, read_text, unquoted
from cait_finetune.config.yaml_files import (
    Folders,
    data_folder,
    own_folder,
    refuse_hidden,
    use_own_sources,
)
from cait_finetune.errors import Interrupted, UserError, bad_value
from cait_finetune.runs.directory import RunDirectory
from cait_finetune.runs.resume import find_run, resumed
from cait_finetune.runtime.gc import loading
from cait_finetune.runtime.own_process import can_fork, in_own_process
from cait_finetune.runtime.signals import Ending
from cait_finetune.runtime.xla_cache import keep_compiled, seal
from cait_tf.atomic import write_text
from cait_tf.quiet import quiet_imports

#: Optuna's error at the end of a study in which every trial failed.
_NO_TRIAL = "No trials are completed yet."
#: Hydra's options that take a value: first the options that name a folder of recipes.
_FOLDER_OPTIONS = ("-cd", "--config-dir", "-cp", "--config-path")
_OPTIONS = (*_FOLDER_OPTIONS, "-cn", "--config-name", "-p", "--package", "-c", "--cfg")
#: Hydra's keys that hold a directory. Hydra does not expand ``~`` in them.
_DIRECTORIES = ("hydra.run.dir", "hydra.sweep.dir")
_COMPOSING = threading.RLock()
_FULL_ERROR = "HYDRA_FULL_ERROR"
_NUMBER_FOR_GROUP = "Config group override must be a string"
_SHOW_TRACEBACKS = os.environ.get(_FULL_ERROR) == "1"


class _RunFailed(Exception):
    """One of several runs failed with a `UserError`, whose message this error holds.

    The error lets Hydra's sweeper count the failure.
    """


def run_with_hydra(name: str, load: Callable[[], Callable[[Config, Path], object]]) -> None:
    """Compose the configuration from ``sys.argv`` and run ``load()(config, directory)``.

    Hydra's sweeper gets the return value of the stage. When one of several runs (``-m``) fails, the
    command prints its error at once and continues with the next run.

    On a user's mistake, the command prints one message and exits with status 1. A defect shows its
    traceback. With ``traceback=true`` or ``HYDRA_FULL_ERROR=1``, a user's mistake does so too.

    Args:
        name: name of the command.
        load: imports and returns the stage. The command calls it after it has checked the
            configuration, so that it reports a mistake before TensorFlow loads.
    """
    given = os.environ.get(_FULL_ERROR)
    with command("cait_finetune", importing=True) as errors:
        try:
            _run_composed(name, load, errors)
        finally:
            os.environ.pop(_FULL_ERROR, None)
            os.environ |= {} if given is None else {_FULL_ERROR: given}


def _run_composed(
    name: str, load: Callable[[], Callable[[Config, Path], object]], errors: Errors
) -> None:
    errors.tracebacks |= _SHOW_TRACEBACKS
    begun: list[int] = []
    compiled: Path | None = None
    forks = can_fork()

    @hydra.main(version_base="1.3", config_path=str(data_folder("conf")), config_name="config")
    def run(composed: DictConfig) -> object:
        nonlocal compiled
        begun.append(1)
        settings = HydraConfig.get()
        several = settings.mode is RunMode.MULTIRUN
        directory = Path(settings.runtime.output_dir)
        failure = RunDirectory(directory).failure
        if several:
            Ending.reopen()  # the end of the previous run does not count for this run
            # An earlier command may have left the file in this directory.
            with contextlib.suppress(OSError):
                failure.unlink()
        try:
            refuse_hidden(settings)
            if composed.get("resume") is None:
                config = configuration.from_hydra(composed)
                check_typed(settings.overrides.task, config, name)
            else:
                config = _resumed(composed, settings)
                directory = Path(config.resume)
            kept = config.train.compile_cache_dir
            compiled = keep_compiled(Path(kept) if kept else None, os.environ) or compiled
            with quiet_imports(), loading():
                stage = load()
            end_loading()

            def made() -> object:
                try:
                    value = stage(config, directory)
                    Ending.decide()
                    return value
                finally:
                    seal(compiled)

            if several and forks and settings.runtime.choices["hydra/launcher"] == "basic":
                return in_own_process(made)
            return made()
        except (UserError, OmegaConfBaseException) as error:
            errors.tracebacks |= bool(composed.get("traceback"))
            if errors.tracebacks:
                raise
            if not several:
                sys.exit(f"cait_finetune: {explain(error)}")
            # The command that started the runs reads the file, maybe in another process.
            text = f"{_which_run(settings)}: {explain(error)}"
            with contextlib.suppress(OSError):
                write_text(failure, f"{text}\n")
            print(f"cait_finetune: {text}", file=sys.stderr, flush=True)
            if settings.runtime.choices["hydra/sweeper"] != "basic":  # Optuna counts failures
                raise _RunFailed(text) from None
            return None
        except Interrupted as error:
            Ending.decide()
            message, code = str(error), error.code
        # The error's frames hold TensorFlow's thread pools. Free them before the interpreter exits.
        gc.collect()
        print(f"cait_finetune: {message}", file=sys.stderr)
        sys.exit(code)

    _prepare_hydra()
    register_study()  # after Hydra has loaded its plugins, which store their own defaults
    # With the variable set, Hydra raises errors instead of printing them.
    os.environ[_FULL_ERROR] = "1"
    try:
        with _arguments_as_typed():
            run()
    except RecursionError:
        if _SHOW_TRACEBACKS or begun:
            raise
        sys.exit(f"cait_finetune: {includes_itself()}")
    except (HydraException, OmegaConfBaseException) as error:
        if _SHOW_TRACEBACKS:
            raise
        sys.exit(f"cait_finetune: {explain(error)}")
    except _RunFailed as error:
        sys.exit(f"cait_finetune: {error}")
    except OSError as error:
        if begun or error.filename is None:
            raise
        # Hydra failed to create the run's directory.
        key = "hydra.sweep.dir" if {"-m", "--multirun"} & set(sys.argv) else "hydra.run.dir"
        expected = f"a directory that can be made ({error.strerror})"
        raise bad_value(key, error.filename, expected, "Choose another") from error
    except ValueError as error:
        if str(error) == _NO_TRIAL:
            problem = bad_value("hydra/sweeper", "no trial that came to its end", "at least one")
            sys.exit(f"cait_finetune: {problem}\n  why each ended stands above")
        if _SHOW_TRACEBACKS or not str(error).startswith(_NUMBER_FOR_GROUP):
            raise
        sys.exit(f"cait_finetune: {group_without_name(sys.argv)}")


def _which_run(hydra_config: HydraConf) -> str:
    return f"run {hydra_config.job.num}, {' '.join(map(unquoted, hydra_config.overrides.task))}"


@contextlib.contextmanager
def _arguments_as_typed() -> Iterator[None]:
    """Rewrite `sys.argv` inside the block, so that Hydra reads each value as the user typed it.

    The folder of ``-cd DIR`` leaves `sys.argv` and becomes `Folders.own`.

    Raises:
        UserError: an option or ``resume=`` lacks its value, the folder cannot be used, or it lacks
            the ``config.yaml`` that ``-cn config`` names.
    """
    typed = sys.argv
    folder, words = _without_folder(typed[1:])
    several = any(word == "-m" or re.fullmatch("--m[ultirn]*", word) for word in words)
    _refuse_empty_resume(words)
    _say_replaced(words)
    words = keep_text(_from_home(words), sweep=several or "hydra.mode=MULTIRUN" in words)
    Folders.own = own_folder(folder) if folder else None
    if folder and _named(words) == "config" and not (folder / "config.yaml").is_file():
        raise bad_value(
            "-cn", f"config, which {folder} does not hold", "a config.yaml in the folder of -cd",
            "Leave out -cn config to start from the defaults.",
        )  # fmt: skip
    sys.argv = [typed[0], *words]
    try:
        yield
    finally:
        sys.argv, Folders.own = typed, None


def _from_home(words: Iterable[str]) -> list[str]:
    """Return the words with ``~`` expanded in Hydra's directories."""
    pairs = ((word, *word.partition("=")[::2]) for word in words)
    return [
        f"{key}={expanded(key, value)}" if key in _DIRECTORIES and value.startswith("~") else word
        for word, key, value in pairs
    ]


def _refuse_empty_resume(words: Iterable[str]) -> None:
    """Refuse ``resume=`` without a value.

    An unset shell variable leaves the value empty, and Hydra would start a new run.

    Raises:
        UserError: a word sets ``resume`` to nothing.
    """
    for word in words:
        key, sign, value = word.partition("=")
        if sign and key.lstrip("+") == "resume" and read_text(value).strip() == "":
            raise bad_value(
                "resume", "nothing", "the directory of a run, or null", "Write resume=DIR"
            )


def _say_replaced(words: Iterable[str]) -> None:
    """Print a line for each value that a later word replaces. Hydra takes the last one."""
    typed: dict[str, str] = {}
    for word in words:
        key, sign, _ = word.partition("=")
        key = key.lstrip("+")
        if sign and typed.get(key, word) != word:
            print(f"cait_finetune: {word} replaces {typed[key]}", file=sys.stderr, flush=True)
        if sign and not word.startswith("-"):
            typed[key] = word


def _named(words: list[str]) -> str | None:
    """Return the value of ``-cn``. `None`: the words do not contain it."""
    for word, following in pairwise([*words, ""]):
        option, sign, value = word.partition("=")
        if option in ("-cn", "--config-name"):
            return value if sign else following
    return None


def _without_folder(words: list[str]) -> tuple[Path | None, list[str]]:
    """Split off the folder of ``-cd DIR`` or ``-cp DIR``, which mean the same here.

    Returns:
        The folder, or `None`, and the other words. Options come first, as Hydra requires.

    Raises:
        UserError: the option lacks its value, or the words name two folders.
    """
    folder, options, keys = None, [], []
    left = iter(words)
    for word in left:
        option, sign, value = word.partition("=")
        if option in _FOLDER_OPTIONS:
            value = value if sign else next(left, "")
            if folder or not value:
                got = f"{folder} and {value}" if folder else "nothing"
                raise bad_value(option, got, "one folder, of recipes of your own")
            folder = expanded_path(option, value)
        elif word in _OPTIONS:
            options += [word, *([value] if (value := next(left, None)) is not None else [])]
        else:
            (options if word.startswith("-") else keys).append(word)
    return folder, [*options, *keys]


def _run_directory(resume: str | None, otherwise: str) -> str:
    """Return the directory in which Hydra runs: the directory of a resumed run, or `otherwise`.

    Raises:
        UserError: `resume` is not the directory of a run.
    """
    return otherwise if resume is None else str(find_run(resume))


def _resumed(composed: DictConfig, hydra_config: HydraConf) -> Config:
    groups = {path.name for path in data_folder("conf").iterdir() if path.is_dir()}
    recipe = hydra_config.job.config_name != "config"
    if any(word.startswith("hydra.run.dir") for word in hydra_config.overrides.hydra):
        raise bad_value("hydra.run.dir", "a value beside resume", "none: a run stays where it is")
    composed = configuration.with_absolute_paths(composed)  # a run stores absolute paths
    config, changes = resumed(composed, list(hydra_config.overrides.task), groups, recipe)
    for change in changes:
        print(f"resume {change}", file=sys.stderr)
    return config


def configure(*overrides: str, recipe: str = "config", folder: Path | None = None) -> Config:
    """Return the configuration of ``python -m cait_finetune -cn RECIPE OVERRIDES…``.

    Args:
        folder: folder of your own recipes, as for ``-cd``. `None`: our recipes only.

    Raises:
        UserError: an override, the recipe or the folder has a mistake.
    """
    return configure_run(*overrides, recipe=recipe, folder=folder)[0]


def configure_run(
    *overrides: str, recipe: str = "config", folder: Path | None = None
) -> tuple[Config, Path, bool]:
    """Return the configuration, as `configure` does, and the directory of the run.

    With ``resume=DIR``, both are those of the resumed run.

    Returns:
        The configuration, the directory, and whether the time names the directory. The caller must
        claim a directory that the time names.

    Raises:
        UserError: an override, the recipe or the folder has a mistake.
    """
    _refuse_empty_resume(overrides)
    words = keep_text(_from_home(overrides))
    try:
        with _composing(folder):
            composed = hydra.compose(recipe, words, return_hydra_config=True)
            refuse_hidden(composed.hydra)
            on_disk("hydra.run.dir", composed.hydra.run.dir)
            directory = Path(composed.hydra.run.dir)
            by_time = composed.get("resume") is None and named_by_time(composed.hydra.run)
            with open_dict(composed):
                hydra_config = composed.pop("hydra")
            if composed.get("resume") is not None:
                return _resumed(composed, hydra_config), directory, by_time
            config = configuration.from_hydra(composed)
            check_typed(words, config, "train")
            return config, directory, by_time
    except ValueError as error:
        if not str(error).startswith(_NUMBER_FOR_GROUP):
            raise
        raise group_without_name(overrides) from error


def sweeper_params(recipe: str, folder: Path | None = None) -> dict[str, Any]:
    """Return the keys that a recipe varies, with their values: its ``hydra.sweeper.params``.

    Raises:
        UserError: the recipe does not exist or has a mistake.
    """
    with _composing(folder):
        composed = hydra.compose(recipe, return_hydra_config=True)
        return dict(composed.hydra.sweeper.get("params") or {})


@contextlib.contextmanager
def _composing(folder: Path | None) -> Iterator[None]:
    """Let `hydra.compose` find the files in `folder`, then ours, inside the block.

    Raises:
        UserError: Hydra cannot compose the configuration, or `folder` cannot be used.
    """
    conf = str(data_folder("conf"))
    try:
        with _hydra_alone():
            _prepare_hydra()
            Folders.own = own_folder(expanded_path("-cd", folder)) if folder else None
            with hydra.initialize_config_dir(version_base="1.3", config_dir=conf):
                yield
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(explain(error)) from error
    except RecursionError as error:
        raise includes_itself() from error
    finally:
        Folders.own = None


@contextlib.contextmanager
def _hydra_alone() -> Iterator[None]:
    """Hide the calling program's Hydra state inside the block. One thread at a time may compose."""
    with _COMPOSING:
        theirs = GlobalHydra.instance()
        GlobalHydra.set_instance(GlobalHydra.__new__(GlobalHydra))
        GlobalHydra.instance().clear()
        try:
            yield
        finally:
            GlobalHydra.set_instance(theirs)


def _prepare_hydra() -> None:
    """Register the schema, the recipes and our resolver with Hydra and OmegaConf."""
    configuration.register()
    use_own_sources()
    OmegaConf.register_new_resolver("run_directory", _run_directory, replace=True)
