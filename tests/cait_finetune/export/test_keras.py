"""Files in Keras' own format."""

import keras
import numpy as np
import pytest

from cait_finetune.errors import UserError
from cait_finetune.export import keras as exporter
from tests.cait_finetune.export.exported_models import NAMES, lively_model, validation_of


@pytest.mark.slow
def test_the_keras_file_holds_class_names_and_temperature(tmp_path):
    """`tests/test_imports.py` checks that the library does not import the training code."""
    validation = validation_of(lively_model())
    done = exporter.export(validation.exported, validation, tmp_path / "keras")
    assert done["difference"] <= 1e-3
    loaded = keras.saving.load_model(done["path"])
    assert type(loaded).__module__.startswith("cait_tf.")
    assert loaded.class_names == tuple(NAMES)
    assert loaded.temperature == 1.7
    for image, wanted in zip(
        validation.pixels, validation.exported.values(validation.logits), strict=True
    ):
        answer = loaded.classify(image[None])
        assert set(answer) == {"predicted_class", "probability", "probabilities", "class_names"}
        assert answer["class_names"].tolist() == NAMES
        np.testing.assert_allclose(answer["probabilities"][0], wanted, atol=1e-3)
        assert answer["predicted_class"].tolist() == [NAMES[wanted.argmax()]]
        assert answer["probability"].tolist() == [answer["probabilities"].max()]
    kernel = validation.exported.model.head.kernel
    np.testing.assert_array_equal(loaded.classifier.head.kernel, kernel)


@pytest.mark.slow
def test_a_differing_export_is_removed_and_the_earlier_file_stays(tmp_path, monkeypatch):
    validation = validation_of(lively_model())
    exporter.export(validation.exported, validation, tmp_path / "keras")
    before = (tmp_path / "keras" / "model.keras").read_bytes()
    monkeypatch.setattr(exporter, "load", lambda path: lambda images: np.eye(4)[[0] * len(images)])
    with pytest.raises(UserError, match=r"export: got a \.keras file with another top-1 on"):
        exporter.export(validation.exported, validation, tmp_path / "keras")
    assert [path.name for path in tmp_path.iterdir()] == ["keras"]
    assert (tmp_path / "keras" / "model.keras").read_bytes() == before
