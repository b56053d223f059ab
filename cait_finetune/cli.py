"""The command line: compose the configuration, run, and show an error as one message."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
from hydra.conf import HydraConf
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.errors import HydraException, OverrideParseException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from cait_finetune import config as configuration
from cait_finetune.compile_cache import keep_compiled
from cait_finetune.config import Config
from cait_finetune.config.checks import on_disk
from cait_finetune.errors import Interrupted, UserError, bad_value, suggest
from cait_finetune.garbage import loading
from cait_finetune.resume import find_run, resumed
from cait_finetune.study import register_study
from cait_tf.quiet import quiet_imports

#: Which extra brings a plugin of Hydra's.
_EXTRAS = {"hydra/sweeper=optuna": "sweep", "hydra/launcher=submitit": "cluster"}
#: What Optuna says at the end of a study whose trials have all failed.
_NO_TRIAL = "No trials are completed yet."
_PACKAGE = Path(__file__).resolve().parent
_FULL_ERROR = "HYDRA_FULL_ERROR"
_NUMBER_FOR_GROUP = "Config group override must be a string"
_SHOW_TRACEBACKS = os.environ.get(_FULL_ERROR) == "1"


def data_folder(name: str) -> Path:
    """``conf`` or ``recipes``: inside the installed package, or beside it in a checkout."""
    inside = _PACKAGE / name
    return inside if inside.is_dir() else _PACKAGE.parent / name


class RecipesPlugin(SearchPathPlugin):
    """Let ``-cn NAME`` find the recipes."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        search_path.append("cait_finetune", f"file://{data_folder('recipes')}")


class _RunFailed(Exception):
    """One run of several ended with a `UserError`, whose message it has, for Hydra to count."""


def run_story(story: Callable[[], Callable[[Config, Path], object]]) -> None:
    """Compose the configuration and tell a story with it: ``story()(config, directory)``.

    A sweeper is given what the story returns. Of several runs (``-m``) one that fails says so at
    once, and keeps neither the others from being made nor their summary.

    Exit status 1 and one message on what a user can mend, traceback on a defect; ``traceback=true`` or
    the environment variable ``HYDRA_FULL_ERROR`` shows the traceback of both. ``story`` is called
    when the configuration is known to be right: a mistake is answered before TensorFlow has loaded.
    """

    failed: list[str] = []
    process = os.getpid()

    @hydra.main(version_base="1.3", config_path=str(data_folder("conf")), config_name="config")
    def run(composed: DictConfig) -> object:
        try:
            directory = Path(HydraConfig.get().runtime.output_dir)
            if composed.resume is None:
                config = configuration.from_hydra(composed)
            else:
                config = _resumed(composed, HydraConfig.get())
                directory = Path(config.resume)
            compiled = config.train.compile_cache_dir
            keep_compiled(Path(compiled) if compiled else None, os.environ)
            with quiet_imports(), loading():
                tell = story()
            return tell(config, directory)
        except UserError as error:
            if composed.traceback or _SHOW_TRACEBACKS:
                raise
            if HydraConfig.get().mode is not RunMode.MULTIRUN:
                sys.exit(f"cait_finetune: {error}")
            # Optuna is to know of it, and what stands in `failed` of another process is lost.
            if (
                HydraConfig.get().runtime.choices["hydra/sweeper"] != "basic"
                or os.getpid() != process
            ):
                raise _RunFailed(str(error)) from None
            failed.append(_which_run(HydraConfig.get()))
            print(f"cait_finetune: {error}\n  in {failed[-1]}", file=sys.stderr, flush=True)
            return None
        except Interrupted as error:
            print(f"cait_finetune: {error}", file=sys.stderr)
            sys.exit(error.code)

    _prepare_hydra()
    register_study()  # after the plugins were found, which store their own
    # Hydra would print errors in its own words; with this set it hands them to us.
    os.environ[_FULL_ERROR] = "1"
    try:
        run()
    except (HydraException, OmegaConfBaseException) as error:
        if _SHOW_TRACEBACKS:
            raise
        sys.exit(f"cait_finetune: {explain(error)}")
    except _RunFailed as error:
        sys.exit(f"cait_finetune: {error}")
    except ValueError as error:
        if str(error) == _NO_TRIAL:
            problem = bad_value("hydra/sweeper", "no trial that came to its end", "at least one")
            sys.exit(f"cait_finetune: {problem}\n  why each ended stands above")
        if _SHOW_TRACEBACKS or not str(error).startswith(_NUMBER_FOR_GROUP):
            raise
        sys.exit(f"cait_finetune: {_group_without_name(sys.argv)}")
    except OSError as error:
        if _SHOW_TRACEBACKS or not error.filename:
            raise
        sys.exit(
            f"cait_finetune: {error.filename}: got {error.strerror}, expected a path that can be "
            "written\n  free some space, or choose another hydra.run.dir"
        )
    except KeyboardInterrupt:
        print("cait_finetune: interrupted; what was finished is kept", file=sys.stderr)
        sys.exit(130)
    if failed:
        sys.exit(f"cait_finetune: failed, as said above: {'; '.join(failed)}")


