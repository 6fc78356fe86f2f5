"""Orthanc Explorer, from the card on the home page."""

from __future__ import annotations

import json
import re


def test_an_administrator_opens_it_from_her_home_page_and_finds_what_was_sent(stack, studies, research, person):
    admin = person("admin")
    page = admin.page
    card = page.get_by_role("link", name="Open Orthanc Explorer")
    card.wait_for()
    admin.shoot("home-with-orthanc-explorer")
    card.click()
    page.wait_for_url(re.compile(r"/services/pacs/explorer/[\w-]{43}/app/explorer\.html"))
    secret = page.url.split("/")[-3]
    page.get_by_text("All patients", exact=True).first.click()
    names = {research.get(f"/patients/{each}")["MainDicomTags"]["PatientName"] for each in research.get("/patients")}
    for name in names:
        page.get_by_text(name).first.wait_for()
    admin.shoot("orthanc-explorer")
    audit = (stack.settings.var / "audit" / "audit.jsonl").read_text()
    lines = [json.loads(line) for line in audit.splitlines() if "/explorer/***/" in line]
    assert {(line["user"], line["action"], line["decision"]) for line in lines} == {("admin", "orthanc", "allowed")}
    assert {profile for line in lines for profile in line["profiles"]} == {"Everything"}
    assert secret not in audit + "".join(path.read_text(errors="replace") for path in stack.settings.logs.glob("*.log"))


def test_whom_no_profile_lets_in_has_no_card_and_finds_no_such_page(stack, person):
    clara = person("clara")
    clara.page.wait_for_load_state("networkidle")  # the page has asked by then
    asked = "async (address) => (await fetch(address)).json()"
    assert clara.page.evaluate(asked, f"{stack.gateway_url}/explorer-offered") == {"offered": False}
    assert clara.page.locator("#rp-explorer").is_hidden()
    answer = clara.page.goto(f"{stack.gateway_url}/explorer")
    assert answer is not None
    assert answer.status == 404
    assert "There is no such address." in clara.page.inner_text("main")
