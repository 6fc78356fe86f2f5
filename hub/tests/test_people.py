"""Users and groups: the room, at the local stand-in for Cognito and a real Hub."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.tests.real_hub import make_token, notebook_token
from hub.tests.support import Looped, until
from rpacs_hub.errors import HubUnavailable, SettingsError
from rpacs_hub.gateway import HubAuthenticator
from rpacs_hub.people import (
    HubUsers,
    NoUserPool,
    People,
    PeopleExist,
    PeopleMissing,
    PeopleRefused,
    PeopleSettings,
    PoolSettings,
    PoolUnavailable,
    UserPool,
)
from rpacs_hub.people.names import check_email, check_group_name, check_user_name, temporary_password
from rpacs_hub.system_users import account_name
from tests.fixtures.login import KEY, sign_in

# ---- names and passwords


@pytest.mark.parametrize("name", ["clara", "a", "clara.b-c_d", "clara@example.org", "0day", "x" * 64])
def test_names_that_can_be_used(name):
    assert check_user_name(name) == name
    assert re.fullmatch(r"[a-z0-9_-]{1,32}", account_name(name))


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Clara",
        "clara b",
        ".clara",
        "clara.",
        "-x",
        "x-",
        "cl/ara",
        "cl\nara",
        "clara\n",
        "é",
        "a..b",
        "x" * 65,
        "%2e",
    ],
)
def test_names_that_cannot(name):
    with pytest.raises(PeopleRefused, match="user name"):
        check_user_name(name)


@given(st.text(max_size=80))
def test_a_name_that_passes_stands_in_an_address_as_it_is(name):
    try:
        check_user_name(name)
    except PeopleRefused:
        return
    assert re.fullmatch(r"[a-z0-9._@-]+", name)


@pytest.mark.parametrize("name", ["", "a b", "grüppe", "-x", "x" * 64, "a/b", "a\n"])
def test_group_names_that_cannot_be_used(name):
    with pytest.raises(PeopleRefused):
        check_group_name(name)
    assert check_group_name("CT-researchers_2.a") == "CT-researchers_2.a"


@pytest.mark.parametrize("address", ["clara", "clara@", "@x.org", "clara@x", 'a"b@x.org', "a b@x.org", "a@x.org\n"])
def test_mail_addresses_that_are_none(address):
    with pytest.raises(PeopleRefused):
        check_email(address)
    assert check_email("clara.b@example.org") == "clara.b@example.org"
    assert check_email("") == ""


def test_temporary_passwords_fit_every_policy_and_never_repeat():
    drawn = {temporary_password() for _ in range(200)}
    assert len(drawn) == 200
    for one in drawn:
        assert len(one) == 16
        assert all(re.search(kind, one) for kind in ("[a-z]", "[A-Z]", "[0-9]", "[-+=_]"))
        assert not set(one) & set("0O1lI ")


# ---- settings


def test_settings():
    assert PeopleSettings.from_environment({}) == PeopleSettings()
    env = {"RPACS_COGNITO_POOL": "eu-central-1_AbC", "RPACS_ACCOUNTS_AT": " the hospital's directory "}
    found = PeopleSettings.from_environment(env)
    assert found.pool == PoolSettings("eu-central-1_AbC", "eu-central-1")
    assert found.accounts_at == "the hospital's directory"
    keys = {"RPACS_COGNITO_ACCESS_KEY": "AKIA", "RPACS_COGNITO_SECRET_KEY": "hidden-secret"}
    assert "hidden-secret" not in repr(PeopleSettings.from_environment({**env, **keys}))


@pytest.mark.parametrize(
    "env",
    [
        {"RPACS_COGNITO_POOL": "nonsense"},
        {"RPACS_COGNITO_POOL": "a_b", "RPACS_COGNITO_REGION": "x y"},
        {"RPACS_COGNITO_POOL": "eu-central-1_A", "RPACS_COGNITO_ENDPOINT": "localhost"},
        {"RPACS_COGNITO_POOL": "eu-central-1_A", "RPACS_COGNITO_ACCESS_KEY": "AKIA"},
    ],
)
def test_settings_that_cannot_be_used(env):
    with pytest.raises(SettingsError, match="RPACS_COGNITO"):
        PeopleSettings.from_environment(env)


# ---- the pool


@pytest.fixture(scope="module")
def pool(login) -> Iterator[UserPool]:
    pool = UserPool(PoolSettings(login.known.pool_id, "local", login.settings.login_url, KEY, "unused"))
    yield pool
    pool.close()


@pytest.fixture
def name() -> str:
    """A user name that nobody has."""
    return f"u{secrets.token_hex(4)}"


def test_a_user_is_created_found_disabled_and_deleted(login, pool, name):
    password = pool.create(name, f"{name}@example.org")
    account = pool.user(name)
    assert (account.name, account.email, account.enabled, account.temporary_password, account.groups) == (
        (name, f"{name}@example.org", True, True, ())
    )
    assert "Choose a new one" in sign_in(login, name, password).answer.text
    pool.add(name, "researchers")
    pool.add(name, "researchers")
    assert pool.groups_of(name) == ("researchers",)
    assert [one.name for one in pool.users(name)[0]] == [name]
    assert [one.name for one in pool.users(f"{name}@")[0]] == [name]
    assert pool.users('no"body" or username ^= "a')[0] == []
    assert {one.name for one in pool.users()[0]} >= {"admin", "clara", "nora", name}
    pool.disable(name)
    assert not pool.user(name).enabled
    pool.enable(name)
    assert pool.user(name).enabled
    pool.remove(name, "researchers")
    pool.remove(name, "researchers")
    assert pool.user(name).groups == ()
    pool.delete(name)
    with pytest.raises(PeopleMissing, match=name):
        pool.user(name)


def test_a_user_twice_an_unknown_user_an_unknown_group(pool, name):
    with pytest.raises(PeopleExist):
        pool.create("clara")
    for what in (pool.user, pool.disable, pool.enable, pool.delete, pool.reset_password, pool.sign_out):
        with pytest.raises(PeopleMissing):
            what(name)
    with pytest.raises(PeopleMissing):
        pool.members("no-such-group")
    with pytest.raises(PeopleMissing):
        pool.add("clara", "no-such-group")
    assert pool.groups_of_each(["clara", name]) == {"clara": ("ct-researchers", "researchers"), name: ()}


def test_groups_are_created_listed_and_deleted(pool, name):
    pool.create_group(name, "For a test")
    with pytest.raises(PeopleExist):
        pool.create_group(name)
    assert [(group.name, group.description) for group in pool.groups() if group.name == name] == [(name, "For a test")]
    pool.add("clara", name)
    assert [one.name for one in pool.members(name)] == ["clara"]
    pool.delete_group(name)
    assert name not in pool.groups_of("clara")
    with pytest.raises(PeopleMissing):
        pool.delete_group(name)


def test_a_pool_that_refuses_or_is_away_is_told_without_its_words(login):
    refused = UserPool(PoolSettings(login.known.pool_id, "local", login.settings.login_url, "guessed", "unused"))
    with pytest.raises(PoolUnavailable, match="does not let the gateway do this"):
        refused.users()
    refused.close()
    away = UserPool(PoolSettings("local_x", "local", "http://127.0.0.1:9", KEY, "unused"))
    with pytest.raises(PoolUnavailable, match="cannot be asked"):
        away.groups()
    away.close()


# ---- both sides


@pytest.fixture
def hub_users(real_hub) -> Iterator[HubUsers]:
    with HubUsers(f"{real_hub.url}hub/api", make_token(real_hub, "boss")[0]) as users:
        yield users


@pytest.fixture
def people(pool, hub_users) -> People:
    return People(pool, hub_users, "pacs-admins", "boss")


@pytest.fixture
def somebody(people, real_hub, name) -> str:
    """Somebody who is in the pool and in the Hub, and whose server runs."""
    people.create(name, groups=["researchers"])
    real_hub.api("POST", f"users/{name}")
    notebook_token(real_hub, name)
    until(lambda: people.person(name).hub.running, "her server")
    return name


def test_disabling_somebody_ends_all_that_she_has(people, real_hub, login, somebody):
    token, _ = make_token(real_hub, somebody)
    assert real_hub.pacs("me", token).status_code == 200
    outcome = people.disable(somebody)
    assert outcome.failed == []
    assert "can no longer sign in" in outcome.text
    person = people.person(somebody)
    assert (person.account.enabled, person.hub) == (False, None)
    own = {"Authorization": f"token {token}"}
    assert httpx.get(f"{real_hub.url}hub/api/user", headers=own).status_code == 403
    # The same once more does no harm, and she can come back.
    assert people.disable(somebody).failed == []
    assert people.enable(somebody).failed == []
    assert people.person(somebody).account.enabled
    assert people.delete(somebody).failed == []
    with pytest.raises(PeopleMissing):
        people.person(somebody)


def test_a_server_is_stopped(people, real_hub, somebody):
    assert people.stop_server(somebody).done == [f"The server of {somebody} was stopped."]
    assert not people.person(somebody).hub.running
    assert people.stop_server(somebody).done == [f"No server of {somebody} is running."]
    people.delete(somebody)


def test_the_list_joins_both_sides(people, real_hub, hub_users, name):
    people.create(name)
    known = {person.name: person for person in people.some()[0]}
    assert known[name].hub is None
    assert known["clara"].hub.name == "clara"
    assert known["clara"].groups == ("ct-researchers", "researchers")
    assert [person.name for person in people.some(name)[0]] == [name]
    people.pool.delete(name)


def test_when_the_hub_is_away_the_pools_side_is_done_and_told(pool, name):
    with HubUsers("http://127.0.0.1:9/hub/api", "token") as away:
        people = People(pool, away, "pacs-admins", "boss")
        pool.create(name)
        outcome = people.disable(name)
        assert not pool.user(name).enabled
        assert outcome.done == [f"{name} can no longer sign in."]
        (failed,) = outcome.failed
        assert failed.startswith("What she has open at the Hub could not be ended: JupyterHub does not answer")
        assert "Do the same again" in outcome.text
        with pytest.raises(HubUnavailable):
            people.stop_server(name)
    assert "The Hub was not asked" in People(pool, None, "pacs-admins").delete(name).text


def test_a_group_that_is_not_there_does_not_undo_the_user(people, name):
    outcome = people.create(name, groups=["researchers", "no-such-group"])
    assert outcome.done == [f"{name} was created.", "She is in researchers."]
    assert "could not be put into no-such-group" in outcome.failed[0]
    assert outcome.password not in outcome.text + repr(outcome)
    people.delete(name)


def test_an_administrator_cannot_lock_herself_out(pool, hub_users):
    people = People(pool, hub_users, "pacs-admins", "admin")
    for what in (people.disable, people.delete, people.reset_password):
        with pytest.raises(PeopleRefused, match="yourself"):
            what("admin")
    with pytest.raises(PeopleRefused, match="yourself"):
        people.remove("admin", "pacs-admins")
    assert pool.user("admin").enabled


def test_the_last_administrator_stays(people, pool, name):
    for what in (people.disable, people.delete, lambda one: people.remove(one, "pacs-admins")):
        with pytest.raises(PeopleRefused, match="last administrator"):
            what("admin")
    people.create(name, groups=["pacs-admins"])
    pool.disable(name)
    with pytest.raises(PeopleRefused, match="last administrator"):
        people.disable("admin")  # the other one cannot sign in
    pool.enable(name)
    assert people.remove("admin", "pacs-admins").failed == []
    with pytest.raises(PeopleRefused, match="last administrator"):
        people.delete(name)
    people.add("admin", "pacs-admins")
    people.delete(name)
    with pytest.raises(PeopleRefused, match="administrators' group"):
        people.delete_group("pacs-admins")


def test_a_new_temporary_password_ends_the_sessions_of_the_old_one(people, login, pool):
    tokens = sign_in(login, "nora", "pw-nora").tokens()
    outcome = people.reset_password("nora")
    assert login.renew(tokens).status_code == 400
    assert "do not go together" in sign_in(login, "nora", "pw-nora").answer.text
    assert "Choose a new one" in sign_in(login, "nora", outcome.password).answer.text
    assert pool.user("nora").temporary_password


def test_without_a_pool_there_are_the_hubs_people_and_nothing_can_be_made(hub_users, real_hub, name):
    people = People(None, hub_users, "pacs-admins", "boss")
    assert {"ada", "boss", "clara"} <= {person.name for person in people.some()[0]}
    assert [person.name for person in people.some("cla")[0]] == ["clara"]
    assert "clara" in [person.name for person in people.members("ct-researchers")]
    with pytest.raises(PeopleMissing):
        people.group("no-such-group")
    for what in (people.create, people.disable, people.enable, people.create_group, people.reset_password):
        with pytest.raises(NoUserPool):
            what(name)
    real_hub.api("POST", f"users/{name}")
    assert people.delete(name).failed == []
    assert real_hub.api("GET", f"users/{name}").status_code == 404


def test_a_token_that_is_no_administrators_does_nothing(real_hub):
    with HubUsers(f"{real_hub.url}hub/api", make_token(real_hub, "nemo")[0]) as users:
        with pytest.raises(HubUnavailable, match="an administrator's"):
            users.users()
        assert users.user("clara") is None
        assert users.stop_server("clara") is False
        assert users.remove("clara") is False
    assert real_hub.api("GET", "users/clara").status_code == 200


# ---- what the gateway remembers


def test_a_group_that_was_taken_away_counts_no_more_whatever_the_hub_still_says(real_hub):
    with Looped() as looped:
        authenticator = HubAuthenticator(f"{real_hub.url}hub/api", "pacs", "pacs-admins")

        def groups(name: str, token: str) -> set[str]:
            return set(looped.do(authenticator.actor(token)).groups)

        clara, boss = (make_token(real_hub, name)[0] for name in ("clara", "boss"))
        assert groups("clara", clara) == {"ct-researchers"}
        assert looped.do(authenticator.actor(boss)).admin
        authenticator.withdraw("clara", "ct-researchers")
        authenticator.withdraw("boss", "pacs-admins")
        assert groups("clara", clara) == set()
        assert not looped.do(authenticator.actor(boss)).admin
        authenticator.restore("clara", "ct-researchers")
        assert groups("clara", clara) == {"ct-researchers"}
        # Once the Hub no longer names it, the Hub is believed again.
        authenticator.withdraw("clara", "ct-researchers")
        real_hub.api("DELETE", "groups/ct-researchers/users", json={"users": ["clara"]})
        assert groups("clara", clara) == set()
        real_hub.api("POST", "groups/ct-researchers/users", json={"users": ["clara"]})
        authenticator.forget("clara")
        assert groups("clara", clara) == {"ct-researchers"}
        looped.do(authenticator.close())
