"""Thresholds chosen by measurement: which of two implementations is used.

``.github/docs/PERFORMANCE.md`` has the measurements, with date and machine. A threshold changes
results only by rounding.
"""

from __future__ import annotations

#: Smallest number of patches in a micro-batch. True: training, 4 images of 224 pixels. False:
#: inference, 8 images.
LEAST_PATCHES = {True: 784, False: 1568}

#: Alternatively, smallest number of pairs of patches. True: half precision. False: float32. A
#: micro-batch of 2 images of 224 pixels reaches the float32 value. One image of 384 pixels reaches
#: both values.
LEAST_PAIRS = {False: 70_000, True: 320_000}

#: The gradient keeps the three attention maps of one block and micro-batch up to this size, in
#: bytes.
MOST_BYTES_OF_MAPS = 2**24

#: Up to this number of heads, XLA mixes maps as a sum on a CPU. A matrix product mixes more heads.
FEW_HEADS_CPU = 6

#: `FEW_HEADS_CPU` for JAX, where a step is one XLA program.
FEW_HEADS_JAX = 8

#: Up to this number of images, the gradient of a mixing's kernel uses a separate product for each
#: image.
FEW_IMAGES = 4
