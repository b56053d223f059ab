"""An export as a repository of the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path

from cait_finetune.config.advice import advise
from cait_finetune.errors import UserError, bad_value

#: Hard links to the SavedModel, and what is not finished.
_NOT_UPLOADED = ["serving/*", ".*", "timm/*"]


def check_token() -> None:
    """Before anything long: whether this machine has a token of the hub.

    Raises:
        UserError: it has none.
    """
    from huggingface_hub import get_token

    if get_token() is None:
        raise bad_value(
            "export.push_to_hub",
            "no token of the Hugging Face Hub",
            "one that may write",
            "log in with hf auth login, or set HF_TOKEN",
        )


def push(repository: str, folder: Path, private: bool) -> str:
    """Upload what is in `folder`.

    The two files for timm go to the top, where ``timm.create_model("hf-hub:…")`` looks for them.

    Args:
        private: create a private repository, and upload to no public one. An existing private repository
            stays private either way.

    Returns:
        The repository's address, and whether it is private, as the console shows both.

    Raises:
        UserError: no network, no token, or no right to write there; or the repository is public.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        address = api.create_repo(repository, private=private, exist_ok=True)
        is_private = api.repo_info(repository).private
        if private and not is_private:
            raise bad_value(
                "export.hub_private",
                f"true, and {repository} is public",
                "a private repository",
                "Set export.hub_private=false to upload to a public one, or change its visibility "
                f"at {address}/settings",
            )
        if (folder / "timm").is_dir():
            api.upload_folder(
                repo_id=repository, folder_path=folder / "timm", commit_message="Weights for timm"
            )
        api.upload_folder(
            repo_id=repository,
            folder_path=folder,
            ignore_patterns=_NOT_UPLOADED,
            commit_message="Model and card",
        )
    except UserError:
        raise
    except Exception as error:  # the library raises a dozen unrelated types for "not to be had"
        reason = (str(error).strip() or "no details").splitlines()[0][:200]
        raise bad_value(
            "export.push_to_hub",
            f"{repository}, which could not be written ({type(error).__name__}: {reason})",
            "a network, and a token that may write there",
            f"the export stays in {folder}; log in with hf auth login or set HF_TOKEN, then push it "
            f"with python -m cait_finetune export {advise('run', folder.parent)} export=none "
            f"export.push_to_hub={repository}{'' if private else ' export.hub_private=false'}",
        ) from error
    return f"{address} ({'private' if is_private else 'public'})"
