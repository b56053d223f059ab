"""The sections of a report. Each function returns HTML; `None`: the run lacks the section's files.

Each function raises UserError if it cannot read one of these files.
"""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter
from typing import Any

from cait_finetune.config.metrics import format_value, further_scores, known_metrics, of_label
from cait_finetune.errors import UserError
from cait_finetune.report.csv_rows import read_rows
from cait_finetune.report.pictures import pictures
from cait_finetune.runs import html
from cait_finetune.runs.directory import RunDirectory, read_json
from cait_finetune.runs.exports import current_result

_MOST = 200  # rows of a table at most; the CSV file has all rows
_PAIRS = 20
_MAIN_PACKAGES = (
    "cait-finetune", "tensorflow", "keras", "numpy", "tensorflow-datasets", "hydra-core",
    "scikit-learn", "scipy",
)  # fmt: skip


def scores(run: RunDirectory) -> str | None:
    """Return the table of test and validation metrics."""
    found = read_json(run.parts / "scores.json", dict)
    if not found:
        return None
    splits = [name for name in ("test", "validation") if name in found]
    # A label of several may have images in one split only.
    names = known_metrics({key: None for name in splits for key in found[name]})
    keys, further = list(names), further_scores(found[splits[0]])
    of_classes = ["ECE"] if "ece" in found[splits[0]] else []
    rows = [
        (name, f"{found[name]['images']:,}", *(_metric(found[name], key) for key in keys),
         f"{found[name]['loss']:.4f}", *(f"{found[name]['ece']:.2%}" for _ in of_classes),
         *(f"{found[name][key]:.4g}" for key in further))
        for name in splits
    ]  # fmt: skip
    head = (
        "split", "images", *names.values(), "loss", *of_classes, *further,
    )  # fmt: skip
    weights = "trained"
    with contextlib.suppress(UserError):  # another section reports an unreadable result.json
        weights = current_result(run).get("best_weights", weights)
    note = (
        f"The best epoch was chosen on the validation images. The {weights} weights are scored in "
        "float32, each image once. "
        + ("ECE and loss are before the temperature. " if of_classes else "")
        + "In brackets: the 95 % interval, Wilson's for top-1, and a bootstrap over the images for "
        "mAP, R² and means over several labels."
    )
    return html.table(head, rows) + html.paragraph(note, "note")


def _metric(scores: dict[str, Any], key: str) -> str:
    if key not in scores:
        return "–"
    return format_value(key, scores[key], scores.get("intervals", {}).get(key))


def curves(run: RunDirectory) -> str | None:
    """Return the curves of loss, accuracy and learning rate."""
    if not run.curves.exists():
        return None
    return html.picture(run.curves, "Loss and accuracy over the epochs, learning rate over steps")


def classes(run: RunDirectory) -> str | None:
    """Return the table of per-class metrics, worst class first."""
    rows = read_rows(run.parts / "classes.csv")
    if rows is None:
        return None
    several = any(row["average_precision"] for row in rows)
    keys = ["precision", "recall", "f1"] + (["average_precision"] if several else [])
    judged = "average_precision" if several else "f1"
    present = [row for row in rows if int(row["support"])]
    ordered = sorted(present, key=lambda row: float(row[judged] or 0))
    mean = [sum(float(row[key] or 0) for row in present) / max(len(present), 1) for key in keys]
    names = {"average_precision": "average precision", "f1": "F1"}
    table = html.table(
        ("class", "images", *(names.get(key, key) for key in keys)),
        [
            (row["name"], f"{int(row['support']):,}", *(_percent(row[key]) for key in keys))
            for row in ordered[:_MOST]
        ],
    )
    words = [
        f"{len(rows):,} classes, of which {len(present):,} have test images; the worst first. "
        f"Means over the classes: "
        + ", ".join(f"{names.get(k, k)} {value:.2%}" for k, value in zip(keys, mean, strict=True))
        + "."
    ]
    if several:
        words.append("A class is predicted if its probability is above one half.")
    if len(ordered) > _MOST:
        words.append(f"The table shows the worst {_MOST}; report/classes.csv has all.")
    return html.paragraph(" ".join(words)) + table


def confusion(run: RunDirectory) -> str | None:
    """Return the confusion matrix and the most confused pairs."""
    rows = read_rows(run.parts / "confusion.csv")
    if rows is None:
        return None
    wrong = [row for row in rows if row["truth"] != row["prediction"]][:_PAIRS]
    content = "".join(
        html.picture(path, "Test images by their class and prediction")
        for path in pictures(run.parts, "confusion")
    )
    if not wrong:
        return content + html.paragraph("No class is confused with another.")
    return (
        content
        + html.heading("Most confused")
        + html.table(
            ("true class", "predicted", "images", "share of the class"),
            [
                (row["truth"], row["prediction"], row["images"], _percent(row["share_of_truth"]))
                for row in wrong
            ],
            texts=2,
        )
        + html.paragraph("All pairs: report/confusion.csv.", "note")
    )


