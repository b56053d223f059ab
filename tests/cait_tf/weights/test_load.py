import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from cait_tf import CaiTBackbone, WeightsError, load_weights, position, save_weights
from cait_tf.weights import timm
from cait_tf.weights.assign import parameters
from tests.cait_tf import golden

HEAD = ("head.weight", "head.bias")


@pytest.fixture
def altered(tmp_path):
    """Write the golden file after changing its tensors: ``altered(lambda tensors: ...)``."""

    def write(change):
        tensors = load_file(golden.SAFETENSORS)
        change(tensors)
        save_file(tensors, tmp_path / "altered.safetensors")
        return tmp_path / "altered.safetensors"

    return write


def assert_refused(model, source):
    """Assert that loading fails and changes no parameter; return the error message."""
    before = golden.values(model)
    with pytest.raises(WeightsError) as error:
        load_weights(model, source)
    golden.assert_same(golden.values(model), before)
    return str(error.value)


def test_a_perfect_match_loads_every_tensor():
    model = golden.classifier()
    report = load_weights(model, golden.SAFETENSORS)
    assert sorted(report.loaded) == sorted(load_file(golden.SAFETENSORS))
    assert report.notes == report.resampled == report.initialised == report.unused == ()
    golden.assert_same(golden.values(model), timm.read(golden.SAFETENSORS))


def test_a_model_that_is_not_built_is_built():
    model = CaiTBackbone(**golden.GEOMETRY)
    assert len(load_weights(model, golden.SAFETENSORS).loaded) == 96


def test_another_number_of_classes_gets_a_new_head(images):
    model = golden.classifier(num_classes=5)
    fresh = golden.values(model)
    report = load_weights(model, golden.SAFETENSORS)
    assert report.initialised == report.unused == HEAD
    assert "new head for 5 classes" in str(report)
    assert len(report.loaded) == 96
    np.testing.assert_array_equal(golden.values(model)["head.weight"], fresh["head.weight"])
    golden.assert_near(model.backbone(images), golden.arrays("forward")["features"])


def test_a_feature_extractor_leaves_the_head_out(images):
    model = golden.backbone()
    report = load_weights(model, golden.SAFETENSORS)
    assert report.unused == HEAD
    assert report.initialised == ()
    golden.assert_near(model(images), golden.arrays("forward")["features"])


def test_a_source_without_a_head_leaves_a_new_one(altered):
    def behead(tensors):
        for name in HEAD:
            del tensors[name]

    report = load_weights(golden.classifier(), altered(behead))
    assert report.initialised == HEAD
    assert report.unused == ()


@pytest.mark.parametrize("left", HEAD)
@pytest.mark.parametrize("classes", [7, 5])
def test_half_a_head_is_refused(left, classes, altered):
    half = altered(lambda tensors: tensors.pop(HEAD[1 - HEAD.index(left)]))
    assert "missing in the source: head." in assert_refused(
        golden.classifier(num_classes=classes), half
    )


def test_a_head_whose_halves_do_not_fit_each_other_is_refused(altered):
    def change(tensors):
        tensors["head.bias"] = np.zeros(3, "float32")

    message = assert_refused(golden.classifier(), altered(change))
    assert "head.bias (3,), the model has (7,)" in message


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused(value, altered):
    def damage(tensors):
        tensors["blocks.1.mlp.fc1.weight"][0, 0] = value

    message = assert_refused(golden.classifier(), altered(damage))
    assert "NaN or infinity in blocks.1.mlp.fc1.weight; expected finite" in message


@pytest.mark.parametrize("kind", ["int8", "uint8", "bool"])
def test_integers_are_refused(kind, altered):
    def quantise(tensors):
        tensors["head.weight"] = tensors["head.weight"].astype(kind)

    message = assert_refused(golden.classifier(), altered(quantise))
    assert f"with {kind} numbers in head.weight; expected floating-point numbers" in message


@pytest.mark.parametrize(
    ("image_size", "grid"), [(128, (8, 8)), (32, (2, 2)), ([64, 96], (4, 6)), ([32, 128], (2, 8))]
)
def test_another_image_size_resamples_the_position_embedding(image_size, grid):
    model = golden.classifier(image_size=image_size)
    report = load_weights(model, golden.SAFETENSORS)
    assert report.resampled == ("pos_embed",)
    assert f"pos_embed resampled from 4x4 to {grid[0]}x{grid[1]}" in report.notes
    assert len(report.loaded) == 97
    source = timm.read(golden.SAFETENSORS)["pos_embed"]
    expected = position.resample(source, (4, 4), grid)
    np.testing.assert_array_equal(golden.values(model)["pos_embed"], expected)


