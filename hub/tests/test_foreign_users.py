"""Every operation of openapi.yaml, asked through a real Hub by those to whom the thing in question does not belong.

The operations come from the file: one that is not in `EXPECTED` fails, so a new address cannot go untested. Each is
asked about something that really exists and about something made up; to whoever may not see it, both must look alike to
the byte, and nothing of the owner's may stand in body or headers. Pages for people with a
browser are asked in `test_admin_sign_in` and `test_explorer`.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import string
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from importlib.resources import files
from typing import Any

import httpx
import pytest
import yaml
from pydicom.dataset import Dataset

from hub.tests.real_hub import EXPORTS_TO, Hub, make_token, notebook_token
from hub.tests.support import until

SPEC = yaml.safe_load((files("rpacs_hub.gateway") / "openapi.yaml").read_text())
OPERATIONS = {
    operation["operationId"]: (method.upper(), path, len(item.get("servers", ())) == 2)
    for path, item in SPEC["paths"].items()
    for method, operation in item.items()
    if method not in ("parameters", "servers") and "tags" not in operation
}
KEYS = {"access_key": "AKIAEXAMPLEKEY", "secret_key": "notasecret"}
BUCKET = "bucket-of-mara"


@dataclass
class Things:
    """Values that an operation is asked about, by the names that parameters have in the file."""

    uid: str
    study: str
    series: str
    orthanc: str
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    n: str = "1"
    frames: str = "1"
    element: str = "7FE00010"
    path: str = ""

    @property
    def instance(self) -> str:
        return self.uid

    @property
    def query(self) -> str:
        return f"SOPInstanceUID StrEquals {self.uid}"

    def made_up(self) -> Things:
        """Return values of the same form that nothing has."""
        return Things(
            *(_other(value) for value in (self.uid, self.study, self.series, self.orthanc)),
            id=str(uuid.uuid4()),
            path=self.path.replace(self.orthanc, _other(self.orthanc)),
        )

    def pairs(self, other: Things) -> list[tuple[str, str]]:
        """Return each of these values with the other's."""
        names = ("uid", "study", "series", "orthanc", "id")
        return [(getattr(self, name), getattr(other, name)) for name in names]


def _other(value: str) -> str:
    """Return a value of the same length: other digits at the end, be they decimal or hexadecimal."""
    return value[:-6] + value[-6:].translate(str.maketrans(string.digits + "abcdef", "1234567890bcdefa"))


@dataclass(frozen=True)
class Expected:
    """What an operation says to the owner of the thing, and to everybody else who is somebody."""

    owner: int
    others: int
    query: Callable[[Things], dict[str, str]] = lambda _: {}
    body: Callable[[Things], Any] = lambda _: None
    who: str = "mara"
    path: Callable[[Things], str] = lambda _: ""


def _about(things: Things) -> dict[str, str]:
    return {"query": things.query, "level": "instance"}


def _qido(things: Things) -> dict[str, str]:
    return {"SOPInstanceUID": things.uid}


def _export(things: Things) -> dict[str, Any]:
    uids = [{"level": "series", "uid": things.series}]
    return {"uids": uids, "destination": f"s3://{BUCKET}/p", "credentials": KEYS, "endpoint_url": EXPORTS_TO}


def _orthanc(path: str, *, owner: int = 200, body: Any = None) -> Expected:
    return Expected(owner, 404, who="olga", path=lambda things: path.format(id=things.orthanc), body=lambda _: body)


HIDDEN = Expected(200, 404)
OWN = Expected(200, 200)  # a list: what is in it is each one's own
FOUND = Expected(200, 204, query=_qido)
REFUSED = Expected(405, 405)
NOT_OFFERED = Expected(501, 501)

