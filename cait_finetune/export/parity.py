"""The gate: an export that does not do what evaluation did is not an export."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from cait_finetune.errors import UserError

TOLERANCE = 1e-4


def check_parity(
    directory: Path,
    model: keras.Model,
    preprocess: Callable[[tf.Tensor], tf.Tensor],
    decode: Callable[[tf.Tensor], tf.Tensor],
    samples: Sequence[tuple[str, bytes]],
    multi_label: bool = False,
    temperature: float = 1.0,
) -> float:
    """Compare both signatures of a SavedModel with evaluation on real image files.

    Returns:
        The largest difference of a probability.

    Raises:
        UserError: another top-1 on any image, or an output further off than `TOLERANCE`.
    """
    signatures = tf.saved_model.load(str(directory)).signatures
    images = tf.stack([preprocess(decode(data)) for _, data in samples])  # (B, S, S, 3)
    features = model.backbone(images, training=False)
    logits = model.head(features)
    expected = (tf.sigmoid if multi_label else tf.nn.softmax)(
        logits / temperature
    ).numpy()  # (B, C)

    served = signatures["serving_default"](image_bytes=tf.constant([data for _, data in samples]))
    raw = signatures["images"](images=images)
    got = served["probabilities"].numpy()
    differences = {
        "probabilities": np.abs(got - expected).max(),
        "logits": np.abs(raw["logits"].numpy() - logits.numpy()).max(),
        "features": np.abs(raw["features"].numpy() - features.numpy()).max(),
    }
    other = np.flatnonzero(served["classes"].numpy() != logits.numpy().argmax(-1))
    # `not <=`: a NaN must not pass.
    beyond = [f"{name} by {d:.2g}" for name, d in differences.items() if not d <= TOLERANCE]
    if len(other) or beyond:
        first = f", the first on {samples[other[0]][0]}" if len(other) else ""
        raise UserError(
            f"export: got a SavedModel with another top-1 on {len(other)} of {len(samples)} "
            f"images{first}; beyond {TOLERANCE:g}: {', '.join(beyond) or 'nothing'}; expected the "
            "outputs of evaluation. The export is removed, the checkpoints are kept"
        )
    return float(differences["probabilities"])
