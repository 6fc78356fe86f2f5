"""Requests that nobody thought of, made from openapi.yaml, as two users whose images differ.

No fault, no answer but those that the file describes, nothing of the other's. Much of what is asked about is her own
and much the other's, so that the handlers are reached, and not their checks of the form only.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import hypothesis.strategies as st
import pytest
import requests
import schemathesis
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from hub.tests.real_hub import EXPORTS_TO, Hub, make_token, signed_in
from hub.tests.test_foreign_users import KEYS, orthanc_id

SPEC = yaml.safe_load((files("rpacs_hub.gateway") / "openapi.yaml").read_text())
OPERATIONS = {
    operation.definition.raw["operationId"]: operation
    for operation in (found.ok() for found in schemathesis.openapi.from_dict(SPEC).get_all_operations())
    if operation.definition.raw.get("tags") != ["admin"]  # whose forms only say that they are out of date
}
EXPLORER = {name for name, operation in OPERATIONS.items() if "tags" in operation.definition.raw}
# Not the name of a bucket in other tests of the same Hub: those look for theirs in whatever they are told.
_KEPT = "kept-by"
NOT_OFFERED = {"upsSearch", "upsCreate"}
CHECKS = [
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
]


@dataclass
class Asker:
    """Somebody who asks, and what she must not be told."""

    headers: dict[str, str] = field(repr=False)
    foreign: set[str] = field(repr=False)


@dataclass
class Table:
    """Whom and about what to ask."""

    base: str
    askers: list[Asker]
    images: list[dict[str, str]] = field(repr=False)
    ids: list[str]
    session: requests.Session = field(repr=False)
    explorer: Explorer = field(repr=False)


@dataclass
class Explorer:
    """Orthanc Explorer, for people with a browser: clara, for whom it does not open, and petra."""

    base: str
    askers: list[Asker]
    secret: str


@pytest.fixture(scope="module")
def table(real_hub, archive) -> Iterator[Table]:
    with requests.Session() as session:
        session.trust_env = False
        askers, ids = [], []
        for name, foreign in (("clara", archive.mr), ("mara", archive.ct)):
            headers = {"Authorization": f"token {make_token(real_hub, name)[0]}"}
            traces = {value for image in foreign for value in (str(image.SOPInstanceUID), str(image.SeriesInstanceUID))}
            askers.append(Asker(headers, traces | {orthanc_id(image) for image in foreign}))
            export = _export({"uid": str((archive.ct if name == "clara" else archive.mr)[0].SOPInstanceUID)}, name)
            made = [
                session.post(real_hub.base + "exports", headers=headers, json=export).json(),
                session.post(real_hub.base + "viewer-address", headers=headers, json={}).json(),
            ]
            ids += [each["id"] for each in made]
            for other in askers:
                if other.headers != headers:
                    other.foreign |= {
                        made[0]["id"],
                        made[1]["id"],
                        made[1]["url"].split("/")[-2],
                        f"{_KEPT}-{name}",
                    }
        images = [
            {
                "uid": str(image.SOPInstanceUID),
                "instance": str(image.SOPInstanceUID),
                "series": str(image.SeriesInstanceUID),
                "study": str(image.StudyInstanceUID),
                "orthanc": orthanc_id(image),
            }
            for image in (*archive.ct[::3], *archive.mr[::2])
        ]
        yield Table(
            real_hub.base.rstrip("/"), askers, images, [*ids, str(uuid.uuid4())], session, _explorer(real_hub, archive)
        )


def _explorer(real_hub: Hub, archive: Any) -> Explorer:
    base = f"{real_hub.url}services/pacs"
    secret, askers = "", []
    for name, foreign in (("clara", archive.mr), ("petra", ())):
        with signed_in(real_hub, name) as browser:
            opened = browser.get(f"{base}/explorer")
            secret = opened.url.path.split("/")[4] if opened.status_code == 200 else ""
            cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in browser.cookies.jar)
        traces = {str(image.SOPInstanceUID) for image in foreign}
        askers.append(Asker({"Cookie": cookies}, traces | {orthanc_id(image) for image in foreign}))
    assert secret
    return Explorer(base, askers, secret)


def _export(image: dict[str, str], name: str) -> dict[str, Any]:
    uids = [{"level": "instance", "uid": image["uid"]}]
    return {"uids": uids, "destination": f"s3://{_KEPT}-{name}/p", "credentials": KEYS, "endpoint_url": EXPORTS_TO}


def _queries(image: dict[str, str]) -> list[str]:
    return [
        f"SOPInstanceUID StrEquals {image['uid']}",
        f"StudyInstanceUID StrEquals {image['study']} OR Modality Exists",
        "NOT (Modality StrEquals CT)",
        "PatientID StrEquals 'P*' AND InstanceNumber NbGreater 0",
    ]


def _made_real(draw: Any, case: Any, table: Table) -> None:
    """Put things that there are in the place of what was made up."""
    image = draw(st.sampled_from(table.images))
    for name in case.path_parameters or {}:
        if name in image:
            case.path_parameters[name] = image[name]
        elif name == "id":
            case.path_parameters[name] = draw(st.sampled_from(table.ids))
        elif name in ("n", "frames"):
            case.path_parameters[name] = draw(st.sampled_from(["1", "2", "0"]))
        elif name == "element":
            case.path_parameters[name] = draw(st.sampled_from(["7FE00010", "00100020", "00081140.0.00081155"]))
        elif name == "secret":
            case.path_parameters[name] = draw(st.sampled_from([table.explorer.secret, secrets.token_urlsafe(32)]))
            if draw(st.booleans()):
                paths = [
                    "system",
                    "patients",
                    "statistics",
                    "app/explorer.html",
                    "tools/find",
                    f"instances/{image['orthanc']}",
                ]
                case.path_parameters["path"] = draw(st.sampled_from(paths))
    query = dict(case.query or {})
    if "query" in query or "text" in query:
        query["query" if "query" in query else "text"] = draw(st.sampled_from(_queries(image)))
    if "tag" in query:
        query["tag"] = draw(st.sampled_from(["SOPInstanceUID", "Modality", "StudyDate", "PixelData"]))
    if "uid" in query:
        query["uid"] = image[draw(st.sampled_from(["uid", "series", "study"]))]
    if "columns" in query:
        query["columns"] = "SOPInstanceUID,PatientID,Modality"
    if "sort" in query:
        query["sort"] = draw(st.sampled_from(["-SOPInstanceUID", "Modality,PatientID"]))
    if "cursor" in query and draw(st.booleans()):
        del query["cursor"]
    if case.path.startswith("/dicom-web/"):
        known = {"includefield", "fuzzymatching", "limit", "offset", "accept", "viewport", "window", "quality"}
        query = {name: value for name, value in query.items() if name in known}
        if "limit" in known & query.keys() and draw(st.booleans()):
            query["SOPInstanceUID"] = image["uid"]
    case.query = query
    if isinstance(case.body, dict):
        if "query" in case.body:
            case.body["query"] = draw(st.sampled_from(_queries(image)))
        if "columns" in case.body:
            case.body["columns"] = draw(st.sampled_from([None, ["SOPInstanceUID", "PatientID"], ["StudyDate"]]))
        if "sort" in case.body:
            case.body["sort"] = [{"column": "SOPInstanceUID", "descending": draw(st.booleans())}]
        if "studies" in case.body:
            case.body["studies"] = [image["study"]]
        if "destination" in case.body:
            case.body.update(_export(image, "x"))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_any_request_gets_an_answer_that_is_described_and_ones_own(table: Table, operation: str) -> None:
    cases = st.one_of(
        OPERATIONS[operation].as_strategy(mode) for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    )

    @settings(
        max_examples=12,
        phases=[Phase.generate],  # to find the smallest such request would take long; each is told as it was sent
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def ask(data: st.DataObject) -> None:
        asked_of = table.explorer if operation in EXPLORER else table
        asker = data.draw(st.sampled_from(asked_of.askers))
        case = data.draw(cases)
        if data.draw(st.integers(0, 3)):
            _made_real(data.draw, case, table)
        answer = case.call(base_url=asked_of.base, headers=asker.headers, session=table.session)
        assert answer.status_code < 500 or (answer.status_code == 501 and operation in NOT_OFFERED), answer.text
        case.validate_response(answer, checks=CHECKS)
        request = answer.request
        body = request.body or b""
        asked = f"{request.url} {body if isinstance(body, str) else body.decode('latin-1')}"
        told = f"{answer.headers} {answer.content.decode('latin-1')}"
        for trace in asker.foreign:
            assert trace in asked or trace not in told

    ask()
