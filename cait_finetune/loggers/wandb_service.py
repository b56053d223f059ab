"""Check whether Weights & Biases can be reached.

The check has a time limit. The library itself would wait for the service.
"""

from __future__ import annotations

import os
from typing import Any

_QUERY = "query Viewer { viewer { id } }"
_TIMEOUT = 5.0  # seconds


def find_key(settings: Any) -> str | None:
    """Return the API key from the environment, `wandb login` or ``.netrc``.

    The function never asks the user for a key.

    Args:
        settings: wandb's settings.

    Returns:
        The key. `None`: no key was found.
    """
    import requests

    in_netrc = requests.utils.get_netrc_auth(settings.base_url)
    return os.environ.get("WANDB_API_KEY") or settings.api_key or (in_netrc and in_netrc[1])


def trouble(base_url: str, key: str) -> str:
    """Return why `key` cannot use the service, or an empty string if it can."""
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
