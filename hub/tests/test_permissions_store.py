"""Versions of the permissions: what came into force is kept, changes exclude each other, a restart changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import psycopg_pool
import pytest

from hub.tests.support import PERMISSIONS, Looped, gateway_settings, serving, until
from rpacs_hub.errors import DatabaseUnavailable, PermissionsError, PermissionsNotSaved
from rpacs_hub.permissions import PermissionsStore, Versions, difference_of

WIDER = PERMISSIONS.replace("Modality StrEquals CT", "Modality StrIn (CT, MR)")
OTHER = PERMISSIONS.replace("All images", "Every image")
BROKEN = "Profils: {}\n"


class Rig:
    """Stores over one file and one database, as several processes would have them."""

    def __init__(self, looped: Looped, url: str, path):
        self.do, self.url, self.path, self.pools = looped.do, url, path, []

    def store(self, path=None) -> PermissionsStore:
        async def make():
            pool = psycopg_pool.AsyncConnectionPool(self.url, min_size=1, open=False, kwargs={"autocommit": True})
            await pool.open()
            self.pools.append(pool)
            return PermissionsStore(path or self.path, pool)

        store = self.do(make())
        self.do(store.look())
        return store

    def versions(self, store: PermissionsStore) -> list[tuple[int, str, str, str]]:
        return [(one.number, one.who, one.why, one.text) for one in self.do(store.versions.list())]


@pytest.fixture
def rig(base, tmp_path) -> Iterator[Rig]:
    (tmp_path / "permissions.yaml").write_text(PERMISSIONS)
    with Looped() as looped:
        rig = Rig(looped, base.gateway, tmp_path / "permissions.yaml")
        yield rig
        for pool in rig.pools:
            looped.do(pool.close())


def save(rig: Rig, store: PermissionsStore, text: str, why: str = "as agreed", who: str = "ada"):
    return rig.do(store.save(text, expected=store.state.found_digest, who=who, why=why))


def refusal(call) -> str:
    with pytest.raises(PermissionsNotSaved) as caught:
        call()
    return caught.value.code


def test_every_content_that_came_into_force_is_kept(rig):
    store = rig.store()
    first = (1, "file", "the first one that was found", PERMISSIONS)
    assert rig.versions(store) == [first]
    rig.do(store.look())
    assert rig.versions(rig.store()) == [first]
    rig.path.write_text(WIDER)
    rig.do(store.look())
    rig.path.write_text(BROKEN)
    rig.do(store.look())
    assert rig.versions(store) == [(2, "file", "changed in the file itself", WIDER), first]
    assert store.state.text == WIDER
    made = save(rig, store, OTHER, why="  study 7 \n is over ")
    assert (made.number, made.who, made.why, made.digest) == (3, "ada", "study 7 is over", store.current.digest)
    assert rig.path.read_text() == OTHER
    assert store.state.error is None
    assert store.state.since == made.at
    rig.do(store.look())
    assert [one[:3] for one in rig.versions(store)] == [
        (3, "ada", "study 7 is over"),
        (2, "file", "changed in the file itself"),
        first[:3],
    ]
    # Who starts later knows since when it has been in force.
    assert rig.store().state.since == made.at


def test_what_was_saved_has_its_author_for_every_process(rig):
    """The other one looks all the time: it must not take the change for one that came from outside."""
    store, other = rig.store(), rig.store()
    rig.do(_look_while(other, store.save(WIDER, expected=store.state.found_digest, who="ada", why="more studies")))
    assert other.current.digest == store.current.digest
    assert [one[1:3] for one in rig.versions(other)] == [
        ("ada", "more studies"),
        ("file", "the first one that was found"),
    ]


async def _look_while(other: PermissionsStore, work) -> None:
    task = asyncio.ensure_future(work)
    while not task.done():
        await other.look()
    await task
    await other.look()


def test_two_do_not_overwrite_each_other(rig):
    ada, bea = rig.store(), rig.store()
    save(rig, ada, WIDER)
    assert refusal(lambda: save(rig, bea, OTHER, who="bea")) == "changed_meanwhile"
    assert rig.path.read_text() == WIDER
    assert len(rig.versions(bea)) == 2
    rig.do(bea.look())
    save(rig, bea, OTHER, who="bea")
    rig.path.write_text(PERMISSIONS)  # an editor
    assert refusal(lambda: save(rig, bea, WIDER, who="bea")) == "changed_meanwhile"
    assert rig.path.read_text() == PERMISSIONS

    async def both():
        for store in (ada, bea):
            await store.look()
        expected = ada.state.found_digest
        return await asyncio.gather(
            *(
                store.save(text, expected=expected, who=who, why="at once")
                for store, text, who in ((ada, WIDER, "ada"), (bea, OTHER, "bea"))
            ),
            return_exceptions=True,
        )

    for _ in range(5):
        rig.path.write_text(PERMISSIONS)
        found = rig.do(both())
        assert sorted(type(one).__name__ for one in found) == ["PermissionsNotSaved", "Version"]
        (won,) = [one for one in found if not isinstance(one, Exception)]
        assert rig.path.read_text() == won.text
    assert rig.versions(ada)[0][1] == won.who


def test_a_broken_text_or_a_change_without_reason_changes_nothing(rig):
    store = rig.store()
    with pytest.raises(PermissionsError, match="Did you mean 'Profiles'"):
        save(rig, store, BROKEN)
    assert refusal(lambda: save(rig, store, WIDER, why=" x ")) == "reason_missing"
    assert refusal(lambda: save(rig, store, WIDER, why="x" * 501)) == "reason_missing"
    assert refusal(lambda: save(rig, store, PERMISSIONS)) == "nothing_new"
    # A form sends other line ends.
    assert refusal(lambda: save(rig, store, PERMISSIONS.replace("\n", "\r\n"))) == "nothing_new"
    assert rig.path.read_text() == PERMISSIONS
    assert len(rig.versions(store)) == 1


def test_what_cannot_be_written_is_no_version(rig):
    store = rig.store()
    rig.path.unlink()
    rig.path.mkdir()
    with pytest.raises(Exception, match="cannot be read"):
        save(rig, store, WIDER)
    assert [one[0] for one in rig.versions(store)] == [1]
    assert store.state.text == PERMISSIONS


def test_going_back_is_a_new_version(rig):
    store = rig.store()
    save(rig, store, WIDER)
    made = rig.do(store.roll_back(1, expected=store.state.found_digest, who="ada", why="a mistake"))
    assert (made.number, made.why, made.text) == (3, "back to version 1: a mistake", PERMISSIONS)
    assert rig.path.read_text() == PERMISSIONS
    assert store.current.digest == made.digest
    for number, why, code in (
        (99, "no such", "version_unknown"),
        (0, "no such", "version_unknown"),
        (2, "", "reason_missing"),
    ):
        back = store.roll_back(number, expected=store.state.found_digest, who="ada", why=why)
        assert refusal(lambda back=back: rig.do(back)) == code
    # Back is also the way out of a broken file.
    rig.path.write_text(BROKEN)
    rig.do(store.look())
    rig.do(store.roll_back(2, expected=store.state.found_digest, who="ada", why="broken"))
    assert rig.path.read_text() == WIDER
    assert store.state.error is None


def test_after_a_restart_with_a_broken_file_the_last_good_one_is_in_force(rig, tmp_path):
    save(rig, rig.store(), WIDER)
    rig.path.write_text(BROKEN)
    store = rig.store()
    assert store.state.text == WIDER
    assert "Did you mean 'Profiles'?" in str(store.state.error)
    assert store.state.found == BROKEN.encode()
    rig.path.unlink()
    assert rig.store().state.text == WIDER
    assert len(rig.versions(store)) == 2
    # It is the last good one of this file, and of no other.
    assert rig.store(tmp_path / "another.yaml").current.digest == ""


def test_without_the_database_nothing_is_saved_and_the_file_is_still_followed(rig):
    store = rig.store()
    rig.do(rig.pools[0].close())
    rig.path.write_text(WIDER)
    rig.do(store.look())
    assert store.state.text == WIDER
    with pytest.raises((DatabaseUnavailable, psycopg_pool.PoolClosed)):
        save(rig, store, OTHER)
    assert rig.path.read_text() == WIDER


def test_what_was_in_force_while_the_database_was_away_is_kept_later(rig):
    store = rig.store()
    pool, store.versions = store.versions, Versions(psycopg_pool.AsyncConnectionPool(rig.url, open=False))
    for text in (WIDER, OTHER, WIDER):
        rig.path.write_text(text)
        rig.do(store.look())
        assert store.state.text == text
    store.versions = pool
    rig.do(store.look())
    assert [one[3] for one in rig.versions(store)] == [WIDER, OTHER, WIDER, PERMISSIONS]
    assert {one[1] for one in rig.versions(store)} == {"file"}


def test_the_difference_of_two_texts():
    assert difference_of("a\nb\n", "a\nc\n", "old", "new") == [
        "--- old",
        "+++ new",
        "@@ -1,2 +1,2 @@",
        " a",
        "-b",
        "+c",
    ]
    assert difference_of("a\n", "a\n") == []


def test_the_gateway_with_permissions_in_s3(base, s3, tmp_path, monkeypatch):
    """They are followed there, changed there from the pages, and outlive S3 as well as a restart without it."""
    for name, value in (
        ("AWS_ENDPOINT_URL_S3", s3.endpoint_url),
        ("AWS_ACCESS_KEY_ID", s3.access_key),
        ("AWS_SECRET_ACCESS_KEY", s3.secret_key),
        ("AWS_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(name, value)
    at = {"Bucket": s3.bucket, "Key": "gateway/permissions.yaml"}
    s3.client().put_object(**at, Body=PERMISSIONS.encode())
    settings = replace(
        gateway_settings(base, "http://svc:svc@127.0.0.1:9", tmp_path),
        permissions=f"s3://{at['Bucket']}/{at['Key']}",
        search_timeout=1,
    )
    with serving(settings) as served:
        store, browser = served.gateway.services.permissions, served.browser("boss")
        until(lambda: store.state.text == PERMISSIONS, "the first content")
        s3.client().put_object(**at, Body=WIDER.encode())
        until(lambda: store.state.text == WIDER, "the change in force", 30)
        until(lambda: len(served.looped.do(store.versions.list())) == 2, "both versions")
        stale = "0" * 64
        assert browser.post("profiles/save", {"text": OTHER, "expected": stale, "why": "as agreed"}).status_code == 409
        fields = {"text": OTHER, "expected": store.state.found_digest, "why": "as agreed"}
        assert browser.post("profiles/save", fields).status_code == 303
        assert s3.client().get_object(**at)["Body"].read().decode() == OTHER
        assert store.state.text == OTHER
        browser.close()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    with serving(settings) as served:
        store = served.gateway.services.permissions
        until(lambda: store.state.text == OTHER, "the last good one", 30)
        browser = served.browser("boss")
        assert "does not answer" in browser.get("files").text
        browser.close()
        assert "does not answer" in str(store.state.error)


def test_the_gateway_follows_keeps_and_says_what_is_wrong(base, tmp_path):
    path = tmp_path / "permissions.yaml"
    settings = gateway_settings(base, "http://svc:svc@127.0.0.1:9", tmp_path)

    def health(served) -> dict:
        return served.get("health").json()["permissions"]

    with serving(settings) as served:
        clara = served.tokens.add("clara", "ct-researchers")
        before = health(served)
        assert before["error"] is None
        path.write_text(WIDER)
        until(lambda: health(served)["digest"] != before["digest"], "the change in force", 30)
        assert served.get("me", clara).json()["profiles"][0]["filter"] == "Modality StrIn (CT, MR)"
        wider = health(served)["digest"]
        path.write_text(BROKEN)
        until(lambda: health(served)["error"], "the error to show", 30)
        assert health(served) == {"digest": wider, "error": "1 problem(s), the first on line 1; see `rpacs-hub check`"}
        store = served.gateway.services.permissions
        until(lambda: len(served.looped.do(store.versions.list())) == 2, "both versions")
    with serving(settings) as served:
        clara = served.tokens.add("clara", "ct-researchers")
        until(lambda: health(served)["digest"] == wider, "the last good one to be in force again", 30)
        assert health(served)["error"]
        assert served.get("me", clara).json()["profiles"][0]["filter"] == "Modality StrIn (CT, MR)"
