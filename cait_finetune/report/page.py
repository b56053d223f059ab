"""Write ``report.html``: the results of a run on one self-contained page."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from omegaconf import OmegaConf

from cait_finetune.config import EXPORT_FORMATS, TaskConfig
from cait_finetune.config.metrics import format_value, known_metrics
from cait_finetune.errors import UserError, bad_value
from cait_finetune.report import number_sections, sections
from cait_finetune.runs import html
from cait_finetune.runs.directory import RunDirectory, read_json
from cait_finetune.runs.exports import current_result
from cait_finetune.tasks import known_sections, task_of
from cait_tf.atomic import write_text

Made = TypeVar("Made")

#: Section titles, and functions that return a section's HTML. `None`: the run lacks its files.
_SECTIONS: tuple[tuple[str, Callable[[RunDirectory], str | None]], ...] = (
    ("Scores", sections.scores),
    ("Curves", sections.curves),
    ("Classes", sections.classes),
    ("Confusion", sections.confusion),
    ("Calibration", sections.calibration),
    ("Mistakes", sections.mistakes),
    ("Targets", number_sections.targets),
    ("Predictions", number_sections.predicted),
    ("Largest errors", number_sections.errors),
    ("Speed and memory", sections.speed),
    ("Export", sections.export),
    ("Parameters", sections.parameters),
    ("Configuration", sections.configuration),
    ("Environment", sections.environment),
    ("Make it again", sections.command),
)

_TEST = "test_"


def write_page(run: RunDirectory, reasons: Iterable[str] = ()) -> tuple[list[str], list[str]]:
    """Write the page. It needs only the files in the run's directory.

    Args:
        reasons: why parts of the report are missing. The page shows these lines.

    Returns:
        The titles of missing sections that the run should have, and all reasons: the given reasons,
        and a line for each file that cannot be read.

    Raises:
        UserError: the page cannot be written.
    """
    damaged: dict[str, None] = {}

    def from_files(make: Callable[[RunDirectory], Made], otherwise: Made) -> Made:
        try:
            return make(run)
        except UserError as error:
            damaged[str(error)] = None
        except (LookupError, TypeError, ValueError, AttributeError) as error:  # edited by hand
            name = make.__name__.strip("_").replace("_", " ")
            damaged[f"{name}: a value in the run's files is missing or of wrong type: {error}"] = (
                None
            )
        return otherwise

    made = [(title, from_files(make, None)) for title, make in _SECTIONS]
    present = [(title, content) for title, content in made if content is not None]
    config = run.read_config()
    expected = {title for title, content in made if content is None} - _not_for(config)
    missing = [title for title, _ in made if title in expected]
    unfinished = not from_files(current_result, {})
    top = _headline(from_files(_metrics, {}))
    when = from_files(_when, "started at an unknown time")
    reasons = [*reasons, *damaged]
    if unfinished or missing or reasons:
        lines = ["the run is not finished"] if unfinished else []
        lines += [f"not here: {', '.join(missing)}"] if missing else []
        top = html.listed("Not everything is here", [*lines, *reasons]) + top
    text = html.document(
        f"{_chosen(config, 'dataset.name')}, {_chosen(config, 'model.name')}",
        f"{run.root.resolve().name} · {when} · {'unfinished' if unfinished else 'finished'}",
        present,
        top,
    )
    try:
        write_text(run.report, text)
    except OSError as error:
        raise bad_value(
            "report", run.report, f"a file that can be written ({error.strerror})"
        ) from error
    return missing, reasons


def _not_for(config: Any) -> set[str]:
    """Return the titles of sections that a run with this configuration does not have."""
    exported = any(_chosen(config, f"export.{name}") is True for name in EXPORT_FORMATS)
    without = set() if exported else {"Export"}
    task = _chosen(config, "task.name")
    own = task_of(TaskConfig() if task == "?" else TaskConfig(task)).sections
    return without | known_sections() - set(own)


def _chosen(config: Any, key: str) -> Any:
    return OmegaConf.select(config, key, default="?")


def _metrics(run: RunDirectory) -> dict:
    """Return the result of the best weights. Test metrics come from ``scores.json``, as in the other sections."""
    result = current_result(run)
    if not result:
        return result
    scores = read_json(run.parts / "scores.json", dict)
    shown = {f"test_{name}": value for name, value in scores.get("test", {}).items()}
    return result | {key: value for key, value in shown.items() if key in result}


def _headline(result: dict) -> str:
    test = {
        key.removeprefix(_TEST): value for key, value in result.items() if key.startswith(_TEST)
    }
    names = known_metrics(test)
    if "ece_calibrated" in test:
        names["ece_calibrated"] = "ECE with temperature"
    shown = [(words, format_value(key, test[key])) for key, words in names.items()]
    if not shown:
        return ""
    if "temperature" in result:  # results of earlier versions lack it
        shown.append(("temperature", f"{result['temperature']:.2f}"))
    return html.tiles([*shown, ("best epoch", str(result["best_epoch"]))])


def _when(run: RunDirectory) -> str:
    records = read_json(run.environment, list, dict)
    return f"started {records[0]['started']}" if records else "started at an unknown time"
