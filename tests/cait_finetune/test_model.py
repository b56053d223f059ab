"""Models built from the configuration."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
from safetensors.numpy import save_file

import cait_tf
from cait_finetune import model as models
from cait_finetune.config import HeadConfig, ModelConfig, TuningConfig
from cait_finetune.errors import UserError
from cait_tf import imagenet
from cait_tf import models as library
from cait_tf.weights import official, shipped, timm
from tests.cait_finetune.tiny import batch, snapshot, tiny_model

CLASSES = ("ant", "bee", "cow", "dog", "eel", "fox", "gnu")
NANO = {"name": "cait_nano_32", "weights": "none"}


@pytest.mark.parametrize("name", sorted(cait_tf.VARIANTS))
def test_check_gives_the_row_of_the_table(name):
    weights = "hub" if cait_tf.VARIANTS[name].published else "none"
    assert models.check(ModelConfig(name=name, weights=weights)) is cait_tf.VARIANTS[name]


def test_unknown_variant():
    with pytest.raises(UserError) as caught:
        models.check(ModelConfig(name="cait_s24_244"))
    message = str(caught.value)
    assert message.startswith("model.name: got 'cait_s24_244', expected one of ")
    assert "did you mean 'cait_s24_224'" in message


@pytest.mark.parametrize(
    ("name", "weights", "size", "patch", "nearest"),
    [
        ("cait_s24_224", "hub", 225, 16, 224),
        ("cait_nano_32", "none", 2, 4, 4),
        ("cait_nano_32", "none", 35, 4, 36),
    ],
)
def test_image_size_that_does_not_divide(name, weights, size, patch, nearest):
    with pytest.raises(UserError) as caught:
        models.check(ModelConfig(name=name, weights=weights, image_size=size))
    message = str(caught.value)
    assert message.startswith(f"model.image_size: got {size}, expected a multiple of {name}'s")
    assert f"patch size {patch}" in message
    assert message.endswith(f"for instance {nearest}")
    models.check(ModelConfig(name=name, weights=weights, image_size=nearest))


@pytest.mark.parametrize(
    ("typed", "read"), [("64", 64), (["64", 48], [64, 48]), ([64, 48], [64, 48])]
)
def test_an_image_size_can_be_text_or_a_list(typed, read):
    assert ModelConfig(**NANO, image_size=typed).image_size == read


@pytest.mark.parametrize("typed", [16.5, [16.5], "16.5x32"])
def test_no_size_is_suggested_for_fractions(typed):
    with pytest.raises(UserError) as raised:
        ModelConfig(**NANO, image_size=typed)
    assert "Write" not in str(raised.value)


def test_sides_that_do_not_divide():
    config = ModelConfig(**NANO, image_size=[18, 32])
    message = (
        r"model.image_size: got \[18, 32\], expected multiples of .* for instance \[(16|20),32\]"
    )
    with pytest.raises(UserError, match=message):
        models.check(config)


def test_new_kernels_beside_weights():
    models.check(ModelConfig(name="cait_nano_32", weights="none", kernel_init=0.08))
    with pytest.raises(
        UserError, match=r"model\.kernel_init: got 0\.08, expected null with model\.weights=pre"
    ):
        models.check(ModelConfig(name="cait_nano_32", weights="pretrained", kernel_init=0.08))


def test_a_key_chooses_the_state_dict(tmp_path, monkeypatch):
    tensors = {"state_dict": {}, "state_dict_ema": timm.read(shipped_weights())}

    def read(path, key):
        return tensors[key or "state_dict_ema"], (f"{key} of the checkpoint",)

    monkeypatch.setattr(official, "read_chosen", read)
    (tmp_path / "last.pth.tar").touch()
    chosen = ModelConfig("cait_nano_32", str(tmp_path / "last.pth.tar"))
    model = models.build(chosen, CLASSES, "float32")
    assert model.loading_report.notes[0] == "None of the checkpoint"
    chosen.weights_key = "state_dict"
    with pytest.raises(UserError, match=r"model\.weights: got .*last\.pth\.tar, .* 78 missing"):
        models.build(chosen, CLASSES, "float32")


def shipped_weights():
    return shipped.weights_of(cait_tf.get_variant("cait_nano_32"))


def test_a_key_needs_a_checkpoint_with_keys(tmp_path):
    (tmp_path / "last.pth.tar").touch()
    chosen = ModelConfig("cait_nano_32", str(tmp_path / "last.pth.tar"), weights_key="state_dict")
    models.check(chosen)
    models.check(dataclasses.replace(chosen, name="cait_s24_224", weights="official"))
    with pytest.raises(
        UserError,
        match=r"model\.weights_key: got state_dict, expected null with model\.weights=pre",
    ):
        models.check(dataclasses.replace(chosen, weights="pretrained"))


def test_runs_begin_elsewhere_with_another_row_or_other_weights(tmp_path, monkeypatch):
    row, file = cait_tf.get_variant("cait_nano_32"), tmp_path / "nano.safetensors"
    monkeypatch.setattr(shipped, "weights_of", lambda variant: file)
    cait_tf.save_weights(cait_tf.create_model("cait_nano_32"), file)
    one, random = (models.start_checksum("cait_nano_32", name) for name in ("pretrained", "none"))
    assert models.start_checksum("cait_nano_32", "pretrained") == one != random
    cait_tf.save_weights(cait_tf.create_model("cait_nano_32"), file)
    assert models.start_checksum("cait_nano_32", "pretrained") != one
    assert models.start_checksum("cait_nano_32", "none") == random
    changed = dataclasses.replace(row, kernel_init=0.02)
    monkeypatch.setattr(cait_tf, "get_variant", lambda name: changed)
    assert models.start_checksum("cait_nano_32", "none") != random


def test_weights_that_cannot_be_had_are_one_message(monkeypatch):
    def nowhere(variant, weights):
        raise cait_tf.WeightsError("weights: got hub, expected a network")

    monkeypatch.setattr(library, "locate_weights", nowhere)
    with pytest.raises(UserError, match=r"^model\.weights: got hub"):
        models.start_checksum("cait_nano_32", "pretrained")


@pytest.mark.parametrize("weights", ["hub", "official"])
def test_unpublished_weights(weights):
    with pytest.raises(UserError) as caught:
        models.check(ModelConfig(name="cait_nano_32", weights=weights))
    assert str(caught.value).startswith(f"model.weights: got {weights}, expected pretrained, none")


@pytest.mark.parametrize("weights", ["nothing.safetensors", "a/b/c.safetensors", "hubb"])
def test_missing_weights(weights, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        UserError, match=f"model.weights: got {weights}, expected none, pretrained, hub"
    ):
        models.check(ModelConfig(name="cait_s24_224", weights=weights))


@pytest.mark.parametrize("place", ["run", "run/export/saved_model"])
def test_the_directory_of_a_run_is_no_file_of_weights(place, tmp_path):
    for folder in ("checkpoints", "export/saved_model"):
        (tmp_path / "run" / folder).mkdir(parents=True)
    best = tmp_path / "run/checkpoints/best.safetensors"
    with pytest.raises(UserError, match=f"\n  Write model.weights={best}$"):
        models.check(ModelConfig(name="cait_nano_32", weights=str(tmp_path / place)))


@pytest.mark.parametrize(("weights", "near"), [("pretrianed", "pretrained"), ("hubb", "hub")])
def test_weights_of_nearly_that_name(weights, near):
    with pytest.raises(UserError, match=f"\n  did you mean {near}"):
        models.check(ModelConfig(name="cait_s24_224", weights=weights))


def test_weights_that_may_be_there(tmp_path):
    file = tmp_path / "w.safetensors"
    file.write_bytes(b"")
    for name, weights in (
        ("cait_nano_32", str(file)),
        ("cait_s24_224", "timm/cait_s24_224.fb_dist_in1k"),
        ("cait_nano_32", "pretrained"),
        ("cait_s24_224", "pretrained"),
    ):
        assert models.check(ModelConfig(name=name, weights=weights)).name == name


def test_build_follows_the_configuration():
    config = ModelConfig(**NANO, image_size=16, drop_path_rate=0.25, kernel_init=0.1)
    model = models.build(config, CLASSES[:7], "float32")
    assert model.loading_report is None
    assert model(np.zeros((2, 16, 16, 3), "float32")).shape == (2, 7)
    assert model.backbone.drop_path_rate == 0.25
    assert model.backbone.kernel_init == 0.1
    assert models.build(ModelConfig(**NANO), CLASSES[:7], "float32").backbone.kernel_init == 0.08


def test_build_in_mixed_precision():
    model = models.build(ModelConfig(**NANO), CLASSES[:3], "mixed_bfloat16")
    assert model.backbone.compute_dtype == "bfloat16"
    assert {keras.backend.standardize_dtype(weight.dtype) for weight in model.weights} == {
        "float32"
    }


def test_build_loads_weights_and_reports_them(tmp_path):
    first = models.build(ModelConfig(**NANO), CLASSES[:3], "float32")
    path = tmp_path / "w.safetensors"
    cait_tf.save_weights(first, path, {"classes": "\n".join(CLASSES[:3])})
    config = ModelConfig(name="cait_nano_32", weights=str(path))
    second = models.build(config, CLASSES[:3], "float32")
    for one, other in zip(first.weights, second.weights, strict=True):
        np.testing.assert_array_equal(one, other)
    assert str(path) in str(second.loading_report)
    assert models.build(config, CLASSES[:3], "float32", load=False).loading_report is None


def test_weights_of_another_model_are_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    save_file({"cls_token": np.zeros((1, 1, 7), "float32")}, path)
    with pytest.raises(UserError, match=r"^model\.weights: "):
        models.build(ModelConfig(name="cait_nano_32", weights=str(path)), CLASSES[:3], "float32")


def test_weights_that_cannot_be_read(tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"not a safetensors file")
    with pytest.raises(UserError, match=r"^model\.weights: "):
        models.build(ModelConfig(name="cait_nano_32", weights=str(path)), CLASSES[:3], "float32")


def test_only_training_takes_weights_of_other_classes(tmp_path):
    model = models.build(ModelConfig(**NANO), CLASSES[:3], "float32")
    path = tmp_path / "w.safetensors"
    cait_tf.save_weights(model, path, {"classes": "\n".join(CLASSES[:3])})
    config = ModelConfig(name="cait_nano_32", weights=str(path))
    again = models.build(config, ("cow", "ant", "bee"), "float32")
    models.check_classes("model.weights", "w", again.loading_report, ("cow", "ant", "bee"))
    other = models.build(config, ("zebra", "bee", "cow"), "float32")
    with pytest.raises(
        UserError, match=r"with other classes, gone: ant; new: zebra, expected a head"
    ):
        models.check_classes("model.weights", "w", other.loading_report, ("zebra", "bee", "cow"))
    some = models.build(config, ("bee", "cow"), "float32")
    with pytest.raises(UserError, match=r"gone: ant, .*\n  .*list all in dataset\.class_names"):
        models.check_classes("model.weights", "w", some.loading_report, ("bee", "cow"))
    with pytest.raises(UserError, match=r"checkpoints: got .*gone: ant; new: zebra"):
        models.from_checkpoint(config, HeadConfig(), ("zebra", "bee", "cow"), path)


def test_the_classes_of_a_file_that_names_none(tmp_path):
    model = models.build(ModelConfig(**NANO), CLASSES[:3], "float32")
    path = tmp_path / "w.safetensors"
    model.class_names = None  # so that the file names no classes
    cait_tf.save_weights(model, path)
    config = ModelConfig(name="cait_nano_32", weights=str(path))
    report = models.build(config, CLASSES[:3], "float32").loading_report
    with pytest.raises(UserError, match=r"names no classes of the model's head; .*\n  Name"):
        models.check_classes("model.weights", "w", report, CLASSES[:3])
    config.weights_class_names = ["cow", "bee", "ant"]
    named = models.build(config, CLASSES[:3], "float32")
    models.check_classes("model.weights", "w", named.loading_report, CLASSES[:3])
    for one, other in zip(named.head.weights, model.head.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy()[..., ::-1])


def test_the_classes_of_a_file_have_different_names():
    config = ModelConfig(name="cait_nano_32", weights="none")
    config.weights_class_names = ["ant", "ant", "cow"]
    with pytest.raises(UserError, match=r"^model\.weights_class_names: got ant twice, expected a"):
        models.check(config)
    config.weights_class_names = list(imagenet.class_names())  # two classes are named crane
    models.check(config)


def low_rank(**keys):
    return TuningConfig("lora", **{"rank": 2, "alpha": 4.0, "targets": "qkv", **keys})


def test_adapt_adds_low_rank_updates_and_changes_no_output():
    model = tiny_model()
    images, _ = batch()
    before = np.asarray(model(images))
    models.adapt(model, low_rank())
    updates = [variable for variable in model.weights if "lora" in variable.path]
    assert [tuple(variable.shape) for variable in updates] == [(48, 2), (2, 144)] * 2
    np.testing.assert_allclose(model(images), before, atol=1e-6)
    assert model.backbone.blocks[0].attn.qkv.lora_alpha == 4.0


def test_alpha_null_is_the_rank():
    model = tiny_model()
    models.adapt(model, low_rank(alpha=None, rank=3))
    assert model.backbone.blocks[0].attn.qkv.lora_alpha == 3


def test_adapt_leaves_a_model_alone_for_other_methods():
    model = tiny_model()
    before = snapshot(model)
    models.adapt(model, TuningConfig("full"))
    assert set(snapshot(model)) == set(before)


def test_targets_that_no_layer_has():
    with pytest.raises(UserError, match=r"^tuning\.targets: got 'kvq', .* attn/qkv"):
        models.adapt(tiny_model(), low_rank(targets="kvq"))


@pytest.mark.parametrize("kind", ["CaiTClassifier", "CaiTRegressor", "CaiTSegmenter"])
def test_features_and_head_are_the_two_halves_of_the_model(kind):
    geometry = {"image_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 1, "num_heads": 2}
    model = getattr(cait_tf, kind)(3, **geometry)
    images, _ = batch()
    head, features = models.Head(model), models.Features(model)
    np.testing.assert_array_equal(head(features(images), training=True), model(images))
    halves = [id(variable) for half in (features, head) for variable in half.weights]
    assert sorted(halves) == sorted(id(variable) for variable in model.weights)
    assert len(head.weights) == len(model.weights) - len(model.backbone.weights)


@pytest.mark.slow
def test_backbone_facts_depend_on_the_backbone_and_not_on_the_head():
    config = ModelConfig(**NANO)
    facts = models.backbone_facts(tiny_model(), config)
    assert facts["model"] == "cait_nano_32"
    assert models.backbone_facts(tiny_model(), config) == facts
    assert models.backbone_facts(tiny_model(num_classes=3), config) == facts
    other = tiny_model()
    other.head.bias.assign(np.ones(7))
    assert models.backbone_facts(other, config) == facts
    other.backbone.cls_token.assign_add(np.full((1, 1, 48), 1e-7))
    assert models.backbone_facts(other, config) != facts
    half = tiny_model(dtype="mixed_bfloat16")
    assert models.backbone_facts(half, config)["precision"] == "mixed_bfloat16"


def test_fused_operations_are_a_choice():
    from cait_tf.fused import fused_enabled

    with cait_tf.use_fused():
        models.build(ModelConfig("cait_nano_32", "none", fused=False), "ab", "float32")
        assert not fused_enabled()
        models.build(ModelConfig("cait_nano_32", "none"), "ab", "float32")
        assert fused_enabled()


def test_targets_of_another_unit_are_noted(tmp_path):
    """A target keeps the scale of its weights. Radians after degrees would start far off."""
    path, degrees = tmp_path / "a.safetensors", np.linspace(-60, 60, 50)[:, None]
    first = models.build(ModelConfig(**NANO), ["angle"], "float32", numbers=True)
    assert models.standardise(first, degrees) == []
    cait_tf.save_weights(first, path)
    config = ModelConfig(name="cait_nano_32", weights=str(path))
    again = models.build(config, ["angle", "age"], "float32", numbers=True)
    (note,) = models.standardise(again, np.hstack([np.radians(degrees), degrees + 100]))
    assert note.startswith("the weights' angle is")
    assert note.endswith("give it another name")
    np.testing.assert_allclose(again.target_scale.std, [degrees.std()] * 2, rtol=1e-6)
    np.testing.assert_allclose(again.target_scale.mean, [0, 100], atol=1e-5)
    assert (
        models.standardise(models.build(config, ["angle"], "float32", numbers=True), degrees) == []
    )
