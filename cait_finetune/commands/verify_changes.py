"""``cait-finetune verify_changes``: measure what each command does after a change.

Each row of the table changes one thing between two commands, on small generated images. Each cell
runs one command after the change and states its outcome. The command writes the table to
``.github/docs/CHANGES_BETWEEN_COMMANDS.md``; ``check=true`` compares the file with a new table.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from cait_finetune.cli import entry
from cait_finetune.cli.arguments import helped, read_keys
from cait_finetune.config.places import expanded_path
from cait_finetune.errors import UserError, bad_value
from cait_finetune.runs.directory import RunDirectory
from cait_tf.quiet import quiet_imports
from cait_tf.weights.class_names import some

DOCUMENT = Path(".github/docs/CHANGES_BETWEEN_COMMANDS.md")
COMMANDS = ("train from", "resume", "evaluate", "export", "report", "attention", "predict")
_COLOURS = {"ant": (200, 30, 30), "bee": (30, 200, 30), "cow": (30, 30, 200)}
_COUNT = 10  # images per class
_SHORT = (
    "train.batch_size=8",
    "train.eval_batch_size=8",
    "model.image_size=16",
    "dataset.allow_flip=false",
    "distribution=cpu",
    "export.check_images=3",
)


@dataclass
class ChangesConfig:
    """The keys of the command.

    ``out``: the document. ``check``: compare the document with a new table, and write nothing.
    """

    check: bool = False
    out: str = str(DOCUMENT)


@dataclass
class World:
    """The files that a row of the table changes: images, two runs and a weights file.

    ``words`` maps the name of a command to words that are added to its command line.
    """

    root: Path
    words: dict[str, list[str]]

    @property
    def images(self) -> Path:
        """The image folder, with one subfolder per class."""
        return self.root / "images"

    @property
    def run(self) -> RunDirectory:
        """A finished run with a SavedModel."""
        return RunDirectory(self.root / "run")

    @property
    def cut(self) -> RunDirectory:
        """The same run, interrupted after its first epoch."""
        return RunDirectory(self.root / "cut")

    @property
    def weights(self) -> Path:
        """A copy of the run's best weights."""
        return self.root / "weights.safetensors"

    def add(self, command: str, *words: str) -> None:
        """Add words to a command line."""
        self.words.setdefault(command, []).extend(words)


def _nothing(world: World) -> None:
    """Change nothing."""


def _rename_class(world: World) -> None:
    (world.images / "ant").rename(world.images / "zebra")


def _reorder_classes(world: World) -> None:
    """Train the runs with the class order cow, bee, ant, and remove the order from their files."""
    for run in (world.run, world.cut):
        shutil.rmtree(run.root)
    _make_runs(world, "dataset.class_names=[cow,bee,ant]")
    for run in (world.run, world.cut):
        config = OmegaConf.load(run.config)
        config.dataset.class_names = None
        OmegaConf.save(config, run.config)
        identity = json.loads(run.identity.read_text(encoding="utf-8"))
        del identity["settings"]  # a run of an older version records no settings
        run.identity.write_text(json.dumps(identity), encoding="utf-8")
    shutil.copy(world.run.best_checkpoint, world.weights)


def _add_class(world: World) -> None:
    _paint(world.images, {"dog": (200, 200, 30)})


def _remove_class(world: World) -> None:
    shutil.rmtree(world.images / "cow")


def _add_image(world: World) -> None:
    shutil.copy(world.images / "ant" / "0.png", world.images / "ant" / "new.png")


def _remove_image(world: World) -> None:
    (world.images / "ant" / "0.png").unlink()


def _replace_image(world: World) -> None:
    """Replace the pixels of an image and keep its file name."""
    shutil.copy(world.images / "bee" / "0.png", world.images / "ant" / "0.png")


def _relabel_image(world: World) -> None:
    (world.images / "ant" / "0.png").rename(world.images / "bee" / "ant_0.png")


