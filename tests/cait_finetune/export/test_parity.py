import numpy as np
import pytest
import tensorflow as tf

from cait_finetune.errors import UserError
from cait_finetune.export import parity
from cait_finetune.export.exported_model import ValidationSamples
from cait_finetune.export.saved_model import export_saved_model
from cait_finetune.scores.activation import SOFTMAX
from cait_finetune.scores.numbers import Numbers
from cait_finetune.scores.probabilities import Probabilities
from tests.cait_finetune.export.exported_models import TARGETS, UNITS, lively_regressor, samples

NAMES = ["a", "b", "c"]
DATA = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
SAMPLES = [(f"image_{i}", row.tobytes()) for i, row in enumerate(DATA)]


def decode(data):
    return tf.io.decode_raw(data, tf.float32)


def preprocess(image):
    return tf.reshape(image, (4,)) * 2.0


class Model:
    """A backbone that doubles its input and a head that returns the first three features."""

    def __init__(self, head=0.0, feature=0.0):
        self.shift, self.feature = head, feature

    def backbone(self, images, training):
        assert training is False
        return images * 2.0 + self.feature

    def outputs(self, features):
        return features[:, :3] + self.shift


class Served(tf.Module):
    """The functions of `Model` as an export serves them. Each argument makes one output wrong."""

    def __init__(
        self, probability=0.0, logit=0.0, feature=0.0, classes=0, largest=0.0, names=0, stranger=0
    ):
        super().__init__()
        self.off = probability, logit, feature, classes, largest, names, stranger

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name="image_bytes")])
    def serving_default(self, image_bytes):
        images = tf.reshape(tf.io.decode_raw(image_bytes, tf.float32), (-1, 4)) * 2.0
        probabilities = tf.nn.softmax(images[:, :3] * 2.0)
        classes = (tf.argmax(probabilities, -1, tf.int32) + self.off[3]) % 3
        return {
            "probabilities": probabilities + self.off[0],
            "probability": tf.reduce_max(probabilities, -1) + self.off[4],
            "predicted_class": tf.gather(tf.constant([*NAMES, "d"]), classes + self.off[6]),
            "class_names": tf.roll(tf.constant(NAMES), self.off[5], 0),
        }

    @tf.function(input_signature=[tf.TensorSpec((None, 4), tf.float32, name="images")])
    def images(self, images):
        features = images * 2.0
        return {"logits": features[:, :3] + self.off[1], "features": features + self.off[2]}


def check(tmp_path, model, **off):
    served = Served(**off)
    signatures = {"serving_default": served.serving_default, "images": served.images}
    tf.saved_model.save(served, str(tmp_path / "model"), signatures=signatures)
    return parity.check_parity(tmp_path / "model", model, preprocess, decode, NAMES, SAMPLES)


def test_equal_outputs_pass_with_their_difference(tmp_path):
    assert check(tmp_path, Model()) <= 1e-6


def test_a_difference_within_the_tolerance_passes_and_is_returned(tmp_path):
    assert check(tmp_path, Model(), probability=5e-5) == pytest.approx(5e-5, rel=0.02)


@pytest.mark.parametrize("output", ["probability", "logit", "feature"])
@pytest.mark.parametrize("by", [1e-3, -1e-3, np.nan])
def test_an_output_beyond_the_tolerance_is_named(tmp_path, output, by):
    with pytest.raises(UserError) as error:
        check(tmp_path, Model(), **{output: by})
    message = str(error.value)
    plural = {"probability": "probabilities", "logit": "logits", "feature": "features"}[output]
    far = abs(by) / (largest_logit() if output == "logit" else 1)
    assert f"with outputs that differ by more than 0.0001 ({plural} by {far:.2g});" in message
    assert "another top-1" not in message


def test_large_logits_are_compared_in_parts_of_the_largest(tmp_path):
    assert largest_logit() > 2
    check(tmp_path, Model(), logit=0.9e-4 * largest_logit())
    with pytest.raises(UserError, match="logits by"):
        check(tmp_path, Model(), logit=1.1e-4 * largest_logit())


def largest_logit() -> float:
    images = tf.stack([preprocess(decode(data)) for _, data in SAMPLES])
    model = Model()
    return float(tf.reduce_max(tf.abs(model.outputs(model.backbone(images, training=False)))))


