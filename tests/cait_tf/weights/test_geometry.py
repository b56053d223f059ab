import numpy as np
import pytest

from cait_tf import VARIANTS, CaiTClassifier, WeightsError
from cait_tf.weights.assign import parameters
from cait_tf.weights.geometry import geometry
from tests.cait_tf import golden


def hollow(model):
    """Return arrays of the model's shapes that take no memory."""
    return {
        name: np.broadcast_to(np.float32(0), tuple(variable.shape))
        for name, variable in parameters(model).items()
    }


@pytest.mark.parametrize("name", sorted(VARIANTS))
def test_geometry_recovers_every_variant(name, hollow_models):
    got, variant = geometry(hollow(hollow_models[name])), VARIANTS[name]
    assert got == {
        "image_size": (variant.image_size, variant.image_size),
        "num_classes": 1000,
        **{
            key: getattr(variant, key)
            for key in (
                "patch_size",
                "embed_dim",
                "depth",
                "depth_token_only",
                "num_heads",
                "mlp_ratio",
            )
        },
    }


def test_weights_without_a_head_have_no_num_classes():
    assert "num_classes" not in geometry(hollow(golden.backbone()))


def test_a_grid_that_is_stated():
    tensors = hollow(golden.classifier(image_size=[32, 128]))
    assert geometry(tensors, (2, 8))["image_size"] == (32, 128)
    assert CaiTClassifier(**geometry(tensors, (2, 8))).backbone.grid_size == (2, 8)


def test_a_grid_that_cannot_be_a_square():
    with pytest.raises(WeightsError, match=r"x\.h5, with a .* 24 patches, expected a square"):
        geometry(hollow(golden.classifier(image_size=[64, 96])), source="x.h5")


@pytest.mark.parametrize(
    "gone", ["pos_embed", "patch_embed.proj.weight", "blocks.0.mlp.fc1.weight"]
)
def test_weights_of_another_architecture_raise_an_error(gone):
    tensors = hollow(golden.backbone())
    del tensors[gone]
    with pytest.raises(WeightsError, match="not a CaiT's"):
        geometry(tensors)
