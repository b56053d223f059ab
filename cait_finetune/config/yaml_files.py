"""Make Hydra find and read YAML files: the user's files before ours, and text values unchanged."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any, ClassVar

from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra._internal.sources_registry import SourcesRegistry
from hydra.conf import HydraConf
from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigLoadError, ConfigResult
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf
from yaml import YAMLError

from cait_finetune.config.former import with_task
from cait_finetune.config.mappings import merge
from cait_finetune.config.own_files import check_own_file
from cait_finetune.config.places import data_folder
from cait_finetune.config.root import without_effect
from cait_finetune.config.text import SWEEPER_PARAMS, texts
from cait_finetune.config.words import keep_text
from cait_finetune.errors import bad_value

#: A file with these keys and no defaults list is a run's ``config.yaml``.
_OF_A_RUN = {"dataset", "model", "train", "seed", "resume"}
#: Defaults list for a run's ``config.yaml``, which lacks the types and Hydra's settings.
_AROUND_A_RUN = ["schema", "hydra_settings", "_self_"]


class Folders(SearchPathPlugin):
    """Lets ``-cn NAME`` find the recipes. `own`, the folder of ``-cd DIR``, precedes ours."""

    own: ClassVar[Path | None] = None
    #: The recipe that ``-cn`` names. Other files may be fragments.
    recipe: ClassVar[str] = "config"

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        search_path.append("cait_finetune", f"file://{data_folder('recipes')}")
        if self.own is not None:
            ours = SearchPathQuery(provider="main", path=None)
            search_path.prepend("command-line", f"file://{self.own}", ours)


class TextSource(FileConfigSource):
    """Reads YAML files. A text key keeps the characters of the file: ``2024_01`` is not a number.

    The ``config.yaml`` of a finished run, which has every value and no groups, can be run again.
    """

    def load_config(self, config_path: str) -> ConfigResult:
        path = Path(self.path) / self._normalize_file_name(config_path)
        try:
            result = super().load_config(config_path)
            document = path.read_text(encoding="utf-8")
        except (UnicodeDecodeError, YAMLError) as error:
            wrong = bad_value(str(path), " ".join(str(error).split()), "a YAML file in UTF-8")
            raise ConfigLoadError(str(wrong)) from wrong
        group = Path(config_path).parent.as_posix().removeprefix(".")
        package = result.header.get("package")
        config: Any = result.config
        prefix = _prefix(group if package is None else package)
        if self.path == str(Folders.own) and not set(config) >= _OF_A_RUN:
            check_own_file(path, document, prefix)
            if path.stem == Path(Folders.recipe).stem and not group and "defaults" not in config:
                wrong = bad_value(
                    str(path), "a recipe without a defaults list", "a recipe that changes our configuration",
                    "Begin the file with the line  defaults: [config, _self_]",
                )  # fmt: skip
                raise ConfigLoadError(str(wrong)) from wrong
        _set_texts(config, document, prefix)
        if not group and set(config) >= _OF_A_RUN and "defaults" not in config:
            result.config = _to_run_again(with_task(config))
        return result


# A launcher's process registers Hydra's source again. Hydra refuses a class of another name.
TextSource.__name__ = FileConfigSource.__name__


def use_own_sources() -> None:
    """Make Hydra use `Folders` and `TextSource`."""
    plugins = Plugins.instance()
    plugins.register(Folders)
    SourcesRegistry.instance().types[TextSource.scheme()] = TextSource


def own_folder(folder: Path) -> Path:
    """Return the absolute path of a folder with the user's own YAML files.

    Raises:
        UserError: the folder does not exist, or one of its files has the name of our schema or
            Hydra settings.
    """
    if not folder.is_dir():
        recipe = folder.suffix in (".yaml", ".yml") and folder.is_file()
        hint = f"Write -cd {folder.parent} -cn {folder.stem}" if recipe else ""
        raise bad_value("-cd", folder, "an existing folder with your own recipes", hint)
    for name in ("schema.yaml", "hydra_settings.yaml"):
        if (folder / name).exists():
            expected = (
                f"another name: every configuration begins with ours, {name.removesuffix('.yaml')}"
            )
            raise bad_value("-cd", folder / name, expected, "Rename the file.")
    return folder.absolute()


def refuse_other_recipe(name: str) -> None:
    """Refuse ``-cn NAME`` without ``-cd`` if the working directory has a recipe of that name.

    Raises:
        UserError: the recipe exists, and is not ours.
    """
    file = Path(name if name.endswith((".yaml", ".yml")) else f"{name}.yaml")
    if not file.is_file():
        return
    places = [data_folder(one) / f"{file.stem}.yaml" for one in ("conf", "recipes")]
    ours = next((one for one in places if one.is_file() and file.parent == Path()), None)
    if ours and ours.samefile(file):
        return
    beside = f", and {ours}" if ours else ", without its folder"
    raise bad_value(
        "-cn", f"{name}, which is {file.absolute()}{beside}", "one of our recipes, or -cd with its folder",
        f"Write -cd {shlex.quote(str(file.parent))} -cn {file.stem}",
    )  # fmt: skip


def refuse_hidden(hydra_config: DictConfig | HydraConf) -> None:
    """Refuse a folder of `hydra.searchpath` in which one of our files hides a file of the user.

    Raises:
        UserError: one of our files hides a file of the user.
    """
    theirs = [
        Path(source.path)
        for source in hydra_config.runtime.config_sources
        if source.provider.startswith("hydra.searchpath") and source.schema == "file"
    ]
    for folder in theirs:
        for ours in (data_folder("conf"), data_folder("recipes")):
            for file in sorted(ours.rglob("*.yaml")):
                own = folder / file.relative_to(ours)
                if own.exists() and not own.samefile(file):
                    expected = f"a name that we do not have: {file} is used instead"
                    raise bad_value(
                        "hydra.searchpath", own, expected, f"Write -cd {folder} instead."
                    )


def _prefix(package: str) -> str:
    """Return the prefix of a package's keys, such as ``"dataset."`` for ``_global_.dataset``."""
    named = package.replace("/", ".").removeprefix("_global_").strip(".")
    return f"{named}." if named else ""


def _set_texts(config: DictConfig, document: str, prefix: str) -> None:
    for place, text in texts(document, prefix):
        *parents, last = place
        node = config
        for step in parents:
            node = node[step]
        if (prefix + ".".join(map(str, parents)) + ".").startswith(SWEEPER_PARAMS):
            (word,) = keep_text([f"{last}={text}"], sweep=True)
            text = word.partition("=")[2]
        node[last] = text


def _to_run_again(config: DictConfig) -> DictConfig:
    again = without_effect(config)
    again.resume = None
    if OmegaConf.select(again, "dataset.seed") == again.seed:  # `seed` sets it again
        again.dataset.seed = None
    return merge({"defaults": _AROUND_A_RUN}, again)
