import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf

from cait_tf import CaiTBackbone, CaiTError, load_weights
from cait_tf.weights.assign import parameters
from tests.cait_tf import golden


def test_attention_maps_have_the_collections_names_and_shapes(golden_classifier, images):
    features, maps = golden_classifier.backbone(images, return_attention=True)
    n = golden.PATCHES
    shapes = dict.fromkeys(golden.TRUNK_MAPS, (4, 2, n, n))
    shapes |= dict.fromkeys(golden.CLASS_MAPS, (4, 2, 1, 1 + n))
    assert {name: tuple(value.shape) for name, value in maps.items()} == shapes
    # Without maps, the mixing biases are added elsewhere, so rounding differs.
    np.testing.assert_allclose(features, golden_classifier.backbone(images), atol=1e-5)


@pytest.mark.parametrize("name", golden.CLASS_MAPS)
def test_class_attention_is_a_distribution_over_tokens(name, golden_classifier, images):
    _, maps = golden_classifier.backbone(images, return_attention=True)
    row = np.asarray(maps[name])
    assert (row >= 0).all()
    np.testing.assert_allclose(row.sum(-1), 1, atol=1e-5)


def test_class_attention_blocks_leave_the_patches_alone(images):
    model = golden.backbone(layer_scale_init=1.0)
    before = np.asarray(model.forward_features(images))
    for variable in model.blocks_token_only[1].weights:
        variable.assign(variable + 0.1)
    after = np.asarray(model.forward_features(images))
    np.testing.assert_array_equal(after[:, 1:], before[:, 1:])
    assert np.abs(after[:, 0] - before[:, 0]).max() > 1e-2


