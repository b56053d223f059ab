"""Every ``key=value`` that a message advises is valid for its command."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

import pytest
from omegaconf import OmegaConf

from cait_finetune.cli.compose import configure
from cait_finetune.commands.export import read_arguments
from cait_finetune.config.advice import advise, advise_formats
from cait_finetune.config.places import data_folder
from cait_finetune.runs.resume import FREE
from cait_finetune.runs.settings import flat

ROOT = Path(__file__).resolve().parents[1] / "cait_finetune"
#: These modules raise errors during a run, so `resume` must accept the keys of their messages.
OF_A_RUN = ("data/corrupt.py", "train/loop.py", "train/checkpoint.py", "train/interruption.py")
OF_A_RUN += ("workflow/", "loggers/", "export/hub.py", "export/parity.py", "data/image_cache.py")
GROUPS = {path.name for path in data_folder("conf").iterdir() if path.is_dir()}
DEFAULT = OmegaConf.structured(configure())
KEYS = set(flat(OmegaConf.to_container(DEFAULT)))
WORD = re.compile(r"(?<![\w.=])([a-z_]+(?:\.[a-z_0-9]+)*)=(\[[^\]]*\]|[\w.+/-]*\w)")


class Advice(NamedTuple):
    """A ``key=value`` in a message, and the message."""

    place: str
    word: str
    message: str

    @property
    def key(self) -> str:
        return self.word.partition("=")[0]


def messages(path: Path) -> Iterator[str]:
    """Yield the strings of a module except docstrings. ``{}`` replaces formatted values."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside, docstrings = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr):
            docstrings.add(id(node.value))
        if isinstance(node, ast.JoinedStr):
            inside |= {id(part) for part in node.values}
    for node in ast.walk(tree):
        if id(node) in inside | docstrings:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        if isinstance(node, ast.JoinedStr):
            yield "".join(
                part.value if isinstance(part, ast.Constant) else "{}" for part in node.values
            )


ADVICE = sorted(
    {
        Advice(str(path.relative_to(ROOT)), f"{key}={value}", text)
        for path in ROOT.rglob("*.py")
        if path.name not in ("verify.py", "verify_changes.py", "usage.py")
        and "benchmark" not in path.parts
        for text in messages(path)
        for key, value in WORD.findall(text)
        if key in KEYS | GROUPS and not value.isupper() and "{" not in value and value != "tag"
    }
)


def test_the_messages_contain_advice():
    assert len(ADVICE) > 40
    assert sum(advice.place.startswith(OF_A_RUN) for advice in ADVICE) > 5


@pytest.mark.parametrize("word", sorted({advice.word for advice in ADVICE}))
def test_the_command_knows_what_is_advised(word):
    """The key exists and accepts the type of the value. Other conditions are not tested."""
    key, _, value = word.partition("=")
    if key in GROUPS:
        options = value.strip("[]").split(",")
        assert all((data_folder("conf") / key / f"{one}.yaml").is_file() for one in options), word
        return
    OmegaConf.update(DEFAULT.copy(), key, OmegaConf.create(f"value: {value}").value)


@pytest.mark.parametrize(
    "advice",
    [advice for advice in ADVICE if advice.place.startswith(OF_A_RUN)],
    ids=lambda advice: f"{advice.place} {advice.word}",
)
def test_resume_takes_what_is_advised_when_a_run_has_begun(advice):
    free = any(
        fnmatch(f"{advice.key}.x" if advice.key in GROUPS else advice.key, one) for one in FREE
    )
    assert free or "new run" in advice.message, advice


PLACES = [
    "plain/run",
    "a b/c",
    "x=1,y",
    "it's",
    'say "so"',
    "'quoted'",
    "a;b&c",
    "null",
    "[x]",
    "é",
    "1",
]


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
def test_an_advised_path_survives_the_shell_and_the_command(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = Path(place)
    run.mkdir(parents=True)
    OmegaConf.save(DEFAULT, run / "config.yaml")
    (word,) = shlex.split(advise("resume", run))
    assert configure(word).resume == str(run)
    (word,) = shlex.split(advise("model.weights", run))
    assert configure(word).model.weights == str(run.absolute())
    words = shlex.split(f"{advise('run', run)} {advise_formats(['onnx', 'timm'])}")
    directory, export, _ = read_arguments(words)
    assert (directory, export.formats) == (run, ("onnx", "timm"))


@pytest.mark.slow
def test_messages_leave_the_quotes_of_paths_to_one_function():
    bare = re.compile(r"(?<![\w.])(?:resume|run|model\.weights|dataset\.data_dir)=\{\}")
    modules = [path for path in ROOT.rglob("*.py") if "verify" not in path.name]
    found = {
        f"{path.relative_to(ROOT)}: {text}"
        for path in modules
        if "benchmark" not in path.parts
        for text in messages(path)
        if bare.search(text)
    }
    assert found == set()


def test_the_words_that_go_on_a_command_compose():
    config = configure("dataset.on_corrupt=skip", "dataset.cache=memory", "train.max_hours=null")
    assert (config.dataset.on_corrupt, config.dataset.cache) == ("skip", "memory")
