"""What is wrong with the environment is said by name, and secrets stay out of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import rpacs_hub.settings
from rpacs_hub.cli import main
from rpacs_hub.errors import SettingsError
from rpacs_hub.settings import GatewaySettings, IndexerSettings

GOOD = {
    "RPACS_DATABASE_URL": "postgresql://rpacs_gateway:hidden-word@127.0.0.1:5432/rpacs",
    "RPACS_RESEARCH_URL": "http://svc:hidden-word@127.0.0.1:8042/",
    "RPACS_PERMISSIONS": "/etc/rpacs/permissions.yaml",
    "RPACS_AUDIT_LOG": "/var/log/rpacs/audit.jsonl",
}


def test_defaults_and_what_the_hub_gives():
    settings = GatewaySettings.from_environment(
        {
            **GOOD,
            "RPACS_S3_ENDPOINTS": "http://s3.local:9000/, https://b ,",
            "JUPYTERHUB_SERVICE_PREFIX": "/x/services/pacs",
        }
    )
    assert settings.research_url == "http://svc:hidden-word@127.0.0.1:8042"
    assert settings.s3_endpoints == ("http://s3.local:9000", "https://b")
    assert settings.service_prefix == "/x/services/pacs/"
    assert (settings.admin_group, settings.search_timeout) == ("pacs-admins", 20)
    assert IndexerSettings.from_environment(GOOD).poll == 0.5


@pytest.mark.parametrize("kind", [GatewaySettings, IndexerSettings])
def test_secrets_do_not_show(kind):
    assert "hidden-word" not in repr(kind.from_environment(GOOD))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"RPACS_DATABASE_URL": ""}, "RPACS_DATABASE_URL is not set."),
        ({"RPACS_DATABASE_URL": "mysql://u:hidden-word@h/"}, "RPACS_DATABASE_URL is not an address."),
        ({"RPACS_RESEARCH_URL": "hidden-word"}, "RPACS_RESEARCH_URL is not an address."),
        ({"RPACS_PERMISSIONS": " "}, "RPACS_PERMISSIONS is not set."),
        ({"RPACS_AUDIT_LOG": ""}, "RPACS_AUDIT_LOG is not set."),
        ({"RPACS_S3_ENDPOINTS": "s3.local"}, "RPACS_S3_ENDPOINTS holds 's3.local'."),
        ({"RPACS_SEARCH_TIMEOUT": "soon"}, "RPACS_SEARCH_TIMEOUT is 'soon'."),
        ({"RPACS_SEARCH_TIMEOUT": "-1"}, "RPACS_SEARCH_TIMEOUT is '-1'."),
    ],
)
def test_what_is_wrong_is_named(change, message):
    with pytest.raises(SettingsError) as caught:
        GatewaySettings.from_environment({**GOOD, **change})
    assert caught.value.message == message
    assert caught.value.hint
    assert "hidden-word" not in str(caught.value)


def test_every_setting_is_described_and_every_description_is_a_setting():
    source = Path(rpacs_hub.settings.__file__).read_text()
    described = set(re.findall(r"^``(RPACS_\w+)``", rpacs_hub.settings.__doc__, re.MULTILINE))
    used = set(re.findall(r'"(RPACS_\w+)"', source))
    assert described == used
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    assert not [name for name in used if f"`{name}`" not in readme]


@pytest.mark.parametrize("command", [["index", "run"], ["index", "status"], ["gateway"], ["status"]])
def test_a_command_without_its_settings_says_so_in_one_line(command, monkeypatch, capsys):
    for name in (*GOOD, "JUPYTERHUB_API_URL"):
        monkeypatch.delenv(name, raising=False)
    assert main(command) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "RPACS_DATABASE_URL" in error