def test_the_class_token_enters_after_the_trunk(images):
    model = golden.backbone()
    assert model.pos_embed.shape == (1, golden.PATCHES, 96)
    _, before = model(images, return_attention=True)
    model.cls_token.assign(model.cls_token + 1.0)
    _, after = model(images, return_attention=True)
    for name in golden.TRUNK_MAPS:
        np.testing.assert_array_equal(after[name], before[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", golden.layer_decay_scales())
def test_layer_ids_give_timms_learning_rate_scales(name, hollow_models):
    model = hollow_models[name]
    last = model.num_layer_ids - 1
    got = {
        parameter: 0.75 ** (last - model.layer_id(variable.path))
        for parameter, variable in parameters(model).items()
    }
    expected = golden.layer_decay_scales()[name]["lr_scale_and_weight_decay"]
    assert got == {parameter: scale for parameter, (scale, _) in expected.items()}


@pytest.mark.parametrize("name", golden.layer_decay_scales())
def test_weight_decay_leaves_out_what_timm_leaves_out(name, hollow_models):
    model = hollow_models[name]
    exempt = model.no_weight_decay()
    got = {
        parameter: 0.05 if len(variable.shape) > 1 and parameter not in exempt else 0.0
        for parameter, variable in parameters(model).items()
    }
    expected = golden.layer_decay_scales()[name]["lr_scale_and_weight_decay"]
    assert got == {parameter: decay for parameter, (_, decay) in expected.items()}


def test_every_block_has_its_own_place_in_the_forward_pass():
    model = golden.classifier()  # three trunk blocks, two class-attention blocks
    places = {
        "cls_token": 0, "pos_embed": 0, "patch_embed": 0, "blocks_0": 1, "blocks_1": 2,
        "blocks_2": 3, "blocks_token_only_0": 4, "blocks_token_only_1": 5, "norm": 5,
    }  # fmt: skip
    assert model.num_forward_places == model.backbone.num_forward_places == 7
    for variable in model.backbone.weights:
        layer = variable.path.removeprefix("cait_classifier/backbone/").split("/")[0]
        assert model.forward_place(variable.path) == places[layer], variable.path
        assert model.backbone.forward_place(variable.path) == places[layer]
    assert {model.forward_place(variable.path) for variable in model.head.weights} == {6}


class Student(keras.Model):
    """A user's model whose layers have the names of backbone layers."""

    def __init__(self, trunk):
        super().__init__(name="student")
        self.trunk = trunk
        self.norm = keras.layers.LayerNormalization(name="norm")
        self.blocks = keras.layers.Dense(4, name="blocks_0")

    def build(self, input_shape):
        with keras.name_scope(self.name, caller=self):
            self.trunk.build()
            self.norm.build((None, self.trunk.embed_dim))
            self.blocks.build((None, self.trunk.embed_dim))
        self.built = True


@pytest.mark.parametrize("built_before", [False, True])
def test_layer_ids_inside_a_users_model(built_before):
    trunk = CaiTBackbone(**golden.GEOMETRY, name="trunk")
    if built_before:
        trunk.build()
    student = Student(trunk)
    student.build(None)
    ids = {name: trunk.layer_id(variable.path) for name, variable in parameters(trunk).items()}
    alone = golden.backbone()
    assert ids == {
        name: alone.layer_id(variable.path) for name, variable in parameters(alone).items()
    }
    for layer in (student.norm, student.blocks):
        for variable in layer.weights:
            assert trunk.layer_id(variable.path) == trunk.num_layer_ids - 1


def test_a_model_may_carry_the_name_of_one_of_its_layers():
    model = golden.classifier(name="norm")
    assert model.layer_id(model.head.kernel.path) == model.num_layer_ids - 1
    assert set(parameters(model)) == set(parameters(golden.classifier()))


def test_gammas_start_at_the_given_value_everywhere():
    model = golden.backbone(layer_scale_init=1e-6)
    gammas = [value for name, value in golden.values(model).items() if ".gamma_" in name]
    assert len(gammas) == 2 * (3 + 2)
    np.testing.assert_array_equal(np.unique(gammas), [np.float32(1e-6)])


@pytest.mark.slow
@pytest.mark.parametrize("rate", ["drop_rate", "attn_drop_rate", "drop_path_rate"])
def test_each_rate_acts_in_training_only(rate, images):
    model = golden.backbone(**{rate: 0.5})
    load_weights(model, golden.SAFETENSORS)
    inference = np.asarray(model(images))
    np.testing.assert_array_equal(model(images, training=False), inference)
    assert np.abs(np.asarray(model(images, training=True)) - inference).max() > 1e-3


def test_drop_path_is_constant_over_depth():
    model = golden.backbone(drop_path_rate=0.2)
    rates = {drop.rate for block in model.blocks for drop in (block.drop_path1, block.drop_path2)}
    assert rates == {0.2}


def test_training_without_any_rate_is_inference(golden_classifier, images):
    backbone = golden_classifier.backbone
    np.testing.assert_allclose(backbone(images, training=True), backbone(images), atol=1e-5)


def test_every_parameter_has_a_gradient_but_those_the_softmax_cancels(golden_classifier, images):
    """The softmax cancels the biases of proj_l and of the keys: their true gradients are zero."""
    names, variables = zip(*parameters(golden_classifier).items(), strict=True)
    with tf.GradientTape() as tape:
        logits = golden_classifier(images, training=True)
        loss = tf.reduce_mean(
            keras.losses.sparse_categorical_crossentropy(np.arange(4), logits, from_logits=True)
        )
    gradients = tape.gradient(loss, [variable.value for variable in variables])
    assert all(gradient is not None for gradient in gradients)
    largest = {name: np.abs(g).max() for name, g in zip(names, gradients, strict=True)}
    silent = {name for name, value in largest.items() if value < 1e-7}
    cancelled = {name for name in names if name.endswith(("attn.proj_l.bias", "attn.k.bias"))}
    assert silent == cancelled


def test_a_non_square_image_has_a_non_square_grid():
    model = golden.backbone(image_size=[32, 96])
    assert model.grid_size == (2, 6)
    assert model(np.zeros((1, 32, 96, 3), "float32")).shape == (1, 96)
    with pytest.raises(CaiTError, match=r"expected \(B, 32, 96, 3\)"):
        model(np.zeros((1, 96, 32, 3), "float32"))


def test_a_graph_takes_any_batch_size(golden_classifier, images):
    backbone = golden_classifier.backbone
    graph = tf.function(backbone, input_signature=[tf.TensorSpec([None, 64, 64, 3])])
    golden.assert_near(graph(images), golden.arrays("forward")["features"])
    golden.assert_near(graph(images[:1]), golden.arrays("forward")["features"][:1])


def test_it_joins_a_functional_model(golden_classifier, images):
    inputs = keras.Input((64, 64, 3))
    model = keras.Model(inputs, golden_classifier.backbone(inputs))
    golden.assert_near(model(images), golden.arrays("forward")["features"])


@pytest.mark.parametrize("shape", [(2, 32, 32, 3), (2, 64, 64, 1), (64, 64, 3), (2, 3, 64, 64)])
def test_images_of_another_shape_are_refused(shape, golden_classifier):
    with pytest.raises(CaiTError) as error:
        golden_classifier.backbone(np.zeros(shape, "float32"))
    assert f"images: got shape {shape}, expected (B, 64, 64, 3)" in str(error.value)


def test_unnormalised_uint8_images_are_refused(golden_classifier):
    with pytest.raises(CaiTError, match=r"images: got .*uint8, expected"):
        golden_classifier.backbone(np.zeros((1, 64, 64, 3), "uint8"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"drop_path_rate": 1.5}, r"drop_path_rate: got 1.5, expected a number in \[0, 1\)"),
        ({"drop_path_rate": float("nan")}, "drop_path_rate: got nan"),
        ({"drop_rate": -0.1}, "drop_rate: got -0.1"),
        ({"attn_drop_rate": 1.0}, "attn_drop_rate: got 1.0"),
        ({"drop_path_rate": "0.1"}, "drop_path_rate: got '?0.1"),
        ({"image_size": 50}, "image_size: got 50x50, expected multiples of .* 16, .* 48x48"),
        ({"image_size": [64, 70]}, "image_size: got 64x70, .* 64x64"),
        ({"image_size": [64]}, r"image_size: got \[64\], expected one side or \[height, width\]"),
        ({"image_size": 0}, "image_size: got"),
        ({"image_size": -64}, "image_size: got"),
        ({"image_size": "64"}, "image_size: got '?64'?, expected"),
        ({"patch_size": 0}, "patch_size: got 0"),
        ({"num_heads": 5}, "embed_dim: got 96, expected a multiple of 5 heads"),
        ({"num_heads": 0}, "num_heads: got 0"),
        ({"depth": -1}, "depth: got -1"),
        ({"kernel_init": 0}, "kernel_init: got 0, expected a number above 0"),
    ],
    ids=str,
)
def test_an_impossible_geometry_is_refused(changes, message):
    with pytest.raises(CaiTError, match=message):
        CaiTBackbone(**{**golden.GEOMETRY, **changes})


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_keeps_features_and_parameters_in_float32(dtype, images):
    model = golden.backbone(dtype=dtype)
    assert keras.backend.standardize_dtype(model(images).dtype) == "float32"
    assert keras.backend.standardize_dtype(model.forward_features(images).dtype) == "float32"
    assert {variable.dtype for variable in model.weights} == {"float32"}
    assert model.blocks[0].attn.compute_dtype == dtype.removeprefix("mixed_")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_pure_half_precision_works_or_is_refused_at_once(dtype, images):
    try:
        model = golden.backbone(dtype=dtype)
    except CaiTError:
        return
    assert np.isfinite(np.asarray(model(images), "float32")).all()


