"""``rpacs-hub users`` and ``rpacs-hub groups`` at the stand-in for Cognito and a real Hub."""

from __future__ import annotations

import json
import re
import secrets

import psycopg
import pytest

from hub.tests.real_hub import make_token
from rpacs_hub.cli import main
from tests.fixtures.login import KEY, sign_in


@pytest.fixture
def name() -> str:
    return f"t{secrets.token_hex(4)}"


@pytest.fixture
def run(archive, login, real_hub, monkeypatch, capsys):
    """Run a command with the gateway's settings and an administrator's token."""
    for variable, value in {
        "RPACS_DATABASE_URL": archive.base.gateway,
        "RPACS_COGNITO_POOL": login.known.pool_id,
        "RPACS_COGNITO_ENDPOINT": login.settings.login_url,
        "RPACS_COGNITO_ACCESS_KEY": KEY,
        "RPACS_COGNITO_SECRET_KEY": "unused",
        "RPACS_HUB_API_URL": f"{real_hub.url}hub/api",
        "RPACS_HUB_API_TOKEN": make_token(real_hub, "boss")[0],
    }.items():
        monkeypatch.setenv(variable, value)

    def run(*words: str) -> tuple[int, str, str]:
        code = main(words)
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


def lines_about(archive, subject: str) -> list[dict]:
    statement = "SELECT line FROM audit.event WHERE line::jsonb ->> 'subject' = %s ORDER BY seq"
    with psycopg.connect(archive.base.gateway) as connection:
        return [json.loads(line) for (line,) in connection.execute(statement, (subject,)).fetchall()]


def test_a_user_is_made_changed_and_deleted_with_a_line_for_each(archive, login, real_hub, run, name):
    code, out, err = run("users", "create", name, "--email", f"{name}@example.org", "--group", "ct-researchers")
    assert (code, err) == (0, "")
    password = re.search(r"Temporary password, .*: (\S{16})$", out, re.MULTILINE)[1]
    assert "Choose a new one" in sign_in(login, name, password).answer.text
    real_hub.api("POST", f"users/{name}")
    code, out, _ = run("users", "show", name, "--json")
    facts = json.loads(out)
    assert (facts["name"], facts["email"], facts["enabled"], facts["temporary_password"], facts["groups"]) == (
        (name, f"{name}@example.org", True, True, ["ct-researchers"])
    )
    assert f"{name:24}  temporary password" in run("users", "list", name)[1]
    assert [one["name"] for one in json.loads(run("groups", "show", "ct-researchers", "--json")[1])] == ["clara", name]
    assert run("groups", "remove", "ct-researchers", name)[0] == 0
    assert run("groups", "add", "researchers", name)[1].startswith(f"{name} is in researchers.")
    assert "groups: researchers" in run("users", "show", name)[1]
    assert run("users", "disable", name)[0] == 0
    assert real_hub.api("GET", f"users/{name}").status_code == 404
    assert "disabled" in run("users", "list", name)[1]
    assert run("users", "enable", name)[1] == f"{name} can sign in again.\n"
    assert run("users", "stop-server", name)[1] == f"No server of {name} is running.\n"
    second = run("users", "reset-password", name)[1].split()[-1]
    assert second != password
    assert run("users", "delete", name)[0] == 0
    code, out, err = run("users", "show", name)
    assert (code, out) == (1, "")
    assert f"There is no user '{name}'" in err
    lines = lines_about(archive, name)
    assert [line["action"] for line in lines] == [
        *("create_user", "disable_user", "enable_user", "stop_server", "reset_password", "delete_user")
    ]
    assert {(line["decision"], line["method"]) for line in lines} == {("allowed", "TERMINAL")}
    assert password not in str(lines)
    assert second not in str(lines)
    (removed,) = lines_about(archive, f"{name}: ct-researchers")
    assert removed["action"] == "remove_from_group"


def test_groups_are_made_listed_and_deleted(archive, run, name):
    assert run("groups", "create", name, "--description", "For a test")[1] == f"The group {name} was created.\n"
    assert re.search(rf"^{name} +0  For a test$", run("groups", "list")[1], re.MULTILINE)
    listed = json.loads(run("groups", "list", "--json")[1])
    assert {"name": name, "description": "For a test", "members": []} in listed
    assert run("groups", "create", name)[0] == 1
    assert run("groups", "delete", name)[0] == 0
    assert [(line["action"], line["decision"]) for line in lines_about(archive, name)] == [
        ("create_group", "allowed"),
        ("create_group", "error"),
        ("delete_group", "allowed"),
    ]


def test_the_last_administrator_stays_at_the_terminal_too(run):
    code, _, err = run("users", "disable", "admin")
    assert code == 1
    assert "admin is the last administrator who can sign in." in err


def test_without_the_hub_its_side_is_left_out_and_said(run, monkeypatch, name):
    monkeypatch.delenv("RPACS_HUB_API_TOKEN")
    assert "Only one of RPACS_HUB_API_URL and RPACS_HUB_API_TOKEN is set." in run("users", "list")[2]
    monkeypatch.delenv("RPACS_HUB_API_URL")
    run("users", "create", name)
    code, out, err = run("users", "disable", name)
    assert (code, out) == (1, f"{name} can no longer sign in.\n")
    assert "The Hub was not asked" in err
    assert "This needs the Hub. Set RPACS_HUB_API_URL" in run("users", "stop-server", name)[2]
    run("users", "delete", name)
    monkeypatch.delenv("RPACS_COGNITO_POOL")
    assert "Neither RPACS_COGNITO_POOL nor RPACS_HUB_API_URL is set." in run("groups", "list")[2]


def test_nothing_is_done_that_the_audit_cannot_hold(run, login, monkeypatch, name):
    monkeypatch.delenv("RPACS_DATABASE_URL")
    code, _, err = run("users", "create", name)
    assert code == 1
    assert "RPACS_DATABASE_URL" in err
    assert run("users", "list", name)[1] == ""
