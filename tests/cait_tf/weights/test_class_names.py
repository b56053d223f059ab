"""Comparison of class lists, and head columns matched by class name."""

import json

import numpy as np
import pytest

from cait_tf import WeightsError, imagenet, load_weights, save_weights
from cait_tf.weights.class_names import match_classes
from cait_tf.weights.load import stated_class_names
from tests.cait_tf import golden

NAMES = ("ant", "bee", "cow", "dog", "eel", "fox", "gnu")


@pytest.fixture
def file(tmp_path):
    """The golden weights, with class names."""
    model = golden.classifier()
    load_weights(model, golden.SAFETENSORS)
    path = tmp_path / "named.safetensors"
    save_weights(model, path, {"classes": "\n".join(NAMES)})
    return path


def head(model):
    """Return each class's weights and bias, ``(C, D + 1)``."""
    return np.concatenate([model.head.kernel.numpy(), model.head.bias.numpy()[None]]).T


def loaded(file, class_names):
    model = golden.classifier(num_classes=len(class_names))
    fresh = head(model)
    return model, fresh, load_weights(model, file, class_names)


def test_the_same_classes_load_as_they_are(file):
    model, _, report = loaded(file, NAMES)
    assert report.classes.in_order
    assert report.notes == ()
    golden.assert_same(golden.values(model), golden.values(loaded(file, NAMES)[0]))


def test_classes_in_another_order_are_put_in_it(file):
    order = ("gnu", "ant", "fox", "bee", "eel", "cow", "dog")
    (model, _, report), (plain, _, _) = loaded(file, order), loaded(file, NAMES)
    assert report.classes.complete
    assert not report.classes.in_order
    assert report.notes == ("head columns reordered by class name",)
    np.testing.assert_array_equal(head(model), head(plain)[[NAMES.index(name) for name in order]])


@pytest.mark.parametrize("names", [("zebra", "bee", "ant"), ("bee", "ant", *"123456789")])
def test_columns_of_the_same_name_are_kept_and_others_are_new(file, names):
    (model, fresh, report), (plain, _, _) = loaded(file, names), loaded(file, NAMES)
    for row, name in enumerate(names):
        expected = head(plain)[NAMES.index(name)] if name in NAMES else fresh[row]
        np.testing.assert_array_equal(head(model)[row], expected)
    assert report.classes.kept == [name for name in names if name in NAMES]
    assert "head columns of 2 classes kept by name" in str(report)
    assert "new: zebra" in match_classes(NAMES, ("zebra", "bee")).differences()


def test_as_many_classes_of_other_names_get_a_new_head(file):
    names = tuple(name.upper() for name in NAMES)
    model, fresh, report = loaded(file, names)
    np.testing.assert_array_equal(head(model), fresh)
    assert report.initialised == ("head.weight", "head.bias")
    assert report.notes == ("new head for 7 classes",)


def test_a_file_that_names_no_classes_is_just_features():
    model, fresh, report = loaded(golden.SAFETENSORS, NAMES)
    np.testing.assert_array_equal(head(model), fresh)
    assert report.classes is None
    assert report.notes[0] == "the source names no classes of the model's head"
    named = golden.classifier()
    report = load_weights(named, golden.SAFETENSORS, NAMES, source_names=NAMES[::-1])
    assert report.notes == ("head columns reordered by class name",)


def test_the_classes_of_timms_configuration(tmp_path):
    model = golden.classifier()
    load_weights(model, golden.SAFETENSORS)
    save_weights(model, tmp_path / "timm" / "model.safetensors")
    (tmp_path / "timm" / "config.json").write_text(json.dumps({"label_names": NAMES[::-1]}))
    report = load_weights(model, tmp_path / "timm" / "model.safetensors", NAMES)
    assert report.notes == (
        "class names from config.json beside the file",
        "head columns reordered by class name",
    )