def test_kernel_init_is_the_deviation_of_the_blocks_kernels_alone():
    models = {}
    for kernel_init in (0.02, 0.08):
        keras.utils.set_random_seed(0)
        models[kernel_init] = golden.backbone(kernel_init=kernel_init)
    for small, large in zip(models[0.02].weights, models[0.08].weights, strict=True):
        scaled = small.name == "kernel" and "blocks" in small.path
        np.testing.assert_allclose(large, 4 * np.asarray(small) if scaled else small, rtol=1e-6)
    fc1 = models[0.08].blocks[0].mlp.fc1.kernel
    assert np.std(fc1) == pytest.approx(0.08 * 0.88, rel=0.05)  # truncated at two deviations


def test_config_round_trip(images):
    changes = {
        "image_size": [64, 32],
        "mlp_ratio": 2.0,
        "layer_scale_init": 0.5,
        "kernel_init": 0.05,
        "drop_rate": 0.1,
        "attn_drop_rate": 0.2,
        "drop_path_rate": 0.3,
        "name": "trunk",
    }
    model = golden.backbone(**changes)
    arguments = set(inspect.signature(CaiTBackbone).parameters) - {"kwargs"}
    assert arguments <= set(model.get_config())
    clone = CaiTBackbone.from_config(model.get_config())
    assert clone.get_config() == model.get_config()
    clone.build()
    assert [v.path for v in clone.weights] == [v.path for v in model.weights]
    clone.set_weights(model.get_weights())
    np.testing.assert_array_equal(clone(images[:, :, :32]), model(images[:, :, :32]))


