"""Imports run one way: the library below, the application above, its rooms side by side."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# room -> the rooms it may import. cli -> finetune -> the work -> {config, errors}.
FOUNDATION = {"config", "console", "errors", "garbage", "locks", "places", "entry"}
SCORES = {"scores.evaluation", "scores.predictions", "scores.calibration", "scores.metrics"}
WORK = (
    {"data", "model", "optim", "train", "export", "report", "run_directory", "environment"}
    | {"scores", "runs"}
    | SCORES
)
ALLOWED = {
    "": {"api"},
    "api": {"cli", "story.finetune", "inference", "run", "saved_run", "errors"}  # for notebooks
    | {"keras_backend", "output_place", "places", "process_state"},
    "errors": set(),
    "config": {"errors", "places"},
    "places": {"errors"},  # where ~ is
    "keras_backend": {"errors"},
    "loading": set(),
    "entry": {"errors", "keras_backend", "loading"},  # how every command begins and ends
    "console": set(),
    "garbage": set(),
    "locks": set(),
    "__main__": {"cli", "loading", "train"},  # of train how a signal ends it
    "cli": {"story.finetune", "resume", "study", "compile_cache", "explaining", "loading"}
    | {"model", "output_place", "own_process", "run_directory", "train"}
    | FOUNDATION,
    "own_process": {"errors"},
    "process_state": set(),
    "explaining": FOUNDATION,
    "compile_cache": set(),
    "study": set(),  # how Optuna's sweeper is set
    "resume": {"run_directory"} | FOUNDATION,  # which configuration a run goes on with
    # The story and its chapters.
    "story": set(),
    "story.finetune": {"story.preparation", "story.training", "story.conclusion", "story.logged"}
    | {"model", "run_directory", "runs", "train"}
    | FOUNDATION,
    "story.preparation": {"story.streams", "command_line"} | WORK | FOUNDATION,
    "story.streams": {"data", "train"} | FOUNDATION,
    "story.stages": {"optim", "train"} | FOUNDATION,
    "story.training": {"story.preparation", "story.stages"} | WORK | FOUNDATION,
    "story.scoring": WORK | FOUNDATION,  # predictions, and what they are worth
    "story.report_parts": {"story.scoring"} | WORK | FOUNDATION,
    "story.exporting": WORK | FOUNDATION,
    "story.conclusion": {"story.preparation", "story.scoring", "story.report_parts"}
    | {"story.exporting", "story.logged", "loggers"}
    | WORK
    | FOUNDATION,
    "story.logged": {"story.preparation", "loggers", "optim", "run_directory"}
    | {"scores.metrics", "scores.predictions"}
    | FOUNDATION,
    "command_line": {"config"},
    "export.__main__": {"cli", "keys", "saved_run", "story.exporting", "story.logged", "loggers"}
    | WORK
    | FOUNDATION,
    "loggers": {"run_directory"} | FOUNDATION,
    "lr_find": {"cli", "story.preparation", "story.training", "story.stages"} | WORK | FOUNDATION,
    "verify": {"cli", "keys", "story.preparation", "story.training", "model", "train"} | FOUNDATION,
    # Every command, one after the other.
    "verify_changes": {"api", "attention", "cli", "evaluate", "inference", "keys", "report_run"}
    | {"export.__main__"}
    | {"story.preparation"}
    | WORK
    | FOUNDATION,
    "evaluate": {"cli", "image_progress"} | WORK | FOUNDATION,  # another story
    "runs": {"data", "run_directory"} | FOUNDATION,  # which data a run is of
    "saved_run": {"data", "model", "run_directory", "runs", "export"} | FOUNDATION,
    "attention": {"keys", "saved_run"} | WORK | FOUNDATION,
    "report_run": {"keys", "saved_run", "story.scoring", "story.report_parts"} | WORK | FOUNDATION,
    "report.__main__": {"report_run"},
    "show_batch": {"cli"} | WORK | FOUNDATION,
    "predict": {"inference"},
    "inference": {"keys", "image_progress", "saved_run", "markup"} | WORK | FOUNDATION,
    "image_progress": set(),
    "run": {"api", "inference", "markup", "scores.metrics", "saved_run"},
    "markup": set(),
    # Of a run, what is measured alone; or runs without their conclusion.
    "benchmark": {"cli", "command_line", "keys"}
    | {"story.stages", "story.preparation", "story.training"}
    | WORK
    | FOUNDATION,
    # Many runs: before and after them.
    "sweep": {"cli", "keys", "explaining"} | FOUNDATION,
    "leaderboard": {"command_line", "scores.metrics", "run_directory", "errors", "places"},
    "output_place": {"command_line", "config", "errors"},
    "summary": {"leaderboard", "run_directory", "console", "errors"},
    "compare": {
        "cli",
        "config",
        "keys",
        "command_line",
        "leaderboard",
        "report",
        "console",
        "entry",
        "errors",
    },
    "keys": {"config", "errors"},
    # The training step applies the optimizer: the one import from sibling to sibling.
    "train": {"optim"} | FOUNDATION,
    "report": {"run_directory"} | FOUNDATION,  # the page is of what stands there
    "environment": {"run_directory"} | FOUNDATION,
} | dict.fromkeys(WORK - {"train", "report", "environment", "runs"}, FOUNDATION)


# How a process begins, how files are written, how start-up chatter is kept off the screen, where caches
# are, how inference is compiled, how class lists are compared, and tables: of ImageNet's classes and of
# the variants.
NO_MODEL = re.compile(
    r"cait_tf\.(atomic|quiet|command|os_errors|places|tensorflow_kernels|imagenet|variants|weights\.(class_names|checksum))\b"
)


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def relative(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


def imported(nodes: Iterator[ast.AST]) -> Iterator[str]:
    """Dotted names; of ``from a import b`` both ``a`` and ``a.b``, as b may be a module."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def everywhere(path: Path) -> set[str]:
    return set(imported(ast.walk(ast.parse(path.read_text(encoding="utf-8")))))


