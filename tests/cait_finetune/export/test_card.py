"""The model card of runs of different kinds."""

import pytest
import yaml
from omegaconf import OmegaConf

from cait_finetune.export.card import model_card
from cait_finetune.export.start import start_of
from tests.cait_finetune.stand_ins import composed

EXPORT = {"difference": 1e-6, "images": 64, "temperature": 1.0}
RESULT = {
    "test_top1": 0.91,
    "intervals": {"test_top1": [0.876, 0.935]},
    "test_top5": 1.0,
    "test_examples": 367,
    "steps": 90,
    "best_epoch": 2,
}


def config_of(*overrides) -> dict:
    return OmegaConf.to_container(composed(*overrides))


def card(*overrides, result=RESULT, exports=("saved_model",), **keys) -> tuple[dict, str]:
    there = dict.fromkeys(exports, EXPORT)
    text = model_card(config_of(*overrides), result, there, ["cat", "dog"], **keys)
    _, metadata, body = text.split("---\n", 2)
    return yaml.safe_load(metadata), body


@pytest.mark.parametrize(
    ("weights", "base"),
    [
        ("hub", "timm/cait_s24_224.fb_dist_in1k"),
        ("official", "timm/cait_s24_224.fb_dist_in1k"),
        ("timm/cait_s24_224.fb_dist_in1k", "timm/cait_s24_224.fb_dist_in1k"),
        ("pretrained", "timm/cait_s24_224.fb_dist_in1k"),
        ("none", None),
        ("someone/else", None),
        ("my/best.safetensors", None),
    ],
)
def test_the_licence_is_the_one_of_the_weights_it_began_with(weights, base):
    options = ("dataset=flowers", "model=cait_s24_224", f"model.weights={weights}")
    assert start_of(config_of(*options)).base_model == base
    metadata, text = card(*options)
    assert metadata.get("base_model") == base
    assert metadata.get("license") == ("apache-2.0" if base else None)
    assert "CC BY, by photograph" in text
    assert "https://tensorflow.org/tutorials/load_data/images" in text
    said = base or ("random" if weights == "none" else f"`{weights}`, whose licence applies")
    assert said in text


def test_weights_that_come_with_the_package_are_under_its_licence():
    options = ("model=cait_nano_32", "model.weights=pretrained")
    metadata, text = card(*options)
    assert "base_model" not in metadata
    assert metadata["license"] == "apache-2.0"
    assert text.count("the pretrained weights that come with cait-finetune") == 2


def test_the_figures_are_those_of_the_run():
    metadata, text = card("dataset=flowers")
    (model,) = metadata["model-index"]
    (result,) = model["results"]
    assert [(one["type"], one["value"]) for one in result["metrics"]] == [
        ("accuracy", 0.91),
        ("top_5_accuracy", 1.0),
    ]
    assert "| top-1 | 91.00% (87.6–93.5) |" in text
    assert "367 images" in text


def test_own_images_are_no_data_set_of_the_hub():
    metadata, text = card("dataset=folder", "dataset.data_dir=x", "dataset.license=mine alone")
    assert "datasets" not in metadata
    assert "The images' licence: mine alone" in text
    _, text = card("dataset=folder", "dataset.data_dir=x")
    assert "The licence of the images was not stated (`dataset.license`)" in text


def test_the_card_states_the_temperature():
    text = model_card(config_of(), RESULT, {"onnx": {**EXPORT, "temperature": 1.234}}, ["a", "b"])
    assert "calibrated by a temperature of 1.234" in text
    assert "no temperature was fitted" in card()[1]


def test_the_command_is_shown_where_it_is_known():
    assert (
        "```sh\npython -m cait_finetune seed=3\n```"
        in card(command="python -m cait_finetune seed=3")[1]
    )
    assert "python -m cait_finetune" not in card()[1]


def test_no_path_of_the_machine_is_shown(monkeypatch):
    monkeypatch.chdir("/")
    weights = "/etc/hostname"  # an existing file, so that the value counts as a path
    changed = (
        "resume: 3 images new (/home/me/a (1).jpg, /home/me/b.jpg, …); 1 image gone (/home/me/c)"
    )
    data = {"splits": {}, "accepted_changes": [changed]}
    metadata, text = card(
        "dataset=folder", "dataset.data_dir=/home/me/photos", f"model.weights={weights}", data=data,
        command="python -m cait_finetune -cd /home/me/conf dataset.data_dir=/home/me/photos seed=3",
    )  # fmt: skip
    assert "-cd '…/conf' 'dataset.data_dir=…/photos' seed=3\n```" in text
    assert "- resume: 3 images new; 1 image gone\n" in text
    assert text.count("`…/hostname`") == 2
    assert "/home/" not in text + str(metadata)
    assert "/etc/" not in text + str(metadata)


