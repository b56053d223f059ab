"""Whether Weights & Biases can be reached: asked here, with a limit, as the library would wait."""

from __future__ import annotations

import os
from typing import Any

_QUERY = "query Viewer { viewer { id } }"
_TIMEOUT = 5.0  # seconds


def find_key(settings: Any) -> str | None:
    """The API key that `wandb login`, the environment or ``.netrc`` has; never asks for one.

    Args:
        settings: wandb's own.
    """
    import requests

    in_netrc = requests.utils.get_netrc_auth(settings.base_url)
    return os.environ.get("WANDB_API_KEY") or settings.api_key or (in_netrc and in_netrc[1])


def trouble(base_url: str, key: str) -> str:
    """Why the service cannot be used with `key`; empty when it can be."""
    import requests

    try:
        answer = requests.post(
            f"{base_url}/graphql", json={"query": _QUERY}, auth=("api", key), timeout=_TIMEOUT
        )
        if answer.status_code in (401, 403):
            return f"{base_url} does not accept the key (wandb login --relogin)"
        answer.raise_for_status()
        viewer = (answer.json().get("data") or {}).get("viewer")
    except (requests.RequestException, ValueError, AttributeError) as error:
        return f"{base_url} does not answer ({type(error).__name__})"
    return "" if viewer else f"{base_url} does not know the key (wandb login --relogin)"
