"""The sections of a report about predicted numbers. `None`: the run lacks the section's files.

Each function raises UserError if it cannot read one of these files.
"""

from __future__ import annotations

from cait_finetune.report.csv_rows import read_rows
from cait_finetune.report.number_text import MISSING, format_number
from cait_finetune.runs import html
from cait_finetune.runs.directory import RunDirectory, read_json
from cait_finetune.scores.conformal import fewest

_MOST = 200  # rows of a table at most; the CSV file has all rows
_COLUMNS = {
    "mae": "MAE",
    "mae_of_median": "MAE of the median",
    "rmse": "RMSE",
    "r2": "R²",
    "spearman": "Spearman",
    "mean": "mean",
    "std": "std",
    "half_width": "half width",
}


def targets(run: RunDirectory) -> str | None:
    """Return the table of each target's metrics, and sentences on the intervals."""
    rows = read_rows(run.parts / "targets.csv")
    if rows is None:
        return None
    table = html.table(
        ("target", "images", *_COLUMNS.values(), "coverage"),
        [
            (row["target"], f"{int(row['images']):,}", *(_number(row[key]) for key in _COLUMNS),
             f"{float(row['coverage']):.1%}" if row["coverage"] else MISSING)
            for row in rows[:_MOST]
        ],
    )  # fmt: skip
    note = (
        "Test images that have a value of the target. Mean and std are of the true values. "
        "MAE of the median: the error if each prediction were the median of the true values, which "
        "is the best constant. A useful model has a lower MAE."
    )
    if len(rows) > _MOST:
        note += f" The table shows the first {_MOST} of {len(rows):,} targets; report/targets.csv has all."
    lost = [f"{row['target']} ({int(row['not_finite']):,})" for row in rows if _lost(row)]
    warning = html.listed("Predictions that are not finite, by target", lost) if lost else ""
    return warning + table + html.paragraph(note, "note") + _intervals(run, rows)


def _intervals(run: RunDirectory, rows: list[dict[str, str]]) -> str:
    """Return sentences on the intervals. Empty: ``scores.json`` has no ``alpha``."""
    alpha = read_json(run.parts / "scores.json", dict).get("alpha")
    if alpha is None:
        return ""
    without = [row["target"] for row in rows if not row["half_width"]]
    why = (
        f"An interval needs at least {fewest(alpha)} validation images with a value of the target, and "
        "finite predictions."
    )
    if len(without) == len(rows):
        return html.paragraph(f"No target has an interval. {why}")
    said = (
        f"Split conformal prediction with alpha {alpha:g}: the interval of a new image is the prediction "
        f"± the half width. It contains the true value with a probability of at least {1 - alpha:.4g}, if "
        "the image is drawn like the validation images, which determine the half width. Coverage is the "
        "share of test images whose true value is inside the interval."
    )
    if without:
        said += f" No interval: {', '.join(without[:_MOST])}. {why}"
    return html.paragraph(said)


def predicted(run: RunDirectory) -> str | None:
    """Return the figures of predicted against true values and of the residuals."""
    figures = (
        ("predicted.png", "Test images: predicted against true values"),
        ("residuals.png", "Test images: predicted minus true, against the predicted value"),
    )
    present = [(run.parts / name, said) for name, said in figures if (run.parts / name).exists()]
    return "".join(html.picture(path, said) for path, said in present) or None


def errors(run: RunDirectory) -> str | None:
    """Return the images with the largest errors."""
    rows = read_rows(run.parts / "errors.csv")
    if rows is None:
        return None
    if not rows:
        return html.paragraph("No test image has a true value.")
    path = run.parts / "errors.png"
    drawn = (
        html.picture(path, "The largest errors: each image with its true and predicted value")
        if path.exists()
        else html.paragraph("The images were not found here, so they are not shown.")
    )
    shown = html.table(
        ("image", "target", "true", "predicted", "error in std"),
        [
            (row["id"], row["target"], *(_number(row[key]) for key in ("true", "predicted", "error")))
            for row in rows[:_MOST]
        ],
        texts=2,
    )  # fmt: skip
    note = (
        "Each image with its worst target. The error is predicted minus true, in standard deviations of "
        f"the target's true values. {MISSING} as a prediction: it is not finite."
    )
    if len(rows) > _MOST:
        note += f" The table shows {_MOST} of {len(rows):,} images; report/errors.csv has all."
    return drawn + html.folded("the images by name", shown, html.paragraph(note, "note"))


def _lost(row: dict[str, str]) -> bool:
    return int(row["not_finite"]) > 0


def _number(text: str) -> str:
    return format_number(float(text) if text else None)