def _move_image(world: World) -> None:
    """Exchange the splits of a train and a test image."""

    def exchanged(rows: list[list[str]]) -> list[list[str]]:
        train = next(row for row in rows if row[1] == "train")
        test = next(row for row in rows if row[1] == "test")
        train[1], test[1] = test[1], train[1]
        return rows

    _edit_split_file(world, exchanged)


def _move_folder(world: World) -> None:
    world.images.rename(world.root / "moved")
    for command in ("train from", "resume", "evaluate", "export", "report", "attention"):
        world.add(command, f"dataset.data_dir={world.root / 'moved'}")


def _replace_folder(world: World) -> None:
    shutil.rmtree(world.images)
    _paint(world.images, _COLOURS, start=100)


def _replace_weights(world: World) -> None:
    """Write new weights for the same classes to the file and to the run's best checkpoint."""
    from safetensors import safe_open

    import cait_tf

    with safe_open(world.run.best_checkpoint, "np") as file:
        metadata = {name: file.metadata()[name] for name in ("model", "classes", "epoch")}
    model = cait_tf.create_model("cait_nano_32", num_classes=3, image_size=16)
    for path in (world.weights, world.run.best_checkpoint):
        cait_tf.save_weights(model, path, metadata)


def _change_preprocessing(world: World) -> None:
    for command in ("train from", "resume"):
        world.add(command, "preprocessing.interpolation=bilinear")
    world.add("evaluate", "preprocessing.interpolation=bilinear")


def _change_split(world: World) -> None:
    """Set `dataset.splits.file` to a file in which a train and a test image have exchanged their splits."""
    own = world.images / "cait_splits.csv"
    text = own.read_text(encoding="utf-8")
    _move_image(world)
    own.rename(world.root / "other.csv")
    own.write_text(text, encoding="utf-8")
    for command in ("train from", "resume"):
        world.add(command, f"dataset.splits.file={world.root / 'other.csv'}")
    world.add("evaluate", "evaluation.split=test")


def _draw_splits_anew(world: World) -> None:
    (world.images / "cait_splits.csv").unlink()
    for command in ("train from", "evaluate"):
        world.add(command, "dataset.splits.seed=5")


def _edit_config(world: World) -> None:
    for run in (world.run, world.cut):
        config = OmegaConf.load(run.config)
        config.preprocessing.mean = [0.5, 0.5, 0.5]
        OmegaConf.save(config, run.config)


def _swap_export(world: World) -> None:
    """Replace the run's SavedModel by the SavedModel of another run."""
    other = World(world.root / "second", {})
    shutil.copytree(world.images, other.images)
    _make_runs(other, "seed=1")
    shutil.rmtree(world.run.saved_model)
    shutil.copytree(other.run.saved_model, world.run.saved_model)


ROWS: dict[str, Callable[[World], None]] = {
    "nothing": _nothing,
    "class renamed": _rename_class,
    "classes in another order": _reorder_classes,
    "class added": _add_class,
    "class removed": _remove_class,
    "image added": _add_image,
    "image removed": _remove_image,
    "image content replaced": _replace_image,
    "image relabelled": _relabel_image,
    "images moved between splits": _move_image,
    "folder moved": _move_folder,
    "image folder replaced": _replace_folder,
    "weights replaced": _replace_weights,
    "preprocessing changed": _change_preprocessing,
    "split changed": _change_split,
    "splits drawn anew": _draw_splits_anew,
    "config.yaml edited": _edit_config,
    "SavedModel of another run": _swap_export,
}


