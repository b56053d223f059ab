"""LiteRT files and their quantised variants, run by LiteRT's interpreter."""

import numpy as np
import pytest

from cait_finetune.export import litert
from cait_finetune.export.parity import classify_all
from tests.cait_finetune.export.exported_models import NAMES, lively_model, validation_of

interpreter = pytest.importorskip("ai_edge_litert.interpreter")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    validation = validation_of(lively_model())
    directory = tmp_path_factory.mktemp("export") / "litert"
    done = litert.export(validation.exported, validation, directory, ["float16", "int8"])
    return validation, directory, done


@pytest.mark.slow
def test_the_export_equals_the_evaluation_for_every_image_size(exported):
    validation, directory, done = exported
    got = classify_all(litert.load(directory / "model.tflite"), validation.pixels)
    np.testing.assert_allclose(got, validation.exported.values(validation.logits), atol=1e-3)
    assert done["difference"] <= 1e-3
    assert (directory / "labels.txt").read_text(encoding="utf-8").splitlines() == NAMES


def test_it_needs_no_operation_that_litert_has_not(exported):
    model = interpreter.Interpreter(str(exported[1] / "model.tflite"))
    assert model.get_signature_list() == {
        "serving_default": {
            "inputs": ["images"],
            "outputs": ["predicted_index", "probabilities", "probability"],
        }
    }
    names = {one["op_name"] for one in model._get_ops_details()}
    assert "BATCH_MATMUL" in names
    assert not [name for name in names if name.startswith(("Flex", "CUSTOM"))]


def test_the_index_is_the_most_probable_classs(exported):
    validation, directory, _ = exported
    answer = litert.load_answer(directory / "model.tflite")
    for image, wanted in zip(
        validation.pixels, validation.exported.values(validation.logits), strict=True
    ):
        outputs = answer(image[None])
        assert outputs["predicted_index"].tolist() == [wanted.argmax()]
        assert outputs["probability"].tolist() == [outputs["probabilities"].max()]


def test_variants_are_smaller_and_measured(exported):
    _, directory, done = exported
    sizes = [done["megabytes"]]
    for name in ("float16", "int8"):
        metrics = done["variants"][name]
        path = directory / f"model_{name}.tflite"
        assert metrics["path"] == str(path)
        assert metrics["megabytes"] == round(path.stat().st_size / 1e6, 2)
        assert metrics["images"] == 6
        assert metrics["agreement"] >= litert.AGREEMENT
        assert metrics["plain_accuracy"] == 1.0
        assert 0 < metrics["difference"] < 0.2
        sizes.append(metrics["megabytes"])
    assert sizes == sorted(sizes, reverse=True)


def test_a_variant_with_other_predictions_is_not_kept(exported, tmp_path, monkeypatch):
    validation, directory, _ = exported
    load = litert.load
    written = {kind: directory / litert.variant_file(kind) for kind in ("float16", "int8")}
    written["float32"] = directory / litert.FILE
    monkeypatch.setattr(litert, "_convert", lambda function, kind: written[kind].read_bytes())

    def turned(path):
        return lambda images: load(path)(images)[:, :: -1 if "int8" in path.name else 1]

    monkeypatch.setattr(litert, "load", turned)
    done = litert.export(validation.exported, validation, tmp_path / "litert", ["float16", "int8"])
    assert list(done["variants"]) == ["float16"]
    (refusal,) = done["refused"]
    assert refusal.startswith(
        "export.quantise: got int8, which agrees with the float file (the same class) on "
    )
    assert "expected at least 90%" in refusal
    files = {path.name for path in (tmp_path / "litert").iterdir()}
    assert files == {"model.tflite", "model_float16.tflite", "labels.txt"}
