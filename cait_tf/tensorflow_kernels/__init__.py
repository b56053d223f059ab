"""What costs most besides matrix products, with gradients by hand, for TensorFlow.

TensorFlow runs a formula operation by operation, each a pass over memory, and keeps the results of
most for the gradient. Here the forward and the backward formula are each compiled by XLA into one
pass, and only the inputs are kept, or less (`branch`), but for small attention maps. Matrix products
stay with oneDNN, which XLA's are slower than: compiling the whole step makes it slower. Those that mix few
heads at inference are sums (`maps`). XLA is used on a CPU alone; elsewhere the formulas are the same.
They serve inference, too, where it is asked for (`infer`).

On a CPU parts of a batch go side by side, each on one core (`side_by_side`), and what they need of the
weights is made before them (`before_loop`).

A product's bias is added by what follows it, as oneDNN takes as long for it as for the product in
bfloat16: 0.7 and 0.8 ms for queries, keys and values of 16 images of cait_xxs24_224 on two cores.
The same block's other parts, in ms, as operations and as here:

========================================  ==============  ==============
part                                      float32         bfloat16
========================================  ==============  ==============
GELU, forward and back                    7.4 -> 2.3      10.3 -> 2.9
LayerNorm, forward and back               4.9 -> 2.0      5.0 -> 2.0
softmax, forward and back                 4.0 -> 2.8      8.1 -> 3.1
gradients of q, k and v side by side      1.1 -> 0.7      0.8 -> 0.5
========================================  ==============  ==============

Only what is differentiated once can be here: TensorFlow does not know the gradients' gradients.
"""

from cait_tf.tensorflow_kernels.attention import talking_heads
from cait_tf.tensorflow_kernels.before_loop import weights_before_loop
from cait_tf.tensorflow_kernels.branch import add_product, norm_product
from cait_tf.tensorflow_kernels.compiled import compiled_inference, cpu_alone, fuses, used
from cait_tf.tensorflow_kernels.maps import softmax
from cait_tf.tensorflow_kernels.pointwise import gelu, layer_norm
from cait_tf.tensorflow_kernels.side_by_side import (
    at_once,
    equal_parts,
    in_halves,
    infer,
    one_thread_each,
    parts_traced,
    patches_in_halves,
    training_parts,
)

__all__ = [
    "add_product",
    "at_once",
    "compiled_inference",
    "cpu_alone",
    "equal_parts",
    "fuses",
    "gelu",
    "in_halves",
    "infer",
    "layer_norm",
    "norm_product",
    "one_thread_each",
    "parts_traced",
    "patches_in_halves",
    "softmax",
    "talking_heads",
    "training_parts",
    "used",
    "weights_before_loop",
]