def cell(command: str, world: World) -> str:
    """Run a command after a change and return its outcome, as a cell of the table."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            note = _RUN[command](world, world.words.get(command, []))
    except UserError as error:
        return f"refused: {_reason(str(error), world)}"
    text = said.getvalue()
    if "reordered by class name" in text or "classes in another order" in text:
        return "permuted"
    seen = "the weights were trained " in text or "training images of the weights" in text
    return f"{note}; it prints what the weights were trained on" if seen else note


def table() -> str:
    """Run every cell and return the table as Markdown.

    Every row starts from the same images, runs and weights.
    """
    lines = [
        f"| changed between two commands | {' | '.join(COMMANDS)} |",
        "|---" * (len(COMMANDS) + 1) + "|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        first = World(Path(folder) / "first", {})
        _paint(first.images, _COLOURS)
        _make_runs(first)
        shutil.copy(first.run.best_checkpoint, first.weights)
        _evaluate(first, [])
        for row, change in ROWS.items():
            cells = []
            with _copied(first) as world:
                change(world)
                for command in COMMANDS:
                    with _copied(world) as own:
                        cells.append(cell(command, own))
            lines.append(f"| {row} | {' | '.join(cells)} |")
            print(lines[-1], flush=True)
    return "\n".join(lines)


@contextlib.contextmanager
def _copied(world: World) -> Iterator[World]:
    """Yield a world that the block may change, and restore the original files afterwards.

    The yielded world has the path of the original, because its files hold absolute paths.
    """
    kept = Path(tempfile.mkdtemp(dir=world.root.parent)) / "kept"
    shutil.copytree(world.root, kept)
    try:
        yield World(world.root, {command: [*words] for command, words in world.words.items()})
    finally:
        shutil.rmtree(world.root)
        kept.rename(world.root)


def _paint(root: Path, colours: dict[str, tuple[int, int, int]], start: int = 0) -> None:
    import numpy as np
    from PIL import Image

    for name, colour in colours.items():
        (root / name).mkdir(parents=True)
        for number in range(start, start + _COUNT):
            noise = np.random.default_rng(number).integers(0, 40, (16, 16, 3))
            pixels = (np.array(colour) + noise).astype("uint8")
            Image.fromarray(pixels).save(root / name / f"{number}.png")


def _make_runs(world: World, *words: str) -> None:
    """Train the finished run, and copy it with only the state of its first epoch."""
    from cait_finetune.api import finetune

    epochs = ("train.epochs=2", f"dataset.data_dir={world.images}", *_SHORT, *words)
    with contextlib.redirect_stdout(io.StringIO()):
        finetune("dataset=folder", *epochs, directory=world.run.root)
    shutil.copytree(world.run.root, world.cut.root)
    world.cut.result.unlink()
    sorted(world.cut.checkpoints.glob("state_*"))[-1].unlink()


def _edit_split_file(world: World, edit: Callable[[list[list[str]]], list[list[str]]]) -> None:
    path = world.images / "cait_splits.csv"
    comment, header, *rows = path.read_text(encoding="utf-8").splitlines()
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(edit(list(csv.reader(rows))))
    path.write_text(f"{comment}\n{header}\n{text.getvalue()}", encoding="utf-8")


def _configured(world: World, words: list[str], *more: str) -> tuple[Any, Path]:
    from cait_finetune.cli.compose import configure_run

    return configure_run(
        "dataset=folder", f"dataset.data_dir={world.images}", *_SHORT, *more,
        *words,
    )[:2]  # fmt: skip


def _train_from(world: World, words: list[str]) -> str:
    from cait_finetune.workflow.setup import prepare

    config, _ = _configured(world, words, f"model.weights={world.weights}")
    classes = prepare(config, world.root / "new").plan.model.loading_report.classes
    if classes.complete:
        return "same head" if classes.in_order else "permuted"
    parts = (("kept", classes.kept), ("new", classes.new))
    return f"head by name: {'; '.join(f'{word} {some(names)}' for word, names in parts if names)}"


def _resume(world: World, words: list[str]) -> str:
    from cait_finetune.cli.compose import configure_run
    from cait_finetune.workflow.setup import prepare

    config, *_ = configure_run(*words, f"resume={world.cut.root}")
    prepare(config, world.cut.root)
    return "same"


def _evaluate(world: World, words: list[str]) -> str:
    from cait_finetune.commands.evaluate import evaluate

    said = io.StringIO()
    config, _ = _configured(
        world, words, f"model.weights={world.weights}", "evaluation.crop_pcts=[1.0]"
    )
    with contextlib.redirect_stdout(said):
        evaluate(config, world.root / "evaluations")
    print(said.getvalue())
    return "same, from the table" if "in the table already" in said.getvalue() else "measured anew"


def _export(world: World, words: list[str]) -> str:
    from cait_finetune.commands.export import export, read_arguments

    export(
        *read_arguments([f"run={world.run.root}", "export=timm", "export.check_images=3", *words])
    )
    return _of_the_runs_weights(world)


def _report(world: World, words: list[str]) -> str:
    from cait_finetune.commands.report import ReportConfig, report

    report(read_keys([f"run={world.run.root}", *words], ReportConfig))
    return _of_the_runs_weights(world)


def _attention(world: World, words: list[str]) -> str:
    from cait_finetune.commands.attention import AttentionConfig, draw_attention

    draw_attention(read_keys([f"run={world.run.root}", *words], AttentionConfig))
    return _of_the_runs_weights(world)


def _predict(world: World, words: list[str]) -> str:
    from cait_finetune.inference.running import PredictConfig, predict

    images = sorted(
        map(str, (world.images if world.images.is_dir() else world.root).rglob("*.png"))
    )
    predict(PredictConfig(model=str(world.run.root), images=images[:2]))
    return _of_the_runs_weights(world)


def _of_the_runs_weights(world: World) -> str:
    replaced = world.run.best_checkpoint.read_bytes() != world.cut.best_checkpoint.read_bytes()
    return "of the new weights" if replaced else "same"


_RUN: dict[str, Callable[[World, list[str]], str]] = {
    "train from": _train_from,
    "resume": _resume,
    "evaluate": _evaluate,
    "export": _export,
    "report": _report,
    "attention": _attention,
    "predict": _predict,
}


def _reason(message: str, world: World) -> str:
    """Return the part of a message that is the same on every machine."""
    got = message.split(": got ", 1)[-1].split(", expected")[0]
    got = re.sub(r"other (classes|images) than the run's: ", "", got)
    got = got.replace(f"{world.root}/", "").replace("weights.safetensors with other classes, ", "")
    return re.sub(r"\s+", " ", re.sub(r" \([^)]*\)", "", got)).replace("|", "\\|")


def _document(rows: str) -> str:
    return f"""# What may change between two commands