def test_another_temperature_is_an_error(tmp_path):
    served = Served()
    signatures = {"serving_default": served.serving_default, "images": served.images}
    tf.saved_model.save(served, str(tmp_path / "model"), signatures=signatures)
    arguments = (tmp_path / "model", Model(), preprocess, decode, NAMES, SAMPLES)
    assert parity.check_parity(*arguments, postprocessing=Probabilities(SOFTMAX, 1.0)) <= 1e-6
    with pytest.raises(UserError, match=r"more than 0\.0001 \(probabilities by"):
        parity.check_parity(*arguments, postprocessing=Probabilities(SOFTMAX, 1.1))


def test_another_top_1_is_an_error_even_when_the_numbers_agree(tmp_path):
    with pytest.raises(UserError, match="another top-1 on 3 of 3 images, the first on image_0"):
        check(tmp_path, Model(), classes=1)


def test_another_probability_of_the_class_is_an_error(tmp_path):
    with pytest.raises(UserError, match=r"more than 0\.0001 \(probability by 0\.001"):
        check(tmp_path, Model(), largest=1e-3)


def test_names_in_another_order_are_an_error(tmp_path):
    with pytest.raises(UserError, match="names its columns c, a, b, expected the classes a, b, c"):
        check(tmp_path, Model(), names=1)


def test_a_class_that_there_is_not_is_an_error(tmp_path):
    with pytest.raises(UserError, match="got a SavedModel that predicts d and names its columns a"):
        check(tmp_path, Model(), stranger=1)


def test_a_repeated_class_name_means_the_more_probable_column():
    outputs = {
        "class_names": np.array([b"crane", b"owl", b"crane"]),
        "predicted_class": np.array([b"crane", b"owl", b"crane"]),
        "probabilities": np.array([[0.2, 0.1, 0.7], [0.1, 0.8, 0.1], [0.5, 0.2, 0.3]]),
    }
    columns = Probabilities(SOFTMAX).chosen(outputs, ["crane", "owl", "crane"])
    assert columns.tolist() == [2, 1, 0]


def test_other_weights_are_an_error(tmp_path):
    with pytest.raises(UserError, match=r"more than 0\.0001 \(probabilities by .*, logits by "):
        check(tmp_path, Model(head=np.array([3.0, 0.0, -3.0], "float32")))


def test_a_model_that_gives_no_numbers_does_not_pass(tmp_path):
    with pytest.raises(UserError, match="nan"):
        check(tmp_path, Model(head=np.nan))


EXPECTED = np.array([[0.6, 0.4, 0.0], [0.0, 0.5, 0.4999]])


@pytest.mark.parametrize(
    ("classes", "passes"), [([0, 1], True), ([0, 2], True), ([1, 1], False), ([0, 0], False)]
)
def test_either_of_two_nearly_equal_classes_passes(classes, passes):
    def require_parity():
        parity.require_parity("a file", SAMPLES[:2], EXPECTED, np.array(classes), {}, 1e-3)

    if passes:
        require_parity()
    else:
        with pytest.raises(UserError, match="got a file with another top-1 on 1 of 2 images"):
            require_parity()


def test_images_of_one_size_go_together_and_come_back_in_order():
    shapes = [(2, 3, 3), (4, 4, 3), *[(2, 3, 3)] * 20]
    images = [np.full(shape, index, "uint8") for index, shape in enumerate(shapes)]
    batches = []

    def classify(batch):
        batches.append(batch.shape)
        return batch[:, 0, 0, :2].astype("float32")

    got = parity.classify_all(classify, images)
    np.testing.assert_array_equal(got[:, 0], range(22))
    assert batches == [(16, 2, 3, 3), (5, 2, 3, 3), (1, 4, 4, 3)]


def test_a_failed_export_keeps_the_earlier_folder(tmp_path):
    def make(text, fail=False):
        with parity.whole_or_absent(tmp_path / "made") as partial:
            (partial / "file").write_text(text)
            if fail:
                raise ValueError("half way")

    make("first")
    with pytest.raises(ValueError, match="half way"):
        make("second", fail=True)
    assert [path.name for path in tmp_path.iterdir()] == ["made"]
    assert (tmp_path / "made" / "file").read_text() == "first"
    make("third")
    assert (tmp_path / "made" / "file").read_text() == "third"