EXPECTED: dict[str, Expected] = {
    "health": OWN,
    "me": OWN,
    "searchByAddress": replace(OWN, query=_about),
    "search": replace(OWN, body=_about),
    "countByAddress": replace(OWN, query=_about),
    "count": replace(OWN, body=_about),
    "facets": replace(OWN, query=lambda _: {"tag": "SOPInstanceUID", "level": "instance"}),
    "explainQuery": replace(OWN, query=lambda things: {"query": f"StudyDate Exists AND {things.query[:40]}"}),
    "complete": replace(OWN, query=lambda _: {"text": "StudyDate StrEquals ", "level": "instance"}),
    "explain": replace(HIDDEN, query=lambda things: {"uid": things.uid}),
    "tags": HIDDEN,
    "file": HIDDEN,
    "frame": HIDDEN,
    "exports": OWN,
    "submitExport": Expected(202, 404, body=_export),
    "export": HIDDEN,
    "cancelExport": HIDDEN,
    "resumeExport": Expected(202, 404, body=lambda _: {"credentials": KEYS}),
    "viewerAddresses": OWN,
    "makeViewerAddress": Expected(201, 404, body=lambda things: {"studies": [things.study], "minutes": 1}),
    "revokeViewerAddress": HIDDEN,
    "qidoStudies": FOUND,
    "qidoSeries": FOUND,
    "qidoInstances": FOUND,
    "qidoSeriesOfStudy": HIDDEN,
    "qidoInstancesOfStudy": HIDDEN,
    "qidoInstancesOfSeries": HIDDEN,
    "stow": REFUSED,
    "stowStudy": REFUSED,
    "wadoStudy": HIDDEN,
    "wadoSeries": HIDDEN,
    "wadoInstance": HIDDEN,
    "wadoStudyMetadata": HIDDEN,
    "wadoSeriesMetadata": HIDDEN,
    "wadoInstanceMetadata": HIDDEN,
    "wadoFrames": HIDDEN,
    "wadoBulkData": HIDDEN,
    "wadoRendered": HIDDEN,
    "wadoFrameRendered": HIDDEN,
    "wadoStudyThumbnail": HIDDEN,
    "wadoSeriesThumbnail": HIDDEN,
    "wadoThumbnail": HIDDEN,
    "wadoFrameThumbnail": HIDDEN,
    "upsSearch": NOT_OFFERED,
    "upsCreate": NOT_OFFERED,
    "orthancGet": _orthanc("instances/{id}/tags"),
    "orthancPost": _orthanc("tools/find", body={"Level": "Instance", "Query": {"Modality": "MR"}}),
    "orthancPut": _orthanc("tools/log-level", body="default"),
    "orthancDelete": _orthanc("instances/{id}", owner=404),  # her profile denies it
}

ENDED_MEANWHILE = {"cancelExport", "resumeExport"}
"""What the owner is told depends on how far her export has come: 409, once it cannot be done any more."""


def test_every_operation_of_the_file_is_expected_here():
    assert set(EXPECTED) == set(OPERATIONS)


@dataclass
class World:
    """A hub, the headers of everybody, and what belongs to mara."""

    hub: Hub
    client: httpx.Client
    people: dict[str, dict[str, str]] = field(repr=False)
    nobody: dict[str, dict[str, str]] = field(repr=False)
    mr: list[Dataset] = field(repr=False)
    traces: set[str] = field(repr=False)
    address: str = field(default="", repr=False)

    def things(self, operation: str) -> Things:
        """Return mara's things, with an export or an address made for this operation."""
        mr = self.mr[0]
        things = Things(str(mr.SOPInstanceUID), str(mr.StudyInstanceUID), str(mr.SeriesInstanceUID), orthanc_id(mr))
        made = {"exports/{id}": ("exports", _export(things)), "viewer-address/{id}": ("viewer-address", {})}
        for part, (where, body) in made.items():
            if part in OPERATIONS[operation][1]:
                answer = self.client.post(where, headers=self.people["mara"], json=body)
                assert answer.is_success, answer.text
                things.id = answer.json()["id"]
        things.path = EXPECTED[operation].path(things)
        return things

    def ask(self, operation: str, things: Things, headers: dict[str, str], below: str = "") -> httpx.Response:
        method, path, _ = OPERATIONS[operation]
        expected = EXPECTED[operation]
        address = re.sub(r"\{(\w+)\}", lambda name: getattr(things, name[1]), path.lstrip("/"))
        body = expected.body(things)
        sent = {"content": body} if isinstance(body, str) else {"json": body}
        return self.client.request(method, below + address, headers=headers, params=expected.query(things), **sent)

    def line(self, request_id: str) -> dict[str, Any]:
        """Return the last audit line of a request."""
        found = [line for line in self.hub.audit.read_text().splitlines() if request_id in line]
        assert found, "a request without its line"
        return dict(json.loads(found[-1]))


def orthanc_id(dataset: Dataset) -> str:
    """Return the number that Orthanc gives an instance: a SHA-1 of four identifiers."""
    parts = (dataset.PatientID, dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID)
    digest = hashlib.sha1("|".join(map(str, parts)).encode()).hexdigest()
    return "-".join(digest[at : at + 8] for at in range(0, 40, 8))


@pytest.fixture(scope="module")
def world(real_hub, archive) -> Iterator[World]:
    people = {}
    for name in ("mara", "clara", "nemo", "olga"):
        people[name] = {"Authorization": f"token {make_token(real_hub, name)[0]}"}
    people["boss"] = {"Authorization": f"token {notebook_token(real_hub, 'boss')}"}
    expired, _ = make_token(real_hub, "mara", expires_in=1)
    until(lambda: _hub_knows(real_hub, expired) is False, "the token expired", 30)
    forged = secrets.token_urlsafe(32)
    nobody = {
        "expired": {"Authorization": f"token {expired}"},
        "forged": {"Authorization": f"Bearer {forged}"},
        "missing": {},
        "a token as a cookie": {"Cookie": f"jupyterhub-services={people['mara']['Authorization'].split()[1]}"},
        "somebody's word": {"X-Forwarded-User": "mara", "Remote-User": "mara"},
    }
    with httpx.Client(base_url=real_hub.base, timeout=60, trust_env=False) as client:
        world = World(real_hub, client, people, nobody, archive.mr, traces_of(archive.mr))
        submitted = client.post("exports", headers=people["mara"], json=_export(world.things("file")))
        made = client.post("viewer-address", headers=people["mara"], json={}).json()
        world.address = made["url"].split("/")[-2]
        world.traces |= {submitted.json()["id"], made["id"], world.address, BUCKET}
        yield world