def calibration(run: RunDirectory) -> str | None:
    """Return the temperature, the reliability diagram, and ECE and loss before and after."""
    found = read_json(run.parts / "scores.json", dict)
    temperatures = found.get("temperatures", {"": found.get("temperature")})
    if None in temperatures.values():
        return None
    fitted = ", ".join(
        f"{one:.4f}{f' for {label}' if label else ''}"
        for label, one in temperatures.items()
        if one != 1
    )
    needs = (
        "A fit needs at least 50 validation images, finite logits and a wrong prediction. "
        "Probabilities do not change."
    )
    said = (
        f"Temperature {fitted}, fitted on the validation images. The export divides its "
        "logits by the temperature: probabilities change, the most probable class does not."
        if fitted
        else f"Temperature 1: no temperature was fitted. {needs}"
    )
    others = [label for label in _measured_labels(found) if temperatures.get(label, 1) == 1]
    if fitted and others:
        said += f" No temperature was fitted for {', '.join(others)}. {needs}"
    rows = [
        (f"{split}, {state}", f"{found[split]['ece' + suffix]:.2%}",
         f"{found[split]['loss' + suffix]:.4f}")
        for split in ("test", "validation")
        for state, suffix in (("before", ""), ("after", "_calibrated"))
        if "ece" in found[split]
    ]  # fmt: skip
    return (
        html.paragraph(said)
        + "".join(
            html.picture(path, "Reliability on the test images")
            for path in pictures(run.parts, "reliability")
        )
        + html.table(("", "ECE", "negative log-likelihood"), rows)
        + html.paragraph(
            "ECE is the mean difference between confidence and accuracy, in 15 bins of equal width "
            "(Guo et al. 2017). The bins: report/reliability.csv.",
            "note",
        )
    )


def _measured_labels(found: dict[str, Any]) -> list[str]:
    """Return the labels that images of validation or test have. Empty: a task with one label."""
    of_ece = of_label("ece", "")
    splits = (found[split] for split in ("validation", "test"))
    keys = dict.fromkeys(key for one in splits for key in one if key.startswith(of_ece))
    return [key.removeprefix(of_ece) for key in keys]


def mistakes(run: RunDirectory) -> str | None:
    """Return the most confident mistakes, and the number of mistakes of each class."""
    rows = read_rows(run.parts / "mistakes.csv")
    if rows is None:
        return None
    if not rows:
        return html.paragraph("The model classifies every test image correctly.")
    path = run.parts / "mistakes.png"
    drawn = (
        html.picture(path, "Each image with its class, its prediction and its class saliency map")
        if path.exists()
        else html.paragraph("The images were not found here, so they are not shown.")
    )
    shown = html.table(
        ("image", "true class", "predicted", "probability"),
        [
            (row["id"], row["truth"], row["prediction"], _percent(row["probability"]))
            for row in rows[:_MOST]
        ],
        texts=3,
    )
    note = html.paragraph("All of them: report/mistakes.csv.", "note") if len(rows) > _MOST else ""
    return drawn + _mistakes_by_class(rows) + html.folded("the images by name", shown + note)


def _mistakes_by_class(rows: list[dict[str, str]]) -> str:
    """Return a table of the mistakes in each true class, and its most frequent wrong prediction."""
    taken: dict[str, Counter[str]] = {}
    for row in rows:
        taken.setdefault(row["truth"], Counter())[row["prediction"]] += 1
    ordered = sorted(taken.items(), key=lambda one: -one[1].total())[:_MOST]
    return html.heading("By class") + html.table(
        ("true class", "most often predicted", "how often", "all mistakes"),
        [
            (
                truth,
                found.most_common(1)[0][0],
                f"{found.most_common(1)[0][1]:,}",
                f"{found.total():,}",
            )
            for truth, found in ordered
        ],
        texts=2,
    )


_SPEED = {
    "images_per_second",
    "data_wait_share",
    "train_seconds",
    "wall_seconds",
    "peak_memory_gb",
    "steps",
    "skipped_steps",
}