`python -m cait_finetune verify_changes` measures this table. Each row changes one thing; each cell
runs a command after the change. *train from* is a new run with `model.weights=FILE`; *evaluate* scores the
same file; the other commands get the run's directory. *same*: the command runs, with the same weights
as before the change. *same head*: the classes have the names and the order of the weights. *head by name*: columns
of known names keep their weights. *permuted*: the same classes in another order. *same, from the table*: the score was
already in the table. *measured anew*: the command scored the weights again. *of the new weights*: the
output is that of the weights that were copied in.

{rows}

- `dataset.accept_changes=true` makes resume, export, report and attention use changed images. The run
  records the change. Changed classes are refused in any case.
- *folder moved* names the new place with `dataset.data_dir=DIR`.
- Resume, export, report and attention compare the name, label, split and content of each image with the run's
  record. With `dataset.check=false` a command does not read the files of a folder or table before training, and
  does not compare contents; it prints that it did not.
- *evaluate* scores the validation split. In the row *split changed* it scores the test split. A change to images
  outside the scored split leaves its score in the table.
- Weights and exports record their run, classes and preprocessing, and the hashes of a sample of their
  training images. Commands read these facts from the file itself, not from the folder that contains it.
"""


def main() -> None:
    """Entry point. Exit with status 1 on a user's mistake or an outdated document."""
    with entry.command("cait_finetune verify_changes"):
        if not helped(sys.argv[1:], __doc__, ChangesConfig):
            _write_or_check(read_keys(sys.argv[1:], ChangesConfig))


def _write_or_check(config: ChangesConfig) -> None:
    with quiet_imports():
        import tensorflow as tf

        tf.config.list_physical_devices()
    text, path = _document(table()), expanded_path("out", config.out)
    if not config.check:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(f"written to {path}")
    elif not path.is_file() or path.read_text(encoding="utf-8") != text:
        raise bad_value(
            "out",
            f"{path}, which {'differs from the new table' if path.is_file() else 'does not exist'}",
            "the new table",
            "Run the command without check=true to write it",
        )
