"""The command line: compose the configuration, run, and show an error as one message."""

from __future__ import annotations

import dataclasses
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_type_hints

import hydra
from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from cait_finetune import config as configuration
from cait_finetune.compile_cache import keep_compiled
from cait_finetune.config import Config
from cait_finetune.config.checks import on_disk
from cait_finetune.config.sources import Folders, data_folder, own_folder, use_own_sources
from cait_finetune.config.words import keep_text, unquoted
from cait_finetune.errors import Interrupted, UserError, bad_value, suggest
from cait_finetune.garbage import loading
from cait_finetune.resume import find_run, resumed
from cait_finetune.study import register_study
from cait_tf.quiet import quiet_imports

#: Which extra brings a plugin of Hydra's.
_EXTRAS = {"hydra/sweeper=optuna": "sweep", "hydra/launcher=submitit": "cluster"}
#: What Optuna says at the end of a study whose trials have all failed.
_NO_TRIAL = "No trials are completed yet."
#: Hydra's options with a value, of which some name a folder of recipes.
_FOLDER_OPTIONS = ("-cd", "--config-dir", "-cp", "--config-path")
_OPTIONS = (*_FOLDER_OPTIONS, "-cn", "--config-name", "-p", "--package", "-c", "--cfg")
_FULL_ERROR = "HYDRA_FULL_ERROR"
_NUMBER_FOR_GROUP = "Config group override must be a string"
_SHOW_TRACEBACKS = os.environ.get(_FULL_ERROR) == "1"


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
    begun: list[int] = []
    process = os.getpid()

    @hydra.main(version_base="1.3", config_path=str(data_folder("conf")), config_name="config")
    def run(composed: DictConfig) -> object:
        begun.append(1)
        try:
            directory = Path(HydraConfig.get().runtime.output_dir)
            if composed.get("resume") is None:
                config = configuration.from_hydra(composed)
            else:
                config = _resumed(composed, HydraConfig.get())
                directory = Path(config.resume)
            compiled = config.train.compile_cache_dir
            keep_compiled(Path(compiled) if compiled else None, os.environ)
            with quiet_imports(), loading():
                tell = story()
            return tell(config, directory)
        except (UserError, OmegaConfBaseException) as error:
            if composed.get("traceback") or _SHOW_TRACEBACKS:
                raise
            if HydraConfig.get().mode is not RunMode.MULTIRUN:
                sys.exit(f"cait_finetune: {explain(error)}")
            # Optuna is to know of it, and what stands in `failed` of another process is lost.
            if (
                HydraConfig.get().runtime.choices["hydra/sweeper"] != "basic"
                or os.getpid() != process
            ):
                raise _RunFailed(explain(error)) from None
            failed.append(_which_run(HydraConfig.get()))
            print(
                f"cait_finetune: {explain(error)}\n  in {failed[-1]}", file=sys.stderr, flush=True
            )
            return None
        except Interrupted as error:
            print(f"cait_finetune: {error}", file=sys.stderr)
            sys.exit(error.code)

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
        sys.exit(f"cait_finetune: {_includes_itself()}")
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
    return f"run {hydra_config.job.num}, {' '.join(map(unquoted, hydra_config.overrides.task))}"


@contextmanager
def _arguments_as_typed() -> Iterator[None]:
    """Hydra reads `sys.argv`: inside, what was typed as Hydra reads it back, without ``-cd DIR``."""
    typed = sys.argv
    try:
        folder, words = _without_folder(typed[1:])
        several = any(word == "-m" or re.fullmatch("--m[ultirn]*", word) for word in words)
        words = keep_text(words, sweep=several or "hydra.mode=MULTIRUN" in words)
        Folders.own = own_folder(folder) if folder else None
    except UserError as error:
        if _SHOW_TRACEBACKS:
            raise
        sys.exit(f"cait_finetune: {error}")
    sys.argv = [typed[0], *words]
    try:
        yield
    finally:
        sys.argv, Folders.own = typed, None


