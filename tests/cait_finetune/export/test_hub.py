"""Pushing to the hub: what goes where, and what is said when nothing can."""

import pytest
from huggingface_hub import HfApi

from cait_finetune.errors import UserError
from cait_finetune.export import hub


@pytest.fixture
def folder(tmp_path):
    export = tmp_path / "run" / "export"
    for name in ("README.md", "timm/config.json", "serving/1/saved_model.pb", ".onnx.partial/x"):
        (export / name).parent.mkdir(parents=True, exist_ok=True)
        (export / name).write_text(name)
    return export


def test_timms_files_go_to_the_top_and_the_links_nowhere(folder, monkeypatch):
    calls = []

    def create(self, repository, **keys):
        calls.append((repository, keys))
        return f"https://huggingface.co/{repository}"

    monkeypatch.setattr(HfApi, "create_repo", create)
    monkeypatch.setattr(HfApi, "upload_folder", lambda self, **keys: calls.append(keys))
    assert hub.push("me/digits", folder) == "https://huggingface.co/me/digits"
    created, timm, rest = calls
    assert created == ("me/digits", {"exist_ok": True})
    assert timm["folder_path"] == folder / "timm"
    assert "path_in_repo" not in timm
    assert (rest["repo_id"], rest["folder_path"]) == ("me/digits", folder)
    from huggingface_hub.utils import filter_repo_objects

    names = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
    left = filter_repo_objects(names, ignore_patterns=rest["ignore_patterns"])
    assert list(left) == ["README.md"]


def test_without_a_network_the_export_stays(folder, monkeypatch):
    """The library's own error, of a server that is not there."""
    api = HfApi(endpoint="http://127.0.0.1:9", token="hf_none")
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: api)
    with pytest.raises(UserError) as caught:
        hub.push("me/digits", folder)
    message = str(caught.value)
    assert message.startswith("export.push_to_hub: got me/digits, which could not be written (")
    assert f"the export stays in {folder}" in message
    assert f"run={folder.parent} export=none export.push_to_hub=me/digits" in message
    assert (folder / "README.md").is_file()


def test_without_a_token_it_is_said_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(UserError, match="no token of the Hugging Face Hub, expected one that may"):
        hub.check_token()
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "hf_some")
    hub.check_token()
