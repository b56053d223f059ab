"""The command line: compose the configuration, run, and show an error as one message."""

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

#: What Optuna says at the end of a study whose trials have all failed.
_NO_TRIAL = "No trials are completed yet."
#: Hydra's options with a value, of which some name a folder of recipes.
_FOLDER_OPTIONS = ("-cd", "--config-dir", "-cp", "--config-path")
_OPTIONS = (*_FOLDER_OPTIONS, "-cn", "--config-name", "-p", "--package", "-c", "--cfg")
#: Hydra's keys whose value is a directory, which it takes as it stands.
_DIRECTORIES = ("hydra.run.dir", "hydra.sweep.dir")
_COMPOSING = threading.RLock()
_FULL_ERROR = "HYDRA_FULL_ERROR"
_NUMBER_FOR_GROUP = "Config group override must be a string"
_SHOW_TRACEBACKS = os.environ.get(_FULL_ERROR) == "1"


class _RunFailed(Exception):
    """One run of several ended with a `UserError`, whose message it has, for Hydra to count."""


def run_with_hydra(load: Callable[[], Callable[[Config, Path], object]]) -> None:
    """Compose the configuration from ``sys.argv`` and run ``load()(config, directory)``.

    Hydra's sweeper gets what the stage returns. When one run of several (``-m``) fails, its error is
    printed at once; the others and their summary follow.

    A user's mistake exits with status 1 and one message, a defect with a traceback. ``traceback=true``
    or ``HYDRA_FULL_ERROR=1`` shows the traceback of both.

    Args:
        load: imports the stage. It is called after the configuration was checked, so that a mistake is
            answered before TensorFlow loads.
    """
    given = os.environ.get(_FULL_ERROR)
    with command("cait_finetune", importing=True) as errors:
        try:
            _run_composed(load, errors)
        finally:
            os.environ.pop(_FULL_ERROR, None)
            os.environ |= {} if given is None else {_FULL_ERROR: given}


def _run_composed(load: Callable[[], Callable[[Config, Path], object]], errors: Errors) -> None:
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
            Ending.reopen()  # the run before this one decided nothing
            # The file may be of an earlier command in the same place.
            with contextlib.suppress(OSError):
                failure.unlink()
        try:
            refuse_hidden(settings)
            if composed.get("resume") is None:
                config = configuration.from_hydra(composed)
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
            # The file is for the command that started the runs, maybe in another process.
            text = f"{_which_run(settings)}: {explain(error)}"
            with contextlib.suppress(OSError):
                write_text(failure, f"{text}\n")
            print(f"cait_finetune: {text}", file=sys.stderr, flush=True)
            if settings.runtime.choices["hydra/sweeper"] != "basic":  # it counts failures itself
                raise _RunFailed(text) from None
            return None
        except Interrupted as error:
            Ending.decide()
            message, code = str(error), error.code
        # What the error's frames hold, as TensorFlow's thread pools, ends before the interpreter does.
        gc.collect()
        print(f"cait_finetune: {message}", file=sys.stderr)
        sys.exit(code)

    _prepare_hydra()
    register_study()  # after the plugins were found, which store their own
    # Hydra would print errors in its own words; with this set it hands them to us.
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
        # Hydra was making the directory.
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
    """Hydra reads `sys.argv`: inside, what was typed as Hydra reads it back, without ``-cd DIR``."""
    typed = sys.argv
    folder, words = _without_folder(typed[1:])
    several = any(word == "-m" or re.fullmatch("--m[ultirn]*", word) for word in words)
    _refuse_empty_resume(words)
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
    """The words, in which Hydra's directories that begin with ``~`` do so with the home directory."""
    pairs = ((word, *word.partition("=")[::2]) for word in words)
    return [
        f"{key}={expanded(key, value)}" if key in _DIRECTORIES and value.startswith("~") else word
        for word, key, value in pairs
    ]


def _refuse_empty_resume(words: Iterable[str]) -> None:
    """Refuse ``resume=`` without a value, as of an unset variable: it would start a new run.

    Raises:
        UserError: a word is such.
    """
    for word in words:
        key, sign, value = word.partition("=")
        if sign and key.lstrip("+") == "resume" and read_text(value).strip() == "":
            raise bad_value(
                "resume", "nothing", "the directory of a run, or null", "Write resume=DIR"
            )


def _named(words: list[str]) -> str | None:
    """The value of ``-cn``, `None` where it is not among the words."""
    for word, following in pairwise([*words, ""]):
        option, sign, value = word.partition("=")
        if option in ("-cn", "--config-name"):
            return value if sign else following
    return None


def _without_folder(words: list[str]) -> tuple[Path | None, list[str]]:
    """The folder of ``-cd DIR`` or ``-cp DIR``, which mean the same here, and the other words.

    Options come first, as Hydra wants them.
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
    """Where Hydra makes a directory: for a run that is gone on with, where it is already."""
    return otherwise if resume is None else str(find_run(resume))


def _resumed(composed: DictConfig, hydra_config: HydraConf) -> Config:
    groups = {path.name for path in data_folder("conf").iterdir() if path.is_dir()}
    recipe = hydra_config.job.config_name != "config"
    if any(word.startswith("hydra.run.dir") for word in hydra_config.overrides.hydra):
        raise bad_value("hydra.run.dir", "a value beside resume", "none: a run stays where it is")
    composed = configuration.with_absolute_paths(composed)  # as the run has them
    config, changes = resumed(composed, list(hydra_config.overrides.task), groups, recipe)
    for change in changes:
        print(f"resume {change}", file=sys.stderr)
    return config


def configure(*overrides: str, recipe: str = "config", folder: Path | None = None) -> Config:
    """What ``python -m cait_finetune -cn RECIPE OVERRIDES…`` is configured with, for notebooks.

    Args:
        folder: of recipes of one's own, as ``-cd`` takes it.

    Raises:
        UserError: a mistake in an override.
    """
    return configure_run(*overrides, recipe=recipe, folder=folder)[0]


def configure_run(
    *overrides: str, recipe: str = "config", folder: Path | None = None
) -> tuple[Config, Path, bool]:
    """As `configure`, and the directory that the run would get; ``resume=DIR`` is resumed.

    Returns:
        The configuration, the directory, and whether that is named by the time, to be claimed.

    Raises:
        UserError: a mistake in an override.
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
            return configuration.from_hydra(composed), directory, by_time
    except ValueError as error:
        if not str(error).startswith(_NUMBER_FOR_GROUP):
            raise
        raise group_without_name(overrides) from error


def sweeper_params(recipe: str, folder: Path | None = None) -> dict[str, Any]:
    """What a recipe varies: its ``hydra.sweeper.params``.

    Raises:
        UserError: there is no such recipe, or a mistake in it.
    """
    with _composing(folder):
        composed = hydra.compose(recipe, return_hydra_config=True)
        return dict(composed.hydra.sweeper.get("params") or {})


@contextlib.contextmanager
def _composing(folder: Path | None) -> Iterator[None]:
    """Where `hydra.compose` finds our files, after those in `folder`."""
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
    """Set the Hydra of the calling program aside, and let one thread at a time compose."""
    with _COMPOSING:
        theirs = GlobalHydra.instance()
        GlobalHydra.set_instance(GlobalHydra.__new__(GlobalHydra))
        GlobalHydra.instance().clear()
        try:
            yield
        finally:
            GlobalHydra.set_instance(theirs)


def _prepare_hydra() -> None:
    """Make the schema, the recipes and our resolver known to it."""
    configuration.register()
    use_own_sources()
    OmegaConf.register_new_resolver("run_directory", _run_directory, replace=True)