def speed(run: RunDirectory) -> str | None:
    """Return throughput, times and peak memory."""
    picture = run.parts / "speed.png"
    found = current_result(run)
    measured = found.keys() >= _SPEED  # results of early versions lack some keys
    if not (picture.exists() or measured):
        return None
    content = ""
    if measured:
        rate, waited = found["images_per_second"], found["data_wait_share"]
        content = html.facts(
            [
                ("training", f"{rate:,.0f} images per second" if rate else "not timed"),
                ("waiting for images", f"{waited:.1%}" if waited is not None else "not timed"),
                ("training time", _duration(found["train_seconds"])),
                ("total time", _duration(found["wall_seconds"])),
                ("peak memory", f"{found['peak_memory_gb']:.2f} GB"),
                ("steps", f"{found['steps']:,}, of which {found['skipped_steps']:,} skipped"),
            ]
        )
    return content + (
        html.picture(picture, "For each line of metrics.jsonl") if picture.exists() else ""
    )


def export(run: RunDirectory) -> str | None:
    """Return the exported files with their largest difference to the trained model."""
    found = current_result(run)
    exports = found.get("exports")
    if not exports:
        return None
    facts = []
    for name, one in exports.items():
        facts.append((name, f"{one['path']}: largest difference {one['difference']:.1e}"))
        for variant, metrics in one.get("variants", {}).items():
            worse = 100 * (metrics["accuracy"] - metrics["plain_accuracy"])
            facts.append((variant, f"{metrics['path']}: {worse:+.2f} points on validation"))
    if "temperature" in found:
        facts.append(("temperature in files", f"{found['temperature']:.4f}"))
    return html.facts(facts)


def parameters(run: RunDirectory) -> str | None:
    """Return the parameter table by phase and group."""
    rows = read_rows(run.parameters)
    if rows is None:
        return None
    phases = list(dict.fromkeys(row["phase"] for row in rows))  # in training order
    ordered = sorted(rows, key=lambda row: (phases.index(row["phase"]), int(row["group"])))
    shown = []
    for (phase, group), listed in itertools.groupby(
        ordered, key=lambda row: (row["phase"], row["group"])
    ):
        members = list(listed)
        sizes = [_size(row["shape"]) for row in members]
        trained = sum(
            size for size, row in zip(sizes, members, strict=True) if row["trainable"] == "True"
        )
        decay = max(float(row["weight_decay"]) for row in members)
        shown.append((phase, group, len(members), f"{trained:,}", f"{sum(sizes):,}",
                      f"{float(members[0]['multiplier']):.4g}", f"{decay:g}"))  # fmt: skip
    head = ("phase", "group", "variables", "trained", "of", "multiplier", "weight decay")
    note = (
        "Groups are the layers from the embedding to the head. The learning rate of a group is its "
        "multiplier times the rate in the curves. Biases, norms and LayerScale have no weight "
        "decay. Each variable: parameters.csv."
    )
    return html.table(head, shown) + html.paragraph(note, "note")


def configuration(run: RunDirectory) -> str | None:
    """Return the whole ``config.yaml``."""
    return html.folded(
        "config.yaml, the whole configuration", html.code(run.config.read_text(encoding="utf-8"))
    )


def environment(run: RunDirectory) -> str | None:
    """Return the machine, code version and packages of the run's last process."""
    records = read_json(run.environment, list, dict)
    if not records:
        return None
    last = records[-1]
    git = last["git"]
    changed = f", with {git['changed_files']} changed files" if git and git["changed_files"] else ""
    packages = last["packages"]
    return html.facts(
        [
            ("computed on", ", ".join([last["devices"], *last["gpus"]])),
            ("processor", f"{last['processor']}, {last['cpu_cores']} cores"),
            ("memory", f"{last['memory_gb']} GB"),
            ("system", last["platform"]),
            ("Python", last["python"]),
            ("git commit", git["commit"] + changed if git else "none"),
            *((name, packages[name]) for name in _MAIN_PACKAGES if name in packages),
            ("processes", f"{len(records)}, the last started {last['started']}"),
        ]
    ) + html.folded(
        f"all {len(packages)} packages",
        html.code("\n".join(f"{name}=={version}" for name, version in packages.items())),
    )


def command(run: RunDirectory) -> str | None:
    """Return the command that started the run."""
    records = read_json(run.environment, list, dict)
    if not records:
        return None
    typed = run.read_command()
    if not typed:
        return html.paragraph(
            "The run was started from Python, not by a command. config.yaml is its whole configuration."
        )
    return (
        html.code(typed)
        + html.paragraph(
            f"Relative paths start at {records[0]['working_directory']}. config.yaml has the whole resolved "
            "configuration; use it if a recipe or a default has changed. The same packages give the same "
            "bits on a CPU, and on a GPU with deterministic=true."
        )
        + html.paragraph(
            "To write this page again: python -m cait_finetune report run=DIRECTORY", "note"
        )
    )


def _percent(text: str) -> str:
    return f"{float(text):.1%}" if text else "–"


def _size(shape: str) -> int:
    size = 1
    for side in filter(None, shape.split("x")):
        size *= int(side)
    return size


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