@pytest.fixture(scope="module")
def regressor():
    """Validation images of a regressor whose targets have a huge and a tiny unit."""
    exported = lively_regressor()
    validation = ValidationSamples(exported, samples())
    spread = validation.logits.std(axis=0) / UNITS
    assert (spread > 0.1).all()  # else a file with constant numbers would pass
    return validation


def shifted(validation, target, by):
    """Return a function that classifies with the numbers of a target wrong by `by` deviations."""
    wrong = validation.exported.values(validation.logits).astype("float64")
    wrong[:, target] += by * UNITS[target]
    rows = {image.tobytes(): row for image, row in zip(validation.pixels, wrong, strict=True)}
    return lambda images: np.stack([rows[image.tobytes()] for image in images])


def test_the_unit_of_numbers_is_the_deviation_and_of_classes_one(regressor):
    np.testing.assert_allclose(parity.unit_of(regressor.exported.model), UNITS, rtol=1e-6)
    assert parity.unit_of(Model()).tolist() == [1.0]


@pytest.mark.parametrize("target", [0, 1])
@pytest.mark.parametrize("by", [0.01, -0.01])
def test_a_number_beyond_the_tolerance_is_refused_in_every_unit(regressor, target, by):
    message = (
        r"^export: got a file with outputs that differ by more than 0\.001 \(values by 0\.01\)"
    )
    with pytest.raises(UserError, match=message):
        parity.check_pixels("a file", shifted(regressor, target, by), regressor)


@pytest.mark.parametrize("target", [0, 1])
def test_a_number_within_the_tolerance_passes_in_every_unit(regressor, target):
    difference = parity.check_pixels("a file", shifted(regressor, target, 5e-4), regressor)
    assert difference == pytest.approx(5e-4, rel=0.01)
    with pytest.raises(UserError, match=r"values by nan"):
        parity.check_pixels("a file", shifted(regressor, target, np.nan), regressor)


def answer_of(validation, output=None, by=0.0, names=TARGETS):
    """Return a function that answers as a file does, with the last target of an output wrong."""

    def answer(images):
        numbers = validation.exported.values(validation.logits[:1])
        found = validation.exported.postprocessing.expected(numbers.astype("float64"))
        if output:
            found[output] = found[output] + [0.0, by * UNITS[1]]
        return {**found, "target_names": np.array([name.encode() for name in names])}

    return answer


@pytest.mark.parametrize("output", ["prediction", "lower", "upper"])
def test_each_output_of_numbers_is_compared(regressor, output):
    parity.check_answer("a file", answer_of(regressor), regressor)
    with pytest.raises(UserError, match=rf"more than 0\.001 \({output} by 0\.01\)"):
        parity.check_answer("a file", answer_of(regressor, output, 0.01), regressor)


@pytest.mark.parametrize("names", [TARGETS[::-1], ["größe", "small"], TARGETS[:1]])
def test_other_names_of_targets_are_an_error(regressor, names):
    message = rf"got a file that names its targets {', '.join(names)}, expected größe, tiny"
    with pytest.raises(UserError, match=message):
        parity.check_answer("a file", answer_of(regressor, names=names), regressor)


@pytest.mark.slow
def test_a_saved_model_with_other_numbers_intervals_or_names_is_refused(tmp_path):
    exported = lively_regressor()
    model, way, after = exported.model, exported.preprocessing, exported.postprocessing
    arguments = (model, way, way.decode, TARGETS, samples(), tmp_path / "model", after)
    assert export_saved_model(*arguments) <= 1e-5

    def check(names=TARGETS, postprocessing=after):
        return parity.check_parity(
            tmp_path / "model", model, way, way.decode, names, samples(), postprocessing
        )

    wider = Numbers(0.1, (after.half_widths[0], 1.02 * after.half_widths[1]))
    with pytest.raises(UserError, match=r"more than 0\.0001 \(lower by 0\.01, upper by 0\.01\)"):
        check(postprocessing=wider)
    with pytest.raises(UserError, match="names its targets größe, tiny, expected tiny, größe"):
        check(TARGETS[::-1])
    mean = np.array(model.target_scale.mean)
    for target in range(2):
        model.target_scale.mean.assign(mean + 0.01 * np.eye(2)[target] * UNITS)
        with pytest.raises(UserError, match=r"more than 0\.0001 \(prediction by 0\.0.*, logits by"):
            check()
