"""``rpacs-hub profiles``: everything that can be done to the permissions, at a terminal."""

from __future__ import annotations

import io
import json
import sys
from typing import Any

import psycopg
import pytest

from hub.tests.support import PERMISSIONS, gateway_settings, serving, until
from rpacs_hub.cli import main

WIDER = PERMISSIONS.replace("Modality StrEquals CT", "Modality StrIn (CT, MR)")


@pytest.fixture
def terminal(archive, base, tmp_path, monkeypatch, capsys):
    """Run a command over the archive's index; versions and file are the test's own."""
    path = tmp_path / "permissions.yaml"
    path.write_text(PERMISSIONS)
    monkeypatch.setenv("RPACS_DATABASE_URL", archive.base.gateway)
    monkeypatch.setenv("RPACS_PERMISSIONS", str(path))
    monkeypatch.delenv("SUDO_USER", raising=False)

    def run(*arguments: Any, code: int = 0) -> str:
        assert main(["profiles", *map(str, arguments)]) == code
        found = capsys.readouterr()
        run.errors = found.err
        return found.out

    run.path = path
    return run


def test_what_is_in_force(terminal):
    assert terminal("list") == (
        'CT only: 2 studies; shows images where Modality is "CT"\n'
        "  about: Computed tomography\n"
        "  held by: group ct-researchers\n"
        "Everything: 3 studies; shows every image\n"
        "  about: All images\n"
        "  held by: user ada\n"
    )
    found = json.loads(terminal("list", "--json"))
    assert [(one["name"], one["studies"], one["users"], one["groups"]) for one in found] == [
        ("CT only", 2, [], ["ct-researchers"]),
        ("Everything", 3, ["ada"], []),
    ]
    assert terminal("show") == PERMISSIONS


def test_a_change_is_previewed_applied_and_taken_back(archive, terminal, tmp_path, monkeypatch):
    new = tmp_path / "new.yaml"
    new.write_text(WIDER)
    effect = (
        'The profile \'CT only\' shows images where Modality is one of "CT", "MR"; '
        'until now it showed images where Modality is "CT".\n'
        "- +1 study, +3 images for clara: sees 2 studies now, 3 then\n"
        "- +1 study, +3 images for group ct-researchers: sees 2 studies now, 3 then\n"
        "For 1 people and groups nothing changes.\n"
    )
    people = ("--person", "clara:ct-researchers")
    assert terminal("preview", new, *people) == effect
    assert terminal.path.read_text() == PERMISSIONS
    every = ("versions", "--limit", 10_000)  # other tests share the database
    before = len(terminal(*every).splitlines())
    # Nobody is there to ask.
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert terminal("apply", new, *people, "--why", "study 7", code=1) == effect
    assert "say --yes" in terminal.errors
    assert terminal.path.read_text() == PERMISSIONS
    out = terminal("apply", new, *people, "--why", "study 7", "--yes")
    assert out.startswith(effect)
    with psycopg.connect(archive.base.gateway) as connection:
        (line,) = connection.execute("SELECT line FROM audit.event ORDER BY seq DESC LIMIT 1").fetchone()
    line = json.loads(line)
    assert (line["action"], line["decision"], line["reason"]) == ("change_permissions", "allowed", "study 7")
    assert (line["identifiers"], line["user"].endswith("(terminal)")) == ([str(terminal.path)], True)
    assert terminal.path.read_text() == WIDER
    newest = terminal(*every).splitlines()
    assert len(newest) == before + 1
    number = int(newest[0].split()[0])
    assert newest[0].endswith("(terminal): study 7")
    assert out.endswith(f"Version {number} is saved; the gateway puts it in force within ten seconds.\n")
    assert terminal("show", number) == WIDER
    new.write_text(PERMISSIONS)
    terminal("apply", new, "--why", "back", "--yes")
    diff = terminal("diff", number, code=1).splitlines()
    assert [line for line in diff if line[0] in "+-"] == [
        f"--- version {number}",
        "+++ in force",
        "-    DICOMQueryFilter: Modality StrIn (CT, MR)",
        "+    DICOMQueryFilter: Modality StrEquals CT",
    ]
    assert terminal("diff", number, number) == ""
    assert "−1 study" not in terminal("rollback", number, "--why", "again", "--yes")  # noqa: RUF001
    assert terminal.path.read_text() == WIDER
    newest = json.loads(terminal("versions", "--json", "--limit", "1"))
    assert (newest["version"], newest["why"]) == (number + 2, f"back to version {number}: again")


def test_what_goes_wrong_changes_nothing(terminal, tmp_path, capsys):
    new = tmp_path / "new.yaml"
    new.write_text("Profils: {}")
    terminal("apply", new, "--why", "typo", "--yes", code=1)
    assert "Did you mean 'Profiles'?" in terminal.errors
    new.write_text(WIDER)
    terminal("apply", new, "--why", " ", "--yes", code=1)
    assert "needs a reason" in terminal.errors
    terminal("apply", new, "--why", "study 7", "--yes", "--expect", "0" * 64, code=1)
    assert "does not have that digest" in terminal.errors
    for words in (("rollback", 10_000, "--why", "x y z", "--yes"), ("diff", 10_000), ("show", 10_000)):
        terminal(*words, code=1)
        assert "There is no version 10000." in terminal.errors
    terminal("apply", tmp_path / "none.yaml", "--why", "study 7", "--yes", code=1)
    assert "cannot be read: No such file" in terminal.errors
    assert terminal.path.read_text() == PERMISSIONS
    terminal.path.write_text("Profils: {}")
    terminal("list")
    assert f"{terminal.path} is not in force. 1 problem in the permissions file:" in terminal.errors


def test_a_running_gateway_takes_it_over(base, tmp_path, monkeypatch, capsys):
    settings = gateway_settings(base, "http://svc:svc@127.0.0.1:9", tmp_path)
    monkeypatch.setenv("RPACS_DATABASE_URL", base.gateway)
    monkeypatch.setenv("RPACS_PERMISSIONS", str(settings.permissions))
    (tmp_path / "new.yaml").write_text(WIDER.replace("[ada]", "[bea]"))
    with serving(settings) as served:
        bea, store = served.tokens.add("bea"), served.gateway.services.permissions
        until(lambda: served.looped.do(store.versions.list()), "the first version")
        assert served.get("me", bea).json()["profiles"] == []
        # There is no index yet, so nothing can be counted. Whoever withdraws a permission cannot wait for one.
        assert main(["profiles", "apply", str(tmp_path / "new.yaml"), "--why", "bea joined", "--yes"]) == 0
        assert "- not counted for bea: There is no index yet." in capsys.readouterr().out
        until(lambda: served.get("me", bea).json()["profiles"], "the change in force", 30)
        newest, first = served.looped.do(store.versions.list())
        assert (newest.why, first.who, store.state.since) == ("bea joined", "file", newest.at)
