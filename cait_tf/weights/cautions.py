"""Warnings about loaded weights that affect the use of the outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cait_tf.weights.assign import column_names
from cait_tf.weights.stated import PREPARATION, format_preparation, other_preparation, stated_facts

if TYPE_CHECKING:
    from cait_tf.weights.report import LoadingReport


def cautions(report: LoadingReport) -> list[str]:
    """Return a sentence for each difference between the weights as trained and the model.

    The differences are: columns of the head that keep their values, a head that was trained on images
    of another size, and training images that were preprocessed otherwise than by
    `cait_tf.preprocess`.
    """
    found = [report.warning] if report.warning else []
    if report.resampled and column_names(report.loaded):
        (resampled,) = [note for note in report.notes if note.startswith("pos_embed resampled")]
        found.append(
            f"{report.source} was trained on images of another size: {resampled} patches; create the "
            "model with the image_size= of the weights"
        )
    if other := other_preparation(stated_facts(report.source).get(PREPARATION)):
        found.append(
            f"{report.source} was trained on images prepared with {format_preparation(other)}, which "
            "cait_tf.preprocess does not do: take load_run(RUN).preprocess of cait_finetune"
        )
    return found
