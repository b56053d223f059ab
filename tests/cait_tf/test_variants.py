import dataclasses
import math

import pytest

from cait_tf import VARIANTS, CaiTError, create_model, get_variant
from cait_tf.weights.assign import parameters
from tests.cait_tf import golden

PUBLISHED = [name for name, row in VARIANTS.items() if row.published]

#: The authors' LayerScale initialisation and drop-path rate, and the deviation of their initial
#: kernels, from their cait_models.py.
AUTHORS = {
    "cait_xxs24_224": (1e-5, 0.05),
    "cait_xxs24_384": (1e-5, 0.05),
    "cait_xxs36_224": (1e-5, 0.1),
    "cait_xxs36_384": (1e-5, 0.1),
    "cait_xs24_384": (1e-5, 0.05),
    "cait_s24_224": (1e-5, 0.1),
    "cait_s24_384": (1e-5, 0.1),
    "cait_s36_384": (1e-6, 0.2),
    "cait_m36_384": (1e-6, 0.3),
    "cait_m48_448": (1e-6, 0.4),
}
AUTHORS_KERNELS = 0.02


def test_the_published_variants_are_the_ten_of_the_paper():
    assert sorted(PUBLISHED) == sorted(golden.layer_decay_scales())


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_parameter_count_is_timms(name, hollow_models):
    count = sum(math.prod(variable.shape) for variable in hollow_models[name].weights)
    assert count == VARIANTS[name].parameters == golden.layer_decay_scales()[name]["parameters"]


@pytest.mark.parametrize("name", PUBLISHED)
def test_tensor_names_are_timms(name, hollow_models):
    names = set(parameters(hollow_models[name]))
    assert names == set(golden.layer_decay_scales()[name]["lr_scale_and_weight_decay"])
    assert len(names) == {24: 476, 36: 692, 48: 908}[VARIANTS[name].depth]


@pytest.mark.parametrize("name", VARIANTS)
def test_row_is_consistent_with_its_name(name, hollow_models):
    row, backbone = VARIANTS[name], hollow_models[name].backbone
    assert row.name == name
    assert name.endswith(f"_{row.image_size}")
    assert row.embed_dim // row.num_heads == 48
    assert backbone.image_size == (row.image_size, row.image_size)
    assert backbone.layer_scale_init == row.layer_scale_init
    assert backbone.kernel_init == row.kernel_init
    assert len(backbone.blocks) == row.depth


@pytest.mark.parametrize("name", PUBLISHED)
def test_regularisation_is_that_of_the_authors(name):
    row = VARIANTS[name]
    assert (row.layer_scale_init, row.pretrain_drop_path_rate) == AUTHORS[name]
    assert row.kernel_init == AUTHORS_KERNELS


def test_nano_is_small_and_keeps_the_head_dimension():
    model = create_model("cait_nano_32", num_classes=10)
    assert 200_000 <= model.count_params() <= 700_000
    assert model.backbone.embed_dim // model.backbone.num_heads == 48
    assert create_model("cait_nano_32").count_params() == VARIANTS["cait_nano_32"].parameters


def test_published_weights_have_two_addresses():
    row = get_variant("cait_xxs24_384")
    assert row.hub_id == "timm/cait_xxs24_384.fb_dist_in1k"
    assert row.official_url == "https://dl.fbaipublicfiles.com/deit/XXS24_384.pth"


def test_a_variant_of_our_own_has_no_address():
    assert get_variant("cait_nano_32").hub_id is None
    assert get_variant("cait_nano_32").official_url is None


def test_the_table_cannot_be_changed():
    with pytest.raises(TypeError):
        VARIANTS["cait_s24_224"] = None
    with pytest.raises(dataclasses.FrozenInstanceError):
        VARIANTS["cait_s24_224"].depth = 3


def test_an_unknown_name_suggests_a_near_one():
    with pytest.raises(CaiTError, match=r"got 'cait_s24'.*did you mean .*'cait_s24_224'"):
        get_variant("cait_s24")


def test_a_name_near_to_nothing_lists_all():
    with pytest.raises(CaiTError) as error:
        get_variant("resnet50")
    assert all(name in str(error.value) for name in VARIANTS)
    assert "did you mean" not in str(error.value)


@pytest.mark.parametrize("name", ["xxs24", "CAIT-XXS24-224", "cait_xxs24", "cait_xxs24_22"])
def test_a_name_written_otherwise_is_understood(name):
    with pytest.raises(CaiTError, match=r"did you mean .*'cait_xxs24_224'"):
        get_variant(name)


def test_patches_of_an_image():
    variant = get_variant("cait_xxs24_224")
    assert (variant.patches(), variant.patches(384)) == (196, 576)