def _which_run(hydra_config: HydraConf) -> str:
    return f"run {hydra_config.job.num}, {' '.join(hydra_config.overrides.task)}"


def _run_directory(resume: str | None, otherwise: str) -> str:
    """Where Hydra makes a directory: for a run that is gone on with, where it is already."""
    return otherwise if resume is None else str(find_run(resume))


def _resumed(composed: DictConfig, hydra_config: HydraConf) -> Config:
    groups = {path.name for path in data_folder("conf").iterdir() if path.is_dir()}
    recipe = hydra_config.job.config_name != "config"
    if any(word.startswith("hydra.run.dir") for word in hydra_config.overrides.hydra):
        raise bad_value("hydra.run.dir", "a value beside resume", "none: a run stays where it is")
    config, changes = resumed(composed, list(hydra_config.overrides.task), groups, recipe)
    for change in changes:
        print(f"resume {change}", file=sys.stderr)
    return config


def main() -> None:
    """Entry point of ``python -m cait_finetune``."""

    def story() -> Callable[[Config, Path], object]:
        from cait_finetune.story.finetune import finetune

        def score(config: Config, directory: Path) -> float | None:
            """What a sweeper makes as high as it can: the validation metric of the best epoch."""
            result = finetune(config, directory)
            return result.get(f"validation_{config.dataset.judged_by}") if result else None

        return score

    run_story(story)


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
) -> tuple[Config, Path]:
    """As `configure`, and the directory that the run would get; ``resume=DIR`` is gone on with.

    Raises:
        UserError: a mistake in an override.
    """
    try:
        with _composing(folder) as extra:
            words = [*overrides, *extra]
            composed = hydra.compose(recipe, words, return_hydra_config=True)
            on_disk("hydra.run.dir", composed.hydra.run.dir)
            directory = Path(composed.hydra.run.dir)
            with open_dict(composed):
                hydra_config = composed.pop("hydra")
            if composed.resume is not None:
                return _resumed(composed, hydra_config), directory
            return configuration.from_hydra(composed), directory
    except ValueError as error:
        if not str(error).startswith(_NUMBER_FOR_GROUP):
            raise
        raise _group_without_name(overrides) from error


def sweeper_params(recipe: str, folder: Path | None = None) -> dict[str, Any]:
    """What a recipe varies: its ``hydra.sweeper.params``.

    Raises:
        UserError: there is no such recipe, or a mistake in it.
    """
    with _composing(folder) as extra:
        composed = hydra.compose(recipe, extra, return_hydra_config=True)
        return dict(composed.hydra.sweeper.get("params") or {})


@contextmanager
def _composing(folder: Path | None) -> Iterator[list[str]]:
    """Where `hydra.compose` finds our files, and the words that it needs for it."""
    _prepare_hydra()
    conf = data_folder("conf")
    if folder and not folder.is_dir():
        raise _no_recipes(folder)
    first = folder.absolute() if folder else conf
    try:
        with hydra.initialize_config_dir(version_base="1.3", config_dir=str(first)):
            yield [f"hydra.searchpath=[file://{conf}]"] if folder else []
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(explain(error)) from error


def _prepare_hydra() -> None:
    """Make the schema, the recipes and our resolver known to it."""
    configuration.register()
    Plugins.instance().register(RecipesPlugin)
    OmegaConf.register_new_resolver("run_directory", _run_directory, replace=True)


