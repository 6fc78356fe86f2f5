"""Settings from the environment, and what is made of them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from rpacs_hub.errors import SettingsError
from rpacs_hub.login import HubSettings, gateway_service, idle_culler_service, roles
from rpacs_hub.login.gateway_service import MEMORY

LEAST = {
    "RPACS_OIDC_ISSUER": "https://idp.example.org/pool",
    "RPACS_OIDC_AUTHORIZE_URL": "https://login.example.org/oauth2/authorize",
    "RPACS_OIDC_TOKEN_URL": "https://login.example.org/oauth2/token",
    "RPACS_OIDC_JWKS_URL": "https://idp.example.org/pool/.well-known/jwks.json",
    "RPACS_OIDC_CLIENT_ID": "client",
    "RPACS_OIDC_CLIENT_SECRET": "s3cret-of-the-client",
    "RPACS_HUB_PUBLIC_URL": "https://pacs.example.org",
    "RPACS_HUB_STATE": "/srv/rpacs/hub",
    "RPACS_NOTEBOOKS": "/srv/rpacs/notebooks",
    "RPACS_GATEWAY_PORT": "10803",
    "JUPYTERHUB_CRYPT_KEY": "00" * 32,
    "CONFIGPROXY_AUTH_TOKEN": "s3cret-of-the-proxy",
}


def test_the_least_that_must_be_set() -> None:
    settings = HubSettings.from_environment(LEAST)
    assert settings.public_url == "https://pacs.example.org/"
    assert settings.gateway_public_url == "https://pacs.example.org/services/pacs/"
    assert settings.homes == Path("/srv/rpacs/homes")
    assert settings.admin_group == "pacs-admins"
    assert settings.allowed_groups == frozenset()
    assert settings.groups_claim == "cognito:groups"
    assert settings.proxy_command == ["configurable-http-proxy"]
    assert settings.spawner == ("system-users" if os.geteuid() == 0 else "simple")
    assert "s3cret" not in repr(settings)


@pytest.mark.parametrize("name", sorted(LEAST))
def test_each_of_them_is_asked_for_by_name(name: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} is not set"):
        HubSettings.from_environment({**LEAST, name: " "})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("RPACS_OIDC_ISSUER", "idp.example.org", "not an http"),
        ("RPACS_OIDC_TOKEN_URL", "http://login.example.org/token", "must begin with https"),
        ("RPACS_OIDC_JWKS_URL", "http://127.0.0.1.example.org/keys", "must begin with https"),
        ("RPACS_HUB_STATE", "var/hub", "not an absolute path"),
        ("RPACS_GATEWAY_PORT", "http", "whole number"),
        ("RPACS_GATEWAY_PORT", "70000", "whole number"),
        ("RPACS_OIDC_NONCE", "never", "must be one of: if-present, required"),
        ("RPACS_SPAWNER", "podman", "must be one of"),
        ("RPACS_IDLE_SECONDS", "5", "0 means: no limit"),
        ("RPACS_SERVER_MEMORY_MB", "1", "whole number from 512"),
        ("RPACS_SERVER_CPUS", "-1", "not a number such as 2"),
        ("RPACS_SERVER_NICE", "20", "from 0 to 19"),
        ("RPACS_OIDC_REFRESH_SECONDS", "0", "whole number"),
    ],
)
def test_what_cannot_be_used_is_refused_and_explained(name: str, value: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        HubSettings.from_environment({**LEAST, name: value})
    assert name in str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_plain_http_is_for_this_machine(host: str) -> None:
    url = f"http://{host}:19229/oauth2/token"
    assert HubSettings.from_environment({**LEAST, "RPACS_OIDC_TOKEN_URL": url}).token_url == url


def test_a_spawner_that_would_isolate_nobody_or_cannot_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert HubSettings.from_environment(LEAST).spawner == "system-users"
    with pytest.raises(SettingsError, match="every notebook would run as root"):
        HubSettings.from_environment({**LEAST, "RPACS_SPAWNER": "simple"})
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert HubSettings.from_environment(LEAST).spawner == "simple"
    with pytest.raises(SettingsError, match="needs a hub that runs as root"):
        HubSettings.from_environment({**LEAST, "RPACS_SPAWNER": "system-users"})


def test_lists_and_commands() -> None:
    settings = HubSettings.from_environment(
        {
            **LEAST,
            "RPACS_ALLOWED_GROUPS": "researchers, ct-researchers,",
            "RPACS_PROXY_COMMAND": "node '/opt/with space/configurable-http-proxy'",
            "RPACS_OIDC_NONCE": "required",
        }
    )
    assert settings.allowed_groups == {"researchers", "ct-researchers"}
    assert settings.proxy_command == ["node", "/opt/with space/configurable-http-proxy"]
    assert settings.require_nonce


def test_the_gateway_gets_its_own_settings_and_no_others() -> None:
    environment = {
        **LEAST,
        "RPACS_GATEWAY_USER": "rpacs-gateway",
        "RPACS_GATEWAY_DATABASE_URL": "postgresql://rpacs_gateway:pw@127.0.0.1/rpacs",
        "RPACS_GATEWAY_S3_ENDPOINTS": "http://127.0.0.1:10820",
        "RPACS_GATEWAY_AWS_REGION": "eu-central-1",
        "RPACS_PSEUDONYM_KEY_FILE": "/srv/rpacs/secrets/key",
    }
    service = gateway_service(HubSettings.from_environment(environment))
    assert service["environment"] == {
        **MEMORY,
        "RPACS_ADMIN_GROUP": "pacs-admins",
        "RPACS_URL": "https://pacs.example.org/services/pacs/",
        "RPACS_DATABASE_URL": "postgresql://rpacs_gateway:pw@127.0.0.1/rpacs",
        "RPACS_S3_ENDPOINTS": "http://127.0.0.1:10820",
        "AWS_REGION": "eu-central-1",
    }
    assert service["user"] == "rpacs-gateway"
    assert service["url"] == "http://127.0.0.1:10803"
    assert service["command"] == [str(Path(sys.executable).parent / "rpacs-hub"), "gateway"]
    assert "user" not in gateway_service(HubSettings.from_environment(LEAST))


def test_the_idle_culler_may_see_and_stop_and_nothing_more() -> None:
    (role,) = (role for role in roles("pacs-admins", culler=True) if role["name"] == "idle-culler")
    assert role["services"] == ["idle-culler"]
    assert set(role["scopes"]) == {"list:users", "read:users:activity", "read:servers", "delete:servers"}
    assert all(role["name"] != "idle-culler" for role in roles("pacs-admins"))
    service = idle_culler_service(HubSettings.from_environment({**LEAST, "RPACS_IDLE_SECONDS": "600"}))
    assert service["command"][1:] == ["-m", "rpacs_hub.culler", "--timeout=600", "--cull-every=150"]
    assert "environment" not in service
    if os.geteuid() == 0:
        assert service["user"] == "nobody"


def test_limits_of_servers() -> None:
    settings = HubSettings.from_environment(LEAST)
    assert (settings.idle_seconds, settings.memory_mb, settings.cpus, settings.nice) == (7200, 4096, 0, 5)
    none = dict.fromkeys(["RPACS_IDLE_SECONDS", "RPACS_SERVER_MEMORY_MB", "RPACS_SERVER_PROCESSES"], "0")
    settings = HubSettings.from_environment({**LEAST, **none})
    assert (settings.idle_seconds, settings.memory_mb, settings.processes) == (0, 0, 0)


def test_no_role_lets_anybody_act_as_somebody_else() -> None:
    for role in roles("pacs-admins", culler=True):
        for scope in role["scopes"]:
            assert not scope.startswith(("admin:", "tokens", "users:shares", "inherit", "proxy", "shutdown")), role
            assert scope != "access:servers"
    assert [role["groups"] for role in roles("the-admins") if role["name"] == "pacs-admin"] == [["the-admins"]]
