"""Every threshold that a measurement chose: where one way becomes faster than another.

``.github/docs/PERFORMANCE.md`` has the measurements, with date and machine. No threshold changes a result
but for rounding.
"""

from __future__ import annotations

#: The least number of patches of a micro-batch, by whether it is for training: 4 images of 224 pixels
#: in training, 8 in inference.
LEAST_PATCHES = {True: 784, False: 1568}

#: Or the least number of pairs of patches, by whether it is in half precision: 2 images of 224 pixels in
#: float32, 1 image of 384 pixels in either precision.
LEAST_PAIRS = {False: 70_000, True: 320_000}

#: Bytes of a micro-batch's attention maps in one block that are kept for the gradient.
MOST_BYTES_OF_MAPS = 2**24

#: Up to this number of heads XLA mixes maps as a sum on a CPU; more heads are mixed by a product.
FEW_HEADS_CPU = 6

#: The same where a step is one XLA program, as under JAX.
FEW_HEADS_JAX = 8

#: Up to this number of images each has a product of its own for the gradient of a mixing's kernel.
FEW_IMAGES = 4
