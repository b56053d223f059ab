import inspect
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from cait_tf import attention, blocks, layers
from tests.cait_tf.arrays import CLS, PATCHES, normal, randomise

#: Each layer with arguments that are not the defaults, and the shapes of its inputs.
LAYERS = {
    "PatchEmbed": (lambda: layers.PatchEmbed(4, 12), [(2, 8, 12, 3)]),
    "LayerScale": (lambda: layers.LayerScale(0.5), [PATCHES]),
    "DropPath": (lambda: layers.DropPath(0.3), [PATCHES]),
    "HeadMixing": (lambda: attention.HeadMixing(3), [(2, 3, 9, 9)]),
    "TalkingHeadAttention": (lambda: attention.TalkingHeadAttention(12, 3, 0.1, 0.2), [PATCHES]),
    "ClassAttention": (lambda: attention.ClassAttention(12, 3), [PATCHES]),
    "LayerNormalization": (lambda: layers.LayerNormalization(epsilon=0.1), [PATCHES]),
    "Mlp": (lambda: layers.Mlp(24, 12, 0.1), [PATCHES]),
    "SelfAttentionBlock": (
        lambda: blocks.SelfAttentionBlock(12, 3, 2.0, 0.5, 0.1, 0.2, 0.3),
        [PATCHES],
    ),
    "ClassAttentionBlock": (lambda: blocks.ClassAttentionBlock(12, 3, 2.0, 0.5), [CLS, PATCHES]),
}


def test_every_layer_is_round_tripped():
    defined = {
        name
        for module in (layers, attention, blocks)
        for name, value in vars(module).items()
        if inspect.isclass(value) and issubclass(value, keras.Layer)
    }
    assert defined == set(LAYERS)


@pytest.mark.parametrize("name", LAYERS)
def test_config_mirrors_the_constructor(name):
    layer = LAYERS[name][0]()
    arguments = set(inspect.signature(type(layer)).parameters) - {"kwargs"}
    assert arguments <= set(layer.get_config())


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("name", LAYERS)
def test_config_round_trip_computes_the_same(name, dtype):
    create, shapes = LAYERS[name]
    with _dtype_policy(dtype):
        layer = create()
    clone = type(layer).from_config(layer.get_config())
    assert clone.get_config() == layer.get_config()
    inputs = [normal(*shape) for shape in shapes]
    layer(*inputs), clone(*inputs)
    randomise(layer), randomise(clone)
    assert len(clone.weights) == len(layer.weights)
    np.testing.assert_array_equal(
        ops.convert_to_numpy(ops.cast(clone(*inputs), "float32")),
        ops.convert_to_numpy(ops.cast(layer(*inputs), "float32")),
    )


class _dtype_policy:
    def __init__(self, name):
        self.name, self.before = name, keras.config.dtype_policy()

    def __enter__(self):
        keras.config.set_dtype_policy(self.name)

    def __exit__(self, *_):
        keras.config.set_dtype_policy(self.before)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-15), ("float32", 1e-6)])
def test_gelu_is_exact(dtype, tolerance):
    x = np.linspace(-6, 6, 101)
    exact = [value * 0.5 * (1 + math.erf(value / math.sqrt(2))) for value in x]
    got = layers.gelu(ops.convert_to_tensor(x, dtype))
    np.testing.assert_allclose(np.asarray(got), exact, rtol=0, atol=tolerance)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_gelu_in_half_precision_is_the_float32_one_rounded(dtype):
    x = ops.cast(normal(64), dtype)
    got = layers.gelu(x)
    assert keras.backend.standardize_dtype(got.dtype) == dtype
    expected = ops.cast(layers.gelu(ops.cast(x, "float32")), dtype)
    assert ops.all(got == expected)


def test_gelu_after_a_product_in_bfloat16_is_rounded_at_its_end():
    """Without bfloat16 products in the processor, TensorFlow rounds after each operation."""
    parts = [ops.cast(one, "bfloat16") for one in (normal(8, 64), normal(64, 64), normal(64))]

    def gelu_of_product(x, kernel, bias):
        return layers.gelu(tf.nn.bias_add(ops.matmul(x, kernel), bias))

    fused = np.asarray(ops.cast(tf.function(gelu_of_product)(*parts), "float64"))
    one_by_one = np.asarray(ops.cast(gelu_of_product(*parts), "float64"))
    x, kernel, bias = (np.asarray(ops.cast(one, "float64")) for one in parts)
    exact = np.asarray(layers.gelu(ops.convert_to_tensor(x @ kernel + bias)))
    error = np.abs(fused - exact) / (1 + np.abs(exact))
    # With erf in bfloat16 the error would exceed the limit.
    assert error.max() < 2**-8 or np.array_equal(fused, one_by_one)


def test_layer_norm_has_cait_epsilon():
    norm = layers.layer_norm("norm", keras.DTypePolicy("float32"))
    got = norm(np.array([[-1e-3, 1e-3]], "float32"))  # variance 1e-6, as large as epsilon
    np.testing.assert_allclose(got, [[-math.sqrt(0.5), math.sqrt(0.5)]], rtol=1e-5)


def test_patches_are_cut_row_by_row():
    embed = layers.PatchEmbed(2, 12)
    image = np.arange(2 * 4 * 6 * 3, dtype="float32").reshape(2, 4, 6, 3)
    embed.build(image.shape)
    # A kernel that copies: each output channel is one value of the patch.
    embed.proj.kernel.assign(np.eye(12).reshape(2, 2, 3, 12))
    patches = image.reshape(2, 2, 2, 3, 2, 3).transpose(0, 1, 3, 2, 4, 5).reshape(2, 6, 12)
    np.testing.assert_array_equal(np.asarray(embed(image)), patches)


def test_layer_scale_multiplies_each_channel():
    scale = layers.LayerScale(1e-6)
    x = normal(2, 3, 4)
    np.testing.assert_allclose(scale(x), x * np.float32(1e-6), rtol=1e-6)
    scale.gamma.assign([1.0, 2.0, 3.0, 4.0])
    np.testing.assert_allclose(scale(x), x * [1, 2, 3, 4], rtol=1e-6)


def test_drop_path_is_the_identity_outside_training():
    x = normal(8, 3, 4)
    np.testing.assert_array_equal(layers.DropPath(0.5)(x, training=False), x)
    np.testing.assert_array_equal(layers.DropPath(0.0)(x, training=True), x)


def test_drop_path_drops_whole_examples_at_its_rate_and_rescales_the_others():
    kept = np.asarray(layers.DropPath(0.25)(np.ones((4000, 3, 2), "float32"), training=True))
    assert (kept == kept[:, :1, :1]).all()
    np.testing.assert_allclose(np.unique(kept), [0, 1 / 0.75], rtol=1e-6)
    assert np.mean(kept[:, 0, 0] == 0) == pytest.approx(0.25, abs=0.04)  # six standard deviations


def test_drop_path_draws_anew_at_each_call():
    drop, x = layers.DropPath(0.5), np.ones((64, 1), "float32")
    assert (np.asarray(drop(x, training=True)) != np.asarray(drop(x, training=True))).any()


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5])
def test_drop_path_refuses_an_impossible_rate(rate):
    with pytest.raises(ValueError, match=f"rate: got {rate}"):
        layers.DropPath(rate)