def _without_folder(words: list[str]) -> tuple[Path | None, list[str]]:
    """The folder of ``-cd DIR`` or ``-cp DIR``, which mean the same here, and the other words."""
    folder, rest = None, []
    left = iter(words)
    for word in left:
        option, sign, value = word.partition("=")
        if option in _FOLDER_OPTIONS:
            value = value if sign else next(left, "")
            if folder or not value:
                got = f"{folder} and {value}" if folder else "nothing"
                raise bad_value(option, got, "one folder, of recipes of your own")
            folder = Path(value).expanduser()
        elif word in _OPTIONS:
            rest += [word, *([value] if (value := next(left, None)) is not None else [])]
        else:
            rest.append(word)
    return folder, rest


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
    words = keep_text(overrides)
    try:
        with _composing(folder):
            composed = hydra.compose(recipe, words, return_hydra_config=True)
            on_disk("hydra.run.dir", composed.hydra.run.dir)
            directory = Path(composed.hydra.run.dir)
            with open_dict(composed):
                hydra_config = composed.pop("hydra")
            if composed.get("resume") is not None:
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
    with _composing(folder):
        composed = hydra.compose(recipe, return_hydra_config=True)
        return dict(composed.hydra.sweeper.get("params") or {})


@contextmanager
def _composing(folder: Path | None) -> Iterator[None]:
    """Where `hydra.compose` finds our files, after those in `folder`."""
    _prepare_hydra()
    Folders.own = own_folder(folder.expanduser()) if folder else None
    conf = str(data_folder("conf"))
    try:
        with hydra.initialize_config_dir(version_base="1.3", config_dir=conf):
            yield
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(explain(error)) from error
    except RecursionError as error:
        raise _includes_itself() from error
    finally:
        Folders.own = None


def _prepare_hydra() -> None:
    """Make the schema, the recipes and our resolver known to it."""
    configuration.register()
    use_own_sources()
    OmegaConf.register_new_resolver("run_directory", _run_directory, replace=True)


def explain(error: BaseException) -> str:
    """One message of ours for an error of Hydra's or OmegaConf's."""
    if ours := next((one for one in _causes(error) if isinstance(one, UserError)), None):
        return str(ours)
    inner = error.__cause__ or error.__context__
    cause = inner if isinstance(inner, OmegaConfBaseException) else error
    first = str(cause).strip().splitlines()[0].removeprefix("Merge error: ")
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
        if match[1] in groups:
            got, expected = "a choice", "its keys: a run's config.yaml has values and no choices"
            return str(bad_value(match[1], got, expected, f"Write {match[1]}.KEY=…"))
        known = groups + _fields("Config")
        return str(bad_value(match[1], "an unknown key", _listed(known), suggest(match[1], known)))
    if match := re.match(r"Value '(.*?)' .*(?:converted to|not a valid) (\w+)", first):
        return str(bad_value(key or "value", repr(match[1]), f"a value of type {match[2]}"))
    if match := re.match(r"field '([\w.]+)' is not Optional", first):
        return str(bad_value(key or match[1], "null", "a value"))
    if match := re.match(r".* is not a subclass of (\w+)\. value: (.*)", first):
        key = key or next(iter(_keys_of(match[1])), "value")
        inside = f"{key}.{_fields(match[1])[0]}"
        return str(bad_value(key, match[2], f"no value of its own: set one inside, as {inside}=…"))
    if match := re.match(r"Interpolation key '(.*)' not found", first):
        hint = r"Write \${…} for the characters themselves."
        return str(
            bad_value(key or "value", f"${{{match[1]}}}", "a key of the configuration", hint)
        )
    if match := re.match(r"Cannot convert '\w+' to string: '(.*)'", first):
        return str(bad_value(key, match[1], "one text"))
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


def _includes_itself() -> UserError:
    return bad_value(
        "defaults",
        "a file that includes itself",
        "other files",
        "Rename your file: in -cd DIR it takes the place of ours with the same name.",
    )


def _group_without_name(arguments: Iterable[str]) -> UserError:
    """A group was given a number, which Hydra refuses without saying which group it was."""
    for group, _, option in (argument.partition("=") for argument in arguments):
        options = sorted(path.stem for path in (data_folder("conf") / group).glob("*.yaml"))
        if group and options and option not in options:
            return bad_value(group, option, _listed(options))
    return bad_value("command line", "a number", "the name of an option, as in group=option")


def _fields(class_name: str) -> list[str]:
    return list(getattr(configuration, class_name).__dataclass_fields__)


def _keys_of(class_name: str, schema: type = Config, prefix: str = "") -> Iterator[str]:
    """The keys whose values are objects of that class."""
    for name, hint in get_type_hints(schema).items():
        if dataclasses.is_dataclass(hint):
            if hint.__name__ == class_name:
                yield prefix + name
            yield from _keys_of(class_name, hint, f"{prefix}{name}.")


def _listed(names: list[str]) -> str:
    return f"one of {', '.join(names)}"