def test_the_card_mentions_8_bit_images_for_onnx_only():
    assert "for images of 8 bits" in card(exports=("onnx",))[1]
    assert "for images of 8 bits" not in card(exports=("saved_model",))[1]


def test_only_what_is_there_is_explained():
    _, text = card(exports=("onnx",))
    assert "### ONNX" in text
    for other in ("### SavedModel", "### LiteRT", "### Keras", "### timm"):
        assert other not in text


def test_images_with_several_labels():
    metadata, text = card(
        "dataset=csv", "dataset.data_dir=x", "task=multi_label",
        result={"test_mean_average_precision": 0.6, "test_f1": 0.5, **{
            key: RESULT[key] for key in ("test_examples", "steps", "best_epoch")}},
        exports=("timm",),
    )  # fmt: skip
    assert metadata["metrics"] == ["mean_average_precision", "f1"]
    assert "any number of them per image" in text
    assert ".sigmoid()" in text


def test_a_card_for_the_hub_names_the_repository():
    metadata, text = card(exports=("timm",), repository="me/flowers")
    assert metadata["library_name"] == "timm"
    assert metadata["model-index"][0]["name"] == "flowers"
    assert 'timm.create_model("hf-hub:me/flowers", pretrained=True)' in text


def test_the_card_notes_that_timm_cannot_pad():
    pad = "preprocessing.resize_mode=pad"
    assert "timm has no transform that pads" in card(pad, exports=("timm",))[1]
    assert "timm has no transform" not in card(exports=("timm",))[1]


def test_code_that_opens_a_photograph_turns_it_as_training_did():
    formats = ("onnx", "litert", "keras", "timm")
    text = card(exports=formats)[1]
    assert text.count("ImageOps.exif_transpose(Image.open(") == len(formats)
    assert text.count("from PIL import Image, ImageOps\n") == len(formats)
    text = card("dataset.upright=false", exports=formats)[1]
    assert "ImageOps" not in text
    assert text.count('Image.open("image.jpg").convert("RGB")') == len(formats)


NUMBERS = {
    "test_r2": 0.87, "test_mae": 3.25, "test_rmse": 4.5, "test_spearman": 0.91, "test_examples": 40,
    "intervals": {"test_r2": [0.8, 0.92]}, "steps": 9, "best_epoch": 2,
}  # fmt: skip
#: Words that mean something else: the model's name, Python's classes, and timm's name of a number.
OTHER_MEANINGS = ("class-attention", "# registers the classes", "num_classes")


def card_of_numbers(widths=(1.5, 2e-5)) -> tuple[dict, str]:
    record = {
        "difference": 1e-6,
        "images": 64,
        "alpha": 0.1,
        "half_widths": widths and list(widths),
    }
    variant = {
        "path": "litert/model_int8.tflite", "megabytes": 0.5, "images": 30, "metric": "r2", "accuracy": 0.85,
        "plain_accuracy": 0.87, "agreement": 0.9, "agrees": "number", "difference": 0.05,
    }  # fmt: skip
    exports = dict.fromkeys(("saved_model", "onnx", "keras", "timm"), record)
    exports["litert"] = {**record, "megabytes": 1.2, "variants": {"int8": variant}}
    words = ("task=regression", "dataset=csv", "dataset.data_dir=x", "model=cait_nano_32")
    text = model_card(config_of(*words), NUMBERS, exports, ["age", "angle"])
    _, metadata, body = text.split("---\n", 2)
    return yaml.safe_load(metadata), body


@pytest.mark.parametrize("widths", [(1.5, 2e-5), None])
def test_the_card_of_a_regressor_is_about_numbers(widths):
    metadata, text = card_of_numbers(widths)
    words = text.lower()
    for other in OTHER_MEANINGS:
        words = words.replace(other, "")
    for wrong in ("class", "probab", "logit", "top-1", "temperature", "softmax", "calibrat"):
        found = [line for line in words.splitlines() if wrong in line]
        assert not found, found
    assert "2 targets, a number each for every image: age, angle." in text
    assert "| R² | 87.00% (80.0–92.0) |" in text
    assert "| MAE | 3.25 |" in text
    assert "of a number, in standard deviations of the target" in text
    assert "numbers within 0.1 standard deviations" in text
    assert ("90 % of the numbers of similar images lie inside" in text) == bool(widths)
    assert metadata["tags"][0] == "image-regression"
    assert "pipeline_tag" not in metadata


def test_the_metrics_of_a_regressor_have_the_hubs_names():
    (result,) = card_of_numbers()[0]["model-index"][0]["results"]
    assert result["task"]["type"] == "image-regression"
    assert {one["type"]: one["value"] for one in result["metrics"]} == {
        "r_squared": 0.87, "mae": 3.25, "rmse": 4.5, "spearmanr": 0.91,
    }  # fmt: skip
