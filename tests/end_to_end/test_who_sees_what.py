"""Nobody gets a row or a byte that her profiles do not give her."""

from __future__ import annotations

import httpx
import pytest


def _any_uid(research, modality: str) -> str:
    return min(research.files(modality))


def test_a_researcher_without_a_profile_gets_no_rows_and_no_bytes(studies, research, person):
    nora = person("nora")
    uid = _any_uid(research, "CT")
    for level in ("patient", "study", "series", "instance"):
        answer = nora.api("search", params={"level": level}).json()
        assert (answer["rows"], answer["total"]) == ([], 0)
    for path in (f"instances/{uid}/file", f"instances/{uid}/tags", f"instances/{uid}/frames/1"):
        answer = nora.api(path)
        assert answer.status_code == 404
        assert set(answer.json()) >= {"error", "message", "hint"}


def test_the_page_of_a_researcher_without_a_profile_says_so(studies, person):
    nora = person("nora")
    page = nora.open_browser_page()
    page.wait_for_selector("[data-testid=rpacs-no-profile]")
    nora.shoot("no-profile")
    assert page.locator("[data-testid=rpacs-row]").count() == 0


def test_a_ct_researcher_cannot_reach_an_mr_by_its_uid(studies, research, person):
    clara = person("clara")
    for path in ("file", "tags", "frames/1"):
        assert clara.api(f"instances/{_any_uid(research, 'MR')}/{path}").status_code == 404
    ct = _any_uid(research, "CT")
    assert clara.api(f"instances/{ct}/file").content == research.files("CT")[ct]


@pytest.mark.parametrize("authorization", ["token made-up", "Bearer made-up", "Basic bWFkZTp1cA==", "token", None])
def test_a_made_up_token_is_refused_in_json_and_never_redirected(stack, authorization):
    headers = {"Authorization": authorization} if authorization else {}
    answer = httpx.get(f"{stack.gateway_url}/api/v1/search", headers=headers, timeout=30)
    assert answer.status_code == 401
    assert answer.headers["content-type"].startswith("application/json")
    assert set(answer.json()) >= {"error", "message", "hint"}


def test_a_wrong_query_points_at_the_place(person):
    answer = person("clara").api("search", params={"query": "Modalty StrEquals CT"})
    assert answer.status_code == 400
    body = answer.json()
    assert body["error"] == "query_invalid"
    assert body["position"] == 0
    assert "Modality" in body["hint"]
