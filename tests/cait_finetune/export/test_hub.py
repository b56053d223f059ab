"""Push to the hub: which files go where, and which error appears when the push fails."""

from types import SimpleNamespace

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


class Hub:
    """A hub that keeps the uploads. `private` maps each repository to whether it is private."""

    def __init__(self, monkeypatch, **private):
        self.private, self.uploads = private, []
        monkeypatch.setattr(HfApi, "create_repo", self.create)
        monkeypatch.setattr(
            HfApi,
            "repo_info",
            lambda _, repository: SimpleNamespace(private=self.private[repository]),
        )
        monkeypatch.setattr(HfApi, "upload_folder", lambda _, **keys: self.uploads.append(keys))

    def create(self, repository, private, exist_ok):
        assert exist_ok or repository not in self.private
        self.private.setdefault(repository, private)  # an existing repository does not change
        return f"https://huggingface.co/{repository}"


@pytest.fixture
def the_hub(monkeypatch):
    return Hub(monkeypatch)


@pytest.mark.parametrize(("private", "shown"), [(True, "private"), (False, "public")])
def test_a_new_repository_is_private_by_default(folder, the_hub, private, shown):
    address = hub.push("me/digits", folder, private)
    assert address == f"https://huggingface.co/me/digits ({shown})"
    assert the_hub.private == {"me/digits": private}


def test_nothing_goes_to_a_public_repository_unasked(folder, the_hub):
    the_hub.private["me/digits"] = False
    with pytest.raises(UserError) as caught:
        hub.push("me/digits", folder, private=True)
    assert str(caught.value).startswith(
        "export.hub_private: got true, and me/digits is public, expected a private repository\n"
        "  Set export.hub_private=false"
    )
    assert not the_hub.uploads
    assert hub.push("me/digits", folder, private=False).endswith("/me/digits (public)")


def test_a_private_repository_stays_private(folder, the_hub):
    the_hub.private["me/digits"] = True
    assert hub.push("me/digits", folder, private=False).endswith("/me/digits (private)")


def test_push_puts_timm_files_at_the_top_and_omits_links(folder, the_hub):
    hub.push("me/digits", folder, private=True)
    timm, rest = the_hub.uploads
    assert timm["folder_path"] == folder / "timm"
    assert "path_in_repo" not in timm
    assert (rest["repo_id"], rest["folder_path"]) == ("me/digits", folder)
    from huggingface_hub.utils import filter_repo_objects

    names = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
    left = filter_repo_objects(names, ignore_patterns=rest["ignore_patterns"])
    assert list(left) == ["README.md"]


def test_without_a_network_the_export_stays(folder, monkeypatch):
    """The error comes from the real library, because no server listens."""
    api = HfApi(endpoint="http://127.0.0.1:9", token="hf_none")
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: api)
    with pytest.raises(UserError) as caught:
        hub.push("me/digits", folder, private=False)
    message = str(caught.value)
    assert message.startswith("export.push_to_hub: got me/digits, which could not be written (")
    assert f"the export stays in {folder}" in message
    assert f"run={folder.parent} export=none export.push_to_hub=me/digits " in message
    assert message.endswith("export.hub_private=false")
    assert (folder / "README.md").is_file()


def test_check_token_raises_without_a_token(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(UserError, match="no token of the Hugging Face Hub, expected a token with"):
        hub.check_token()
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "hf_some")
    hub.check_token()