def _hub_knows(hub: Hub, token: str) -> bool:
    answer = httpx.get(f"{hub.url}hub/api/user", headers={"Authorization": f"token {token}"})
    return answer.status_code == 200


def traces_of(images: list[Dataset]) -> set[str]:
    """Return everything by which these images, but not the CT beside them, can be told."""
    found = {"P2^Pseudo", '"P2"', "20260201", "Same study as the CT"}
    for image in images:
        found |= {str(image.SOPInstanceUID), str(image.SeriesInstanceUID), orthanc_id(image)}
    return found | {str(images[0].StudyInstanceUID)}


def told(answer: httpx.Response) -> str:
    """Return all that an answer says, but for what differs with every request."""
    headers = [
        f"{name}: {value}" for name, value in answer.headers.items() if name not in ("date", "x-request-id", "age")
    ]
    return "\n".join([str(answer.status_code), *sorted(headers), answer.content.decode("latin-1")])


def stands_in(trace: str, text: str) -> bool:
    """Tell whether a text holds a trace; a date may by chance be a part of another image's UID, which is none."""
    if not trace.isdecimal():
        return trace in text
    return re.search(rf"(?<![0-9.]){trace}(?![0-9])", text) is not None


def assert_tells_nothing(
    world: World, answer: httpx.Response, fake: httpx.Response, same: list[tuple[str, str]]
) -> None:
    """Check that an answer tells nothing of mara's, and nothing but what it says of what does not exist."""
    asked = str(answer.request.url) + answer.request.read().decode()
    for trace in world.traces:
        if trace not in asked:  # who names an identifier knows it already
            assert not stands_in(trace, told(answer)), trace
    with_fakes = told(answer)
    for real, made_up in same:
        with_fakes = with_fakes.replace(real, made_up)
    assert with_fakes == told(fake)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_what_is_anothers_looks_like_what_does_not_exist(world: World, operation: str):
    expected = EXPECTED[operation]
    things = world.things(operation)
    made_up = things.made_up()
    for name in ("clara", "nemo", "boss"):
        answer, fake = (world.ask(operation, which, world.people[name]) for which in (things, made_up))
        assert answer.status_code == expected.others, f"{name}: {answer.text}"
        if OPERATIONS[operation][1] != "/health":
            assert_tells_nothing(world, answer, fake, things.pairs(made_up))
            line = world.line(answer.headers["x-request-id"])
            assert (line["user"], line["status"]) == (name, answer.status_code)
            assert answer.is_success or line["decision"] != "allowed"
    # The owner comes last: some of these end what they are about.
    answer = world.ask(operation, things, world.people[expected.who])
    assert answer.status_code in ({expected.owner, 409} if operation in ENDED_MEANWHILE else {expected.owner})
    if operation in ("search", "searchByAddress", "facets"):
        assert things.uid in answer.text  # so what the others were asked about is there


@pytest.mark.parametrize("operation", [name for name in OPERATIONS if name != "health"])
def test_nobody_gets_anything(world: World, operation: str):
    things = world.things(operation)
    made_up = things.made_up()
    for headers in world.nobody.values():
        answer = world.ask(operation, things, headers)
        assert answer.status_code == 401
        assert set(answer.json()) == {"error", "message", "hint"}
        assert not answer.has_redirect_location
        assert "set-cookie" not in answer.headers
        assert_tells_nothing(world, answer, world.ask(operation, made_up, headers), things.pairs(made_up))


@pytest.mark.parametrize("operation", [name for name, (_, _, by_address) in OPERATIONS.items() if by_address])
def test_a_personal_address_shows_what_its_owner_may_see(world: World, operation: str):
    expected = EXPECTED[operation]
    things = world.things(operation)
    made_up = things.made_up()
    clara = world.client.post("viewer-address", headers=world.people["clara"], json={"minutes": 1}).json()
    try:
        below = f"view/{clara['url'].split('/')[-2]}/"
        answer, fake = (world.ask(operation, which, {}, below) for which in (things, made_up))
        assert answer.status_code == expected.others
        assert_tells_nothing(world, answer, fake, things.pairs(made_up))
    finally:
        world.client.delete(f"viewer-address/{clara['id']}", headers=world.people["clara"])
    for ended in (below, f"view/{secrets.token_urlsafe(32)}/"):
        answer, fake = (world.ask(operation, which, world.people["mara"], ended) for which in (things, made_up))
        assert (answer.status_code, answer.json()["error"]) == (404, "address_invalid")
        assert_tells_nothing(world, answer, fake, things.pairs(made_up))
    assert world.ask(operation, things, {}, f"view/{world.address}/").status_code == expected.owner