@pytest.mark.slow
@pytest.mark.parametrize("file", ["wide.safetensors", "wide.weights.h5", "wide.keras"])
def test_a_non_square_model_finds_its_own_file_again(file, tmp_path):
    saved, loaded = golden.backbone(image_size=[32, 128]), golden.backbone(image_size=[32, 128])
    write = {".safetensors": lambda path: save_weights(saved, path), ".keras": saved.save}
    write.get((tmp_path / file).suffix, saved.save_weights)(tmp_path / file)
    assert load_weights(loaded, tmp_path / file).resampled == ()
    np.testing.assert_array_equal(loaded.pos_embed, saved.pos_embed)


@pytest.mark.parametrize("image_size", [64, [128, 32]], ids=str)
def test_a_non_square_file_is_not_taken_for_another_grid_of_as_many_patches(image_size, tmp_path):
    """2x8, 4x4 and 8x2 grids all have 16 patches: a copy would scramble the positions silently."""
    save_weights(golden.backbone(image_size=[32, 128]), tmp_path / "wide.safetensors")
    model = golden.backbone(image_size=image_size)
    try:
        report = load_weights(model, tmp_path / "wide.safetensors")
    except WeightsError:
        return
    assert report.resampled == ("pos_embed",)


def test_missing_unexpected_and_misshaped_tensors_are_all_listed(altered):
    def change(tensors):
        del tensors["norm.weight"]
        tensors["dist_token"] = np.zeros((1, 1, 96), "float32")
        tensors["blocks.1.gamma_2"] = np.zeros(95, "float32")

    message = assert_refused(golden.classifier(), altered(change))
    assert "1 missing, 1 unexpected, 1 of another shape" in message
    assert "missing in the source: norm.weight" in message
    assert "unexpected in the source: dist_token" in message
    assert "of another shape: blocks.1.gamma_2 (95,), the model has (96,)" in message


@pytest.mark.parametrize(
    ("changes", "counts"),
    [
        ({"depth": 4}, "18 missing, 0 unexpected, 0 of another shape"),
        ({"depth": 2}, "0 missing, 18 unexpected, 0 of another shape"),
        ({"depth_token_only": 1}, "0 missing, 18 unexpected, 0 of another shape"),
        ({"num_heads": 4}, "0 missing, 0 unexpected, 12 of another shape"),
        ({"embed_dim": 48, "num_heads": 1}, "0 missing, 0 unexpected, 96 of another shape"),
        ({"patch_size": 8}, "0 missing, 0 unexpected, 1 of another shape"),
    ],
    ids=str,
)
def test_weights_of_another_variant_are_refused(changes, counts):
    message = assert_refused(golden.classifier(**changes), golden.SAFETENSORS)
    assert counts in message
    assert "expected weights of the same variant" in message


def test_a_long_list_is_cut_but_counted(altered):
    message = assert_refused(golden.backbone(), altered(dict.clear))
    assert "96 missing" in message
    assert "and 84 more" in message


@pytest.mark.parametrize("shape", [(1, 0, 96), (2, 4, 96), (16, 96), (1, 15, 96), (1, 4, 95)])
def test_an_impossible_position_embedding_is_refused(shape, altered):
    def change(tensors):
        tensors["pos_embed"] = np.zeros(shape, "float32")

    message = assert_refused(golden.classifier(), altered(change))
    assert "of another shape: pos_embed" in message


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere/model.safetensors", "got nowhere/model.safetensors, expected an existing file"),
        ("~/nowhere/model.pth", "got ~/nowhere/model.pth, expected an existing file"),
        ("nowhere.keras", "got nowhere.keras, expected an existing file"),
        ("./nowhere", "got './nowhere', expected an existing .safetensors"),
        ("a/b/c", "got 'a/b/c', expected an existing"),
        (
            "cait_s24_224",
            "'cait_s24_224', the name of a model; .* 'timm/cait_s24_224.fb_dist_in1k'",
        ),
    ],
)
def test_a_source_that_is_not_there_is_refused(source, message):
    with pytest.raises(WeightsError, match=message):
        load_weights(golden.classifier(), source)


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "weights.npz").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"weights\.npz, expected a \.safetensors, \.pth"):
        load_weights(golden.classifier(), tmp_path / "weights.npz")


@pytest.mark.slow
def test_a_directory_without_a_saved_model_is_refused(tmp_path):
    with pytest.raises(WeightsError, match="or a SavedModel directory"):
        load_weights(golden.classifier(), tmp_path)


def test_parameters_are_the_weights_under_timms_names():
    model = golden.classifier(drop_path_rate=0.1, drop_rate=0.1)
    assert set(parameters(model)) == set(load_file(golden.SAFETENSORS))
    assert all(parameters(model)[name].dtype == "float32" for name in HEAD)


def test_loading_into_mixed_precision_keeps_float32_parameters():
    model = golden.classifier(dtype="mixed_float16")
    load_weights(model, golden.SAFETENSORS)
    expected = timm.read(golden.SAFETENSORS)["blocks.0.gamma_1"]
    np.testing.assert_array_equal(golden.values(model)["blocks.0.gamma_1"], expected)