def outside_functions(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes that importing the module executes."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from outside_functions(child)


def on_import(path: Path) -> set[str]:
    return set(imported(outside_functions(ast.parse(path.read_text(encoding="utf-8")))))


def packages(names: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def room(name: str) -> str:
    """Of ``cait_finetune.a.b``: ``a``, or ``a.b`` where that has its own line above, as a chapter of the
    story, and the command of a room, which may stand above it."""
    parts = name.split(".")[1:] or [""]
    two = ".".join(parts[:2])
    return two if two in ALLOWED else parts[0]


def module_name(path: Path) -> str:
    name = path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
    return name.removesuffix(".__init__")


@pytest.mark.parametrize("path", ["story", "scores"])
def test_each_chapter_and_each_kind_of_score_has_its_own_line(path):
    names = {
        room(module_name(one)) for one in modules(f"cait_finetune/{path}") if one.stem != "__init__"
    }
    assert len(names) > 3
    assert path not in names


def test_there_are_modules_to_check():
    assert len(modules("cait_tf")) > 10
    assert len(modules("cait_finetune")) > 20


@pytest.mark.parametrize("path", relative(modules("cait_tf")))
def test_cait_tf_stands_alone(path):
    names = packages(everywhere(ROOT / path))
    assert not names & {"cait_finetune", "hydra", "omegaconf", "tensorflow_datasets", "wandb"}


@pytest.mark.parametrize("path", relative(modules("cait_tf")))
def test_cait_tf_imports_without_tensorflow(path):
    """Keras runs on three backends; what is for one of them is imported where it is used."""
    if path.startswith("cait_tf/tensorflow_kernels/"):
        users = [
            one
            for one in modules("cait_tf")
            if one.parent.name != "tensorflow_kernels"
            and any(name.startswith("cait_tf.tensorflow_kernels") for name in on_import(one))
        ]
        assert users == []
        return
    assert "tensorflow" not in packages(on_import(ROOT / path))


@pytest.mark.parametrize("path", relative(modules("cait_finetune")))
def test_rooms_import_downwards_only(path):
    here = room(module_name(ROOT / path))
    assert here in ALLOWED, f"say in ALLOWED what {here} may import"
    ours = {name for name in everywhere(ROOT / path) if name.startswith("cait_finetune.")}
    rooms = {room(name) for name in ours} - {here}
    assert rooms <= ALLOWED[here], f"{path} imports {sorted(rooms - ALLOWED[here])}"


def test_only_model_checkpoint_and_export_know_the_library():
    users = [
        str(path.relative_to(ROOT))
        for path in modules("cait_finetune")
        if "cait_tf" in packages({name for name in everywhere(path) if not NO_MODEL.match(name)})
    ]
    assert users == [
        "cait_finetune/benchmark/jax_model.py",  # without TensorFlow
        "cait_finetune/export/pixels.py",
        "cait_finetune/export/timm.py",
        "cait_finetune/model.py",
        "cait_finetune/train/checkpoint.py",
        "cait_finetune/verify_changes.py",  # other weights for the same classes
    ]


@pytest.mark.parametrize("module", ["cli", "errors", "api", "__init__", "__main__"])
def test_the_command_line_starts_without_tensorflow(module):
    names = packages(on_import(ROOT / "cait_finetune" / f"{module}.py"))
    assert not names & {"tensorflow", "keras", "tensorflow_datasets", "sklearn", "matplotlib"}


@pytest.mark.parametrize("path", relative(modules("cait_finetune/config")))
def test_the_configuration_needs_no_tensorflow_at_all(path):
    names = packages(everywhere(ROOT / path))
    assert not names & {"tensorflow", "keras", "tensorflow_datasets", "cait_tf"}
