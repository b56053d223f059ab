import pytest

from cait_finetune.errors import UserError
from cait_finetune.preparation import prepare
from tests.cait_finetune.stand_ins import checked


@pytest.mark.parametrize("name", ["imagenet_v2", "imagenet_folder"])
def test_a_set_for_evaluation_is_not_trained_on(name, tmp_path):
    config = checked(f"dataset={name}", f"dataset.data_dir={tmp_path}")
    with pytest.raises(UserError, match=r"which is for evaluation only.*\n.*cait_finetune\.evalu"):
        prepare(config, tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_a_library_that_the_export_will_want_is_missed_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr("cait_finetune.export.formats.find_spec", lambda name: None)
    config = checked("export=onnx", f"dataset.data_dir={tmp_path}")
    with pytest.raises(UserError, match=r"pip install 'cait-finetune\[onnx\]'"):
        prepare(config, tmp_path / "run")
    assert list(tmp_path.iterdir()) == []
