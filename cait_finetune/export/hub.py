"""Push an export to a repository of the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path

from cait_finetune.config.advice import advise
from cait_finetune.errors import UserError, bad_value, reason

#: Hard links to the SavedModel; hidden files, which may be partial; timm's files, which `push` uploads
#: separately.
_NOT_UPLOADED = ["serving/*", ".*", "timm/*"]


def check_token() -> None:
    """Check before any long work that this machine has a token of the hub.

    Raises:
        UserError: the machine has no token.
    """
    from huggingface_hub import get_token

    if get_token() is None:
        raise bad_value(
            "export.push_to_hub",
            "no token of the Hugging Face Hub",
            "a token with write access",
            "log in with hf auth login, or set HF_TOKEN",
        )


def push(repository: str, folder: Path, private: bool) -> str:
    """Upload the files in `folder` to `repository` and return the repository's address.

    The files of ``timm/`` go to the top level of the repository, where
    ``timm.create_model("hf-hub:…")`` looks for them.

    Args:
        private: create a private repository and refuse a public one. `False`: create a public
            repository. An existing private repository stays private in both cases.

    Returns:
        The address, followed by ``(private)`` or ``(public)``.

    Raises:
        UserError: the hub cannot be reached, the token is missing or cannot write to the
            repository, or `private` is set and the repository is public.
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
    except Exception as error:  # the library raises many unrelated types
        raise bad_value(
            "export.push_to_hub",
            f"{repository}, which could not be written ({type(error).__name__}: {reason(error)[:200]})",
            "a network, and a token that may write there",
            f"the export stays in {folder}; log in with hf auth login or set HF_TOKEN, then push it "
            f"with python -m cait_finetune export {advise('run', folder.parent)} export=none "
            f"export.push_to_hub={repository}{'' if private else ' export.hub_private=false'}",
        ) from error
    return f"{address} ({'private' if is_private else 'public'})"
