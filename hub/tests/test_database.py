"""Roles, schemas and grants, and the command that makes them."""

from __future__ import annotations

import json
import secrets

import psycopg
import pytest

from rpacs_hub.cli import main
from rpacs_hub.database import OWNED_SCHEMAS, create, role_url
from rpacs_hub.errors import DatabaseUnavailable, SettingsError


def passwords(new_base) -> dict[str, str]:
    return {role: psycopg.conninfo.conninfo_to_dict(url)["password"] for role, url in new_base().urls.items()}


def test_each_role_owns_its_schema_and_sees_no_other(base):
    for role, schema in OWNED_SCHEMAS.items():
        with psycopg.connect(base.urls[role], autocommit=True) as connection:
            connection.execute("CREATE TABLE own (n int)")
            found = connection.execute(
                "SELECT schemaname FROM pg_tables WHERE tablename = 'own' AND tableowner = %s", (role,)
            )
            assert found.fetchall() == [(schema,)]
    for role in OWNED_SCHEMAS:
        with psycopg.connect(base.urls[role], autocommit=True) as connection:
            for other in set(OWNED_SCHEMAS.values()) - {OWNED_SCHEMAS[role]}:
                if (role, other) == ("rpacs_gateway", "pacs"):
                    assert connection.execute("SELECT * FROM pacs.own").fetchall() == []
                    continue
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(f"SELECT * FROM {other}.own")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("CREATE TABLE public.own (n int)")


def test_it_may_run_again_and_changes_passwords(postgres, new_base):
    before = passwords(new_base)
    name = f"again_{secrets.token_hex(4)}"
    try:
        create(postgres.admin_url, before, name)
        after = {**before, "rpacs_deid": "with 'quotes' and %s / @ signs"}
        create(postgres.admin_url, after, name)
        with psycopg.connect(role_url(postgres.admin_url, "rpacs_deid", after["rpacs_deid"], name)) as connection:
            assert connection.execute("SELECT current_user, current_schema()").fetchone() == ("rpacs_deid", "deid")
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(role_url(postgres.admin_url, "rpacs_deid", before["rpacs_deid"], name))
    finally:
        create(postgres.admin_url, before, name)


def test_an_administrator_who_is_no_superuser_can_do_it(postgres, new_base):
    word, name = secrets.token_hex(6), f"aurora_{secrets.token_hex(4)}"
    before = passwords(new_base)
    with psycopg.connect(postgres.admin_url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN CREATEDB CREATEROLE PASSWORD '{word}'")
        for role in OWNED_SCHEMAS:
            connection.execute(f"GRANT {role} TO {name} WITH ADMIN OPTION")
    create(role_url(postgres.admin_url, name, word, "postgres"), before, name)
    with psycopg.connect(role_url(postgres.admin_url, "rpacs_gateway", before["rpacs_gateway"], name)) as connection:
        assert connection.execute("SELECT current_schema()").fetchone() == ("gateway",)


def test_strangers_cannot_connect(postgres, base):
    word, name = secrets.token_hex(6), f"stranger_{secrets.token_hex(4)}"
    with psycopg.connect(postgres.admin_url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{word}'")
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        psycopg.connect(role_url(postgres.admin_url, name, word, base.name))


def test_what_is_missing_or_wrong_is_named(postgres):
    with pytest.raises(SettingsError, match="No password for rpacs_gateway"):
        create(postgres.admin_url, {"rpacs_deid": "x", "rpacs_indexer": "y"})
    with pytest.raises(SettingsError, match="No such role: root"):
        create(postgres.admin_url, {**dict.fromkeys(OWNED_SCHEMAS, "x"), "root": "z"})
    with pytest.raises(DatabaseUnavailable) as caught:
        create("postgresql://admin:hidden-word@127.0.0.1:1/postgres", dict.fromkeys(OWNED_SCHEMAS, "x"))
    assert "hidden-word" not in str(caught.value)


def test_the_command_takes_passwords_from_a_file_or_the_environment(postgres, new_base, tmp_path, monkeypatch, capsys):
    before = passwords(new_base)
    name = f"command_{secrets.token_hex(4)}"
    monkeypatch.delenv("RPACS_DATABASE_ADMIN_URL", raising=False)
    assert main(["database", "create"]) == 1
    assert "RPACS_DATABASE_ADMIN_URL is not set" in capsys.readouterr().err
    monkeypatch.setenv("RPACS_DATABASE_ADMIN_URL", postgres.admin_url)
    file = tmp_path / "passwords.json"
    file.write_text(json.dumps(before))
    file.chmod(0o644)
    assert main(["database", "create", "--passwords", str(file), "--database", name]) == 1
    assert "can be read by others" in capsys.readouterr().err
    file.chmod(0o600)
    assert main(["database", "create", "--passwords", str(file), "--database", name]) == 0
    assert capsys.readouterr().out == f"The database {name} is ready.\n"
    for role, word in before.items():
        monkeypatch.setenv(f"{role.upper()}_PASSWORD", word)
    assert main(["database", "create", "--database", name]) == 0
