from types import SimpleNamespace

import pytest

from cait_finetune.loggers.wandb_service import find_key, trouble
from tests.cait_finetune.loggers.wandb_stand_in import KEY, running


@pytest.fixture
def settings(monkeypatch, tmp_path):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    return SimpleNamespace(base_url="https://api.wandb.ai", api_key=None)


def test_find_key_returns_none_without_a_login(settings):
    assert find_key(settings) is None


def test_wandb_login_writes_netrc(settings, tmp_path):
    (tmp_path / "netrc").write_text(f"machine api.wandb.ai\n  login user\n  password {KEY}\n")
    assert find_key(settings) == KEY
    settings.base_url = "https://wandb.example.com"
    assert find_key(settings) is None


def test_the_environment_comes_first(settings, monkeypatch):
    settings.api_key = "of the settings"
    assert find_key(settings) == "of the settings"
    monkeypatch.setenv("WANDB_API_KEY", "of the environment")
    assert find_key(settings) == "of the environment"


def test_a_service_that_knows_the_key():
    with running() as service:
        assert trouble(service.url, KEY) == ""
        refused = f"{service.url} does not accept the key (wandb login --relogin)"
        assert trouble(service.url, "b" * 40) == refused
        service.answer = lambda query, variables: {"viewer": None}
        assert "does not know the key" in trouble(service.url, KEY)
        service.answer = lambda query, variables: None
        assert "does not know the key" in trouble(service.url, KEY)
        assert "does not answer (HTTPError)" in trouble(f"{service.url}/elsewhere", KEY)
    assert "does not answer (ConnectionError)" in trouble(service.url, KEY)