def explain(error: BaseException) -> str:
    """One message of ours for an error of Hydra's or OmegaConf's."""
    if ours := next((one for one in _causes(error) if isinstance(one, UserError)), None):
        return str(ours)
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    first = str(cause).strip().splitlines()[0]
    key = getattr(cause, "full_key", None)
    if isinstance(error, OverrideParseException):
        name, _, value = error.override.partition("=")
        hint = (
            f"a value with brackets or commas in it needs quotes of its own: '{name}=\"{value}\"'"
            if value
            else f"give it a value: {name}=…"
        )
        return str(bad_value("command line", repr(error.override), f"key=value ({first})", hint))
    if match := re.match(r"Key '(.+)' (?:is )?not in (?:struct|'(\w+)')", first):
        known = list(getattr(cause.object_type, "__dataclass_fields__", _fields("Config")))
        optuna = match[2] == "BasicSweeperConf" and "with Optuna: add hydra/sweeper=optuna"
        hint = optuna or suggest(match[1], known)
        return str(bad_value(key or match[1], "an unknown key", _listed(known), hint))
    if match := re.search(r"In '.*': Could not find '(hydra/\w+)/([^']+)'", str(error)):
        return str(_plugin_not_found(match[1], match[2], str(error)))
    if match := re.search(r"In '.*': Could not (?:find|load) '(\w+)/([^']*)'", str(error)):
        options = sorted(path.stem for path in (data_folder("conf") / match[1]).glob("*.yaml"))
        got = match[2] or "nothing"
        return str(bad_value(match[1], got, _listed(options), suggest(match[2], options)))
    if match := re.match(r"Could not override '([^']+)'", str(error)):
        groups = [path.name for path in data_folder("conf").iterdir() if path.is_dir()]
        known = groups + _fields("Config")
        return str(bad_value(match[1], "an unknown key", _listed(known), suggest(match[1], known)))
    if match := re.match(r"Value '(.*?)' .*(?:converted to|not a valid) (\w+)", first):
        return str(bad_value(key or "value", repr(match[1]), f"a value of type {match[2]}"))
    if match := re.match(r"field '([\w.]+)' is not Optional", first):
        return str(bad_value(key or match[1], "null", "a value"))
    if match := re.match(r".* is not a subclass of (\w+)\. value: (.*)", first):
        inside = f"{key}.{_fields(match[1])[0]}"
        return str(bad_value(key, match[2], f"no value of its own: set one inside, as {inside}=…"))
    if re.match(r"Invalid value assigned: \w+ is not a ListConfig", first):
        return str(bad_value(key, "one value", f"a list: '{key}=[…]'"))
    if match := re.match(r"(?:Invalid (?:type|value) assigned|Cannot assign) *:? *(.*)", first):
        return str(bad_value(key or "value", match[1], "a value of the key's own kind"))
    if match := re.match(r"Ambiguous value for argument '([^=]+)=(.*)'", first):
        hint = f"a run for each: add -m; all in one: '{match[1]}=[{match[2]}]'"
        return str(bad_value(match[1], match[2], "one value", hint))
    if match := re.match(r"Cannot find primary config '([^']+)'", first):
        recipes = sorted(path.stem for path in data_folder("recipes").glob("*.yaml"))
        return str(
            bad_value("-cn", match[1], _listed(["config", *recipes]), suggest(match[1], recipes))
        )
    if match := re.match(r"Additional config directory '([^']+)' not found", first):
        return str(_no_recipes(match[1]))
    return f"{key}: {first}" if key and key not in first else first


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _plugin_not_found(group: str, name: str, error: str) -> UserError:
    """One of Hydra's own groups has no such option, perhaps as its package is not installed."""
    options = re.findall(r"^\t(\w+)$", error, re.MULTILINE)
    for start, extra in _EXTRAS.items():
        installed = any(f"{group}={option}".startswith(start) for option in options)
        if f"{group}={name}".startswith(start) and not installed:
            hint = f"it is not installed: pip install 'cait-finetune[{extra}]'"
            return bad_value(group, name, _listed(options), hint)
    return bad_value(group, name, _listed(options), suggest(name, options))


def _no_recipes(folder: str | Path) -> UserError:
    return bad_value("-cd", folder, "an existing folder, of recipes of your own")


def _group_without_name(arguments: Iterable[str]) -> UserError:
    """A group was given a number, which Hydra refuses without saying which group it was."""
    for group, _, option in (argument.partition("=") for argument in arguments):
        options = sorted(path.stem for path in (data_folder("conf") / group).glob("*.yaml"))
        if group and options and option not in options:
            return bad_value(group, option, _listed(options))
    return bad_value("command line", "a number", "the name of an option, as in group=option")


def _fields(class_name: str) -> list[str]:
    return list(getattr(configuration, class_name).__dataclass_fields__)


def _listed(names: list[str]) -> str:
    return f"one of {', '.join(names)}"
