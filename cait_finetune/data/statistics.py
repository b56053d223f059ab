"""The mean and the standard deviation of each channel over the training images."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from rich.console import Console

from cait_finetune.config import Config
from cait_finetune.data.bands import RGB, in_units
from cait_finetune.data.corrupt import CorruptImages, explained
from cait_finetune.data.preprocess import Preprocessing, automatic
from cait_finetune.data.source import Source
from cait_finetune.errors import bad_value
from cait_finetune.runtime.progress import progress_bar

_DIGITS = 9  # significant digits: a mean may be far larger than its standard deviation


def settle_statistics(config: Config, source: Source, console: Console) -> dict[str, Any]:
    """Compute an automatic `preprocessing.mean` or `preprocessing.std` from the training images.

    The run saves the numbers in its configuration, so that later commands read them. If neither key is
    automatic, the function does nothing.

    Returns:
        The previous value of each replaced key, such as ``{"preprocessing.mean": "auto"}``.

    Raises:
        UserError: an image is corrupt and `dataset.on_corrupt` is ``stop``, or a channel has the same
            value everywhere.
    """
    wanted = automatic(config.preprocessing, config.model.in_channels)
    if not wanted:
        return {}
    said = {f"preprocessing.{key}": getattr(config.preprocessing, key) for key in wanted}
    channels = config.model.in_channels
    found = dict(zip(("mean", "std"), channel_statistics(config, source, console), strict=True))
    for key in wanted:
        values = [float(f"{value:.{_DIGITS}g}") for value in found[key]]
        if key == "std" and not min(values) > 0:
            raise bad_value(
                "preprocessing.std",
                f"auto, with the same value everywhere in channel {int(np.argmin(values)) + 1} of {channels}",
                "images whose channels all vary",
                "Leave the channel out of the images, or set preprocessing.std to numbers.",
            )
        setattr(config.preprocessing, key, values)
        shown = ", ".join(f"{value:g}" for value in values)
        console.print(f"data   {key} of the training images: {shown}", highlight=False)
    return said


def channel_statistics(
    config: Config, source: Source, console: Console
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation ``(C,)`` of all pixels of the training images.

    The values are in the unit of `data.bands`. Each image is decoded once, and not resized.

    Raises:
        UserError: an image is corrupt and `dataset.on_corrupt` is ``stop``.
    """
    channels = config.model.in_channels
    # This preprocessing only decodes images: its mean and std are not used.
    reading = Preprocessing(
        (1, 1), 1.0, "bilinear", (0.0,) * channels, (1.0,) * channels,
        upright=config.dataset.upright,
    )  # fmt: skip
    corrupt = CorruptImages(config.dataset.on_corrupt, quiet=True)  # training finds them again

    def sums(example: dict) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        image = reading.decode(source.read(example)["image"])
        values = in_units(image) if channels == RGB else image
        values = tf.reshape(tf.cast(values, tf.float64), [-1, channels])
        mean = tf.reduce_mean(values, axis=0)
        # Squares of differences from the image's own mean: large values would lose digits otherwise.
        spread = tf.reduce_sum((values - mean) ** 2, axis=0)
        return tf.cast(tf.shape(values)[0], tf.float64), mean, spread

    stand_in = (tf.zeros((), tf.float64), *(tf.zeros(channels, tf.float64) for _ in range(2)))
    size = source.sizes["train"]
    # AutoGraph would try to convert the functions above, and warn.
    examples = tf.autograph.experimental.do_not_convert(corrupt.attempt)(
        source.records("train"), size, sums, stand_in, config.dataset.parallel_calls,
        explained(source, reading),
    )  # fmt: skip
    count, mean, spread = 0.0, np.zeros(channels), np.zeros(channels)
    with progress_bar("mean and std of the training images", size, console) as advance:
        try:
            for pixels, own_mean, own_spread in examples.as_numpy_iterator():
                corrupt.check()
                # Chan, Golub and LeVeque 1979: sums of squares of two groups, combined.
                total = count + pixels
                delta = own_mean - mean
                mean = mean + delta * (pixels / total)
                spread = spread + own_spread + delta**2 * (count * pixels / total)
                count = total
                advance()
        except tf.errors.OpError as error:
            corrupt.explain(error)
            raise
    corrupt.check()
    return mean, np.sqrt(spread / count)
