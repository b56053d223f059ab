"""What a user should know of loaded weights before the outputs are used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cait_tf.variants import VARIANTS
from cait_tf.weights.assign import HEAD
from cait_tf.weights.stated import other_preparation

if TYPE_CHECKING:
    from cait_tf.backbone import CaiTBackbone
    from cait_tf.classifier import CaiTClassifier
    from cait_tf.weights.report import LoadingReport


def cautions(model: CaiTClassifier | CaiTBackbone, report: LoadingReport) -> list[str]:
    """Return a sentence for each difference between the weights as trained and the model.

    The differences are: columns of the head that keep their values, a head that was trained on images
    of another size, and images that `cait_tf.preprocess` prepares otherwise.
    """
    found = [report.warning] if report.warning else []
    if report.resampled and HEAD[1] in report.loaded:
        (resampled,) = [note for note in report.notes if note.startswith("pos_embed resampled")]
        found.append(
            f"{report.source} was trained on images of another size: {resampled} patches; create the "
            "model with image_size= for its own"
        )
    variant = VARIANTS.get(model.name)
    if variant and (other := other_preparation(variant, report.source)):
        shown = "; ".join(f"{key} {value}" for key, value in other.items())
        found.append(
            f"{report.source} was trained on images prepared with {shown}, which cait_tf.preprocess does "
            "not do: take load_run(RUN).preprocess of cait_finetune"
        )
    return found
