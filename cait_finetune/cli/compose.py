"""Compose a configuration with Hydra, from Python or for a command."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hydra
from hydra.conf import HydraConf
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from cait_finetune import config as configuration
from cait_finetune.cli.entry import deleted_directory
from cait_finetune.cli.explain import explain, group_without_name, includes_itself
from cait_finetune.cli.from_run import continued
from cait_finetune.cli.known_words import refuse_misplaced_words, refuse_unknown_keys
from cait_finetune.cli.output_place import named_by_time
from cait_finetune.cli.typed_words import from_home, refuse_empty_resume
from cait_finetune.config import Config
from cait_finetune.config.checks import on_disk
from cait_finetune.config.places import data_folder, expanded_path
from cait_finetune.config.typed import check_typed
from cait_finetune.config.words import keep_text
from cait_finetune.config.yaml_files import (
    Folders,
    own_folder,
    refuse_hidden,
    refuse_other_recipe,
    use_own_sources,
)
from cait_finetune.errors import UserError, bad_value
from cait_finetune.runs.resume import find_run, resumed
from cait_finetune.tasks import checked

#: The start of Hydra's error for a group without an option.
NUMBER_FOR_GROUP = "Config group override must be a string"
_COMPOSING = threading.RLock()


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
        The configuration, the directory, and whether its name is the current time. If it is, the
        caller must claim it (`output_place.claim`).

    Raises:
        UserError: an override, the recipe or the folder has a mistake.
    """
    refuse_empty_resume(overrides)
    refuse_misplaced_words(overrides)
    refuse_unknown_keys(overrides)
    words, folder = continued(overrides, folder, recipe if recipe != "config" else None)
    words = keep_text(from_home(words))
    try:
        with composing(folder, recipe):
            composed = hydra.compose(recipe, words, return_hydra_config=True)
            refuse_hidden(composed.hydra)
            on_disk("hydra.run.dir", composed.hydra.run.dir)
            directory = Path(composed.hydra.run.dir)
            by_time = composed.get("resume") is None and named_by_time(composed.hydra.run)
            with open_dict(composed):
                hydra_config = composed.pop("hydra")
            if composed.get("resume") is not None:
                return resumed_run(composed, hydra_config), directory, by_time
            config = checked(composed)
            check_typed(words, config, "train")
            return config, directory, by_time
    except ValueError as error:
        if not str(error).startswith(NUMBER_FOR_GROUP):
            raise
        raise group_without_name(overrides) from error


def sweeper_params(recipe: str, folder: Path | None = None) -> dict[str, Any]:
    """Return the keys that a recipe varies, with their values: its ``hydra.sweeper.params``.

    Raises:
        UserError: the recipe does not exist or has a mistake.
    """
    with composing(folder, recipe):
        composed = hydra.compose(recipe, return_hydra_config=True)
        return dict(composed.hydra.sweeper.get("params") or {})


@contextlib.contextmanager
def composing(folder: Path | None, recipe: str = "config") -> Iterator[None]:
    """Inside the block, let `hydra.compose` search `folder` first and our recipes second.

    Raises:
        UserError: Hydra cannot compose the configuration, or `folder` cannot be used.
    """
    conf = str(data_folder("conf"))
    try:
        with _hydra_alone():
            prepare_hydra()
            Folders.own = own_folder(expanded_path("-cd", folder)) if folder else None
            Folders.recipe = recipe
            if folder is None and recipe != "config":
                refuse_other_recipe(recipe)
            with hydra.initialize_config_dir(version_base="1.3", config_dir=conf):
                yield
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(explain(error)) from error
    except RecursionError as error:
        raise includes_itself() from error
    except OSError as error:
        raise deleted_directory(error) or error from None
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


def prepare_hydra() -> None:
    """Register the schema, the recipes and our resolver with Hydra and OmegaConf."""
    configuration.register()
    use_own_sources()
    OmegaConf.register_new_resolver("run_directory", _run_directory, replace=True)


def resumed_run(composed: DictConfig, hydra_config: HydraConf) -> Config:
    """Return the configuration of the run to resume, and print the keys that changed.

    Raises:
        UserError: the run cannot be resumed with the given keys.
    """
    groups = {path.name for path in data_folder("conf").iterdir() if path.is_dir()}
    recipe = hydra_config.job.config_name != "config"
    if any(word.startswith("hydra.run.dir") for word in hydra_config.overrides.hydra):
        raise bad_value(
            "hydra.run.dir", "a value beside resume", "no value: a resumed run keeps its directory"
        )
    composed = configuration.with_absolute_paths(composed)  # a run stores absolute paths
    config, changes = resumed(composed, list(hydra_config.overrides.task), groups, recipe)
    for change in changes:
        print(f"resume {change}", file=sys.stderr)
    return config


def _run_directory(resume: str | None, otherwise: str) -> str:
    """Return the directory in which Hydra runs: the directory of a resumed run, or `otherwise`.

    Raises:
        UserError: `resume` is not the directory of a run.
    """
    return otherwise if resume is None else str(find_run(resume))
