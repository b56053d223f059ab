"""The table of formats."""

import inspect
from importlib import util

import pytest

from cait_finetune import config as configuration
from cait_finetune import export
from cait_finetune.errors import UserError
from cait_finetune.export import formats, parity
from tests.cait_finetune.stand_ins import checked


@pytest.mark.parametrize("name", configuration.EXPORT_FORMATS)
def test_each_is_written_by_its_module_and_in_the_table(name):
    config = checked(f"export={name}").export
    parameters = inspect.signature(formats.exporter(name, config)).parameters
    assert list(parameters)[:3] == ["exported", "validation", "directory"]
    (row,) = [line for line in export.__doc__.splitlines() if line.startswith(f"| `{name}`")]
    tolerance = parity.TOLERANCE if name == "saved_model" else parity.PIXEL_TOLERANCE
    assert float(row.split("|")[4]) == tolerance


def test_quantised_variants_are_asked_for():
    config = checked("export=litert", "export.quantise=[float16]").export
    assert formats.exporter("litert", config).keywords == {"quantise": ["float16"]}


@pytest.mark.parametrize(("name", "package"), [("onnx", "tf2onnx"), ("litert", "ai_edge_litert")])
def test_the_error_for_a_missing_library_names_its_extra(name, package, monkeypatch):
    found = util.find_spec
    monkeypatch.setattr(formats, "find_spec", lambda one: None if one == package else found("json"))
    formats.check(checked("export=[saved_model,keras,timm]").export)
    with pytest.raises(UserError) as caught:
        formats.check(checked(f"export=[saved_model,{name}]").export)
    assert f"export: got {name}, without {package}, expected" in str(caught.value)
    assert f"pip install 'cait-finetune[{name}]'" in str(caught.value)


def test_the_token_is_looked_for_before_the_training(monkeypatch):
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(UserError, match=r"export\.push_to_hub: got no token"):
        formats.check(checked("export.push_to_hub=me/digits").export)