@pytest.mark.slow
def test_keras_file_round_trip(golden_classifier, images, tmp_path):
    golden_classifier.backbone.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded) is CaiTBackbone
    np.testing.assert_array_equal(loaded(images), golden_classifier.backbone(images))


def test_keras_weights_round_trip(golden_classifier, images, tmp_path):
    golden_classifier.backbone.save_weights(tmp_path / "model.weights.h5")
    model = golden.backbone()
    model.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(model(images), golden_classifier.backbone(images))


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_features_do_not_depend_on_who_calls_the_backbone(dtype, images):
    """Autocast must be off, or Keras casts the backbone's own variables in an outermost call."""
    model = golden.classifier(dtype=dtype)
    load_weights(model, golden.SAFETENSORS)
    inside = keras.Sequential([model.backbone])(images)
    np.testing.assert_array_equal(model.backbone(images), inside)


@pytest.mark.parametrize(
    ("indices", "blocks"),
    [(None, [0, 1, 2]), (1, [2]), (2, [1, 2]), ([0, 2], [0, 2]), ([-1, 0], [0, 2]), ((1, -2), [1])],
)
def test_intermediates_are_the_patches_after_those_blocks(
    indices, blocks, golden_classifier, images
):
    backbone = golden_classifier.backbone
    tokens, taken = backbone.forward_intermediates(images, indices)
    golden.assert_near(tokens, golden.arrays("forward")["tokens"])
    assert len(taken) == len(blocks)
    for i, got in zip(blocks, taken, strict=True):
        x = backbone.patch_embed(images) + backbone.pos_embed
        for block in backbone.blocks[: i + 1]:
            x = block(x)
        assert got.shape == (4, 4, 4, 96)
        golden.assert_near(got, np.asarray(x).reshape(4, 4, 4, 96), 1e-5)


def test_the_last_intermediate_with_the_norm_is_what_the_features_see(golden_classifier, images):
    backbone = golden_classifier.backbone
    tokens, (last,) = backbone.forward_intermediates(images, 1, norm=True)
    golden.assert_near(np.asarray(last).reshape(4, 16, 96), np.asarray(tokens)[:, 1:], 1e-5)


@pytest.mark.parametrize("indices", [0, 4, -1, [3], [0, -4]])
def test_intermediates_that_are_not_there(indices, golden_classifier, images):
    with pytest.raises(CaiTError, match="indices: got"):
        golden_classifier.backbone.forward_intermediates(images, indices)


@pytest.mark.slow
def test_remat_changes_no_number(images):
    plain, remat = (golden.classifier(remat=remat) for remat in (False, True))
    gradients = []
    for model in (plain, remat):
        load_weights(model, golden.SAFETENSORS)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(images, training=True) ** 2)
        gradients.append(tape.gradient(loss, [v.value for v in model.trainable_variables]))
    for a, b in zip(*gradients, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5 * np.abs(a).max() + 1e-6)
    assert remat.get_config()["remat"] is True