def test_a_configuration_beside_a_file_of_another_name_is_of_another_model(tmp_path):
    model = golden.classifier()
    load_weights(model, golden.SAFETENSORS)
    save_weights(model, tmp_path / "mine.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"label_names": NAMES[::-1]}))
    assert stated_class_names(tmp_path / "mine.safetensors") is None


@pytest.mark.parametrize("count", [-1, 1])
def test_another_number_of_class_names_is_refused(count, file):
    names = [*NAMES, "more"] if count > 0 else NAMES[:-1]
    with pytest.raises(
        WeightsError, match=rf"class_names: got {len(names)} names, expected {len(NAMES)}"
    ):
        load_weights(golden.classifier(), file, names)


def test_a_head_of_1000_columns_is_imagenets_where_the_data_are():
    synsets, words = imagenet.synsets(), imagenet.class_names()
    assert match_classes(None, synsets, 1000).in_order
    assert match_classes(None, words, 1000).in_order
    assert match_classes(words, synsets).in_order
    backwards = match_classes(None, synsets[::-1], 1000)
    assert backwards.complete
    assert backwards.columns.tolist() == list(range(999, -1, -1))
    assert match_classes(None, [str(label) for label in range(1000)], 1000) is None
    assert match_classes(None, synsets[:10], 1000) is None


def test_a_list_of_another_length_than_the_head_gives_no_match():
    assert match_classes(NAMES, NAMES, 6) is None


def test_names_that_contradict_the_file_are_refused(file):
    model = golden.classifier()
    with pytest.raises(
        WeightsError, match=r"null: the file, or config.json beside it, names its classes: ant, bee"
    ):
        load_weights(model, file, NAMES, source_names=NAMES[::-1])
    with pytest.raises(WeightsError, match="a name for each of the 7 columns"):
        load_weights(model, golden.SAFETENSORS, NAMES, source_names=NAMES[:2])
    load_weights(model, file, NAMES, source_names=NAMES)


def test_two_unicode_forms_of_a_name_are_distinguished():
    match = match_classes(["caf\u00e9"], ["cafe\u0301"])
    assert match.differences() == "gone: 'caf\\xe9'; new: 'cafe\\u0301'"


@pytest.mark.parametrize(
    ("theirs", "ours", "differences"),
    [
        ("ant ", "ant", "gone: 'ant '; new: 'ant'"),
        ("ant\u200b", "ant", "gone: 'ant\\u200b'; new: 'ant'"),
        ("ant\nbee", "cow", "gone: 'ant\\nbee'; new: cow"),
    ],
)
def test_names_that_look_alike_are_distinguished(theirs, ours, differences):
    assert match_classes([theirs], [ours]).differences() == differences


@pytest.mark.parametrize(
    ("theirs", "ours", "columns"),
    [
        (("ant", "ant", "cow"), ("cow", "ant", "bee"), [2, -1, -1]),
        (("ant", "bee"), ("ant", "ant"), [-1, -1]),
        (("ant", "ant", "cow"), ("ant", "cow", "ant"), [-1, 2, -1]),
    ],
)
def test_a_name_of_several_columns_matches_none(theirs, ours, columns):
    match = match_classes(theirs, ours)
    assert match.columns.tolist() == columns
    assert not match.complete
    assert match.repeated == ["ant"]
    assert "ant" not in match.gone + match.new
    assert "the name of several columns: ant" in match.differences()


def test_equal_lists_match_column_by_column_whatever_is_repeated():
    assert match_classes(("ant", "ant", "cow"), ("ant", "ant", "cow")).in_order
    words = imagenet.class_names()
    assert match_classes(words, words).in_order
    assert match_classes(words, imagenet.synsets()[::-1]).complete
    other = match_classes(words[::-1], (words[0], "crane"))
    assert other.columns.tolist() == [999, -1]
    assert other.repeated == ["crane"]


@pytest.mark.slow
def test_columns_of_one_name_stay_as_initialised_and_that_is_noted(tmp_path):
    named, path = golden.classifier(), tmp_path / "repeated.safetensors"
    load_weights(named, golden.SAFETENSORS)
    theirs = ("ant", "ant", *NAMES[2:])
    save_weights(named, path, {"classes": "\n".join(theirs)})
    model, fresh, report = loaded(path, NAMES)
    np.testing.assert_array_equal(head(model)[:2], fresh[:2])
    np.testing.assert_array_equal(head(model)[2:], head(named)[2:])
    assert report.notes[0] == (
        "several columns have one name (ant): none of these columns is loaded"
    )
    np.testing.assert_array_equal(head(loaded(path, theirs)[0]), head(named))
    *_, report = loaded(path, ("ant", "zebra"))
    assert report.notes[0].startswith("several columns have one name (ant)")
    assert report.notes[1] == "new head for 2 classes"


def test_names_for_a_bare_file_differ():
    model = golden.classifier()
    with pytest.raises(
        WeightsError, match=r"^weights_class_names: got ant twice, expected a list of different"
    ):
        load_weights(model, golden.SAFETENSORS, NAMES, source_names=("ant", "ant", *NAMES[2:]))
