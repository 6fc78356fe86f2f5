"""What the stack is made of."""

import shutil
from dataclasses import astuple

import pytest

from demo.errors import StackError
from demo.settings import ROOT, Settings


def test_everything_moves_by_the_offset_and_nothing_collides(tmp_path):
    base, moved = Settings.load({}), Settings.load({"RPACS_PORT_OFFSET": "100", "RPACS_VAR": str(tmp_path / "v")})
    assert [b - a for a, b in zip(astuple(base.ports), astuple(moved.ports), strict=True)] == [100] * 14
    assert len(set(astuple(base.ports))) == 14
    assert moved.hub_url == f"http://127.0.0.1:{base.ports.hub + 100}"
    assert (base.var, moved.var) == (ROOT / "var", tmp_path / "v")


def test_second_ports_of_the_s3_server_stay_out_of_the_kernels_range():
    assert all(port + 10_000 < 32_768 for port in astuple(Settings.load({}).ports))


def test_three_logins_with_their_groups():
    settings = Settings.load({})
    assert {user.name: user.groups for user in settings.users} == {
        "admin": ("pacs-admins",),
        "clara": ("researchers", "ct-researchers"),
        "nora": ("researchers",),
    }
    assert settings.groups == ("pacs-admins", "researchers", "ct-researchers")


@pytest.mark.parametrize(
    ("offset", "words"), [("ten", "must be a whole number"), ("-20000", "between 1024"), ("30000", "between 1024")]
)
def test_an_impossible_offset_is_refused_with_the_way_out(offset, words):
    with pytest.raises(StackError, match=words) as caught:
        Settings.load({"RPACS_PORT_OFFSET": offset})
    assert "RPACS_PORT_OFFSET" in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("gateway = 10803", "gateway = 10800", "two parts the same port"),
        ("postgres = 10805", "", "postgres"),
        ("[ports]", "[ports", "cannot be used"),
    ],
)
def test_a_broken_settings_file_is_named(tmp_path, old, new, words):
    (tmp_path / "demo").mkdir()
    path = tmp_path / "demo" / "settings.toml"
    shutil.copy(ROOT / "demo" / "settings.toml", path)
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(StackError, match=words) as caught:
        Settings.load({}, root=tmp_path)
    assert str(path) in str(caught.value)
