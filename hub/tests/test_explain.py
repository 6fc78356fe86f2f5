"""Why somebody sees something: over HTTP for herself, at the terminal for an administrator."""

from __future__ import annotations

import json
from typing import Any

import pytest

import rpacs
from hub.tests.support import audit_lines
from rpacs_hub.cli import main

UNKNOWN = "1.2.826.0.1.999"
HELD = 'CT only, through group ct-researchers: shows instances where Modality is "CT", as'
LACKS = 'CT only, through group ct-researchers: needs that Modality is "CT"; this one has Modality MR.'


def test_an_instance_that_is_seen(archive):
    uid = str(archive.ct[0].SOPInstanceUID)
    answer = archive.served.get("explain", archive.clara, uid=uid)
    assert answer.status_code == 200
    assert answer.json() == {
        "uid": uid,
        "level": "instance",
        "instances": 1,
        "text": f"You see this instance:\n- {HELD} this one does.",
        "reasons": [
            {
                "profile": "CT only",
                "via": {"users": [], "groups": ["ct-researchers"]},
                "instances": 1,
                "text": f"{HELD} this one does.",
            }
        ],
    }
    (line,) = audit_lines(archive.base, answer.headers["X-Request-Id"])
    assert (line["action"], line["decision"], line["identifiers"]) == ("explain", "allowed", [uid])
    assert (line["profiles"], line["why"], line["level"], line["count"]) == (
        ["CT only"],
        [f"{HELD} this one does."],
        "instance",
        1,
    )


def test_a_series_and_a_study(archive):
    ct = archive.ct[0]
    series = archive.served.get("explain", archive.clara, uid=str(ct.SeriesInstanceUID)).json()
    assert (series["level"], series["instances"]) == ("series", 5)
    assert series["text"] == f"You see 5 instances of this series:\n- {HELD} all 5 here do."
    # The study also has an MR image, of which clara must not learn.
    study = archive.served.get("explain", archive.clara, uid=str(ct.StudyInstanceUID)).json()
    assert (study["level"], study["instances"]) == ("study", 6)
    assert "MR" not in study["text"]
    assert study["reasons"][0]["text"] == f"{HELD} all 6 here do."
    whole = archive.served.get("explain", archive.ada, uid=str(ct.StudyInstanceUID)).json()
    assert whole["text"] == "You see 7 instances of this study:\n- Everything, given by name: shows every instance."


def test_the_profiles_that_do_not_show_it_say_what_they_need(archive):
    both = archive.served.tokens.add("ada", "ct-researchers")
    try:
        mr = archive.served.get("explain", both, uid=str(archive.mr[0].SOPInstanceUID)).json()
        assert mr["text"] == (f"You see this instance:\n- Everything, given by name: shows every instance.\n- {LACKS}")
        assert [reason["instances"] for reason in mr["reasons"]] == [1, 0]
        study = archive.served.get("explain", both, uid=str(archive.ct[0].StudyInstanceUID)).json()
        assert [(reason["profile"], reason["instances"]) for reason in study["reasons"]] == [
            ("CT only", 6),
            ("Everything", 7),
        ]
        assert study["reasons"][0]["text"] == (
            'CT only, through group ct-researchers: shows 6 of 7 here; it needs that Modality is "CT"; '
            "one that it does not show has Modality MR."
        )
        other = archive.served.get("explain", both, uid=str(archive.mr[0].StudyInstanceUID)).json()
        assert other["reasons"][1]["text"] == (
            'CT only, through group ct-researchers: needs that Modality is "CT"; one of them has Modality MR.'
        )
    finally:
        archive.served.tokens.add("ada")


def test_hidden_and_unknown_are_the_same_answer(archive):
    mr = archive.mr[0]
    hidden = [str(mr.SOPInstanceUID), str(mr.SeriesInstanceUID), str(mr.StudyInstanceUID)]
    everywhere = (*hidden, UNKNOWN, "9" * 300, "*", "1.2.*", "%")
    unknown = archive.served.get("explain", archive.clara, uid=UNKNOWN)
    assert unknown.status_code == 404
    for user in (archive.clara, archive.nora):
        for uid in everywhere:
            answer = archive.served.get("explain", user, uid=uid)
            assert (answer.status_code, answer.content) == (404, unknown.content)
    nobody = archive.served.get("explain", archive.nora, uid=hidden[0])
    (line,) = audit_lines(archive.base, nobody.headers["X-Request-Id"])
    assert (line["decision"], line["status"]) == ("denied", 404)
    assert line["why"] == ["No profile is held, so nothing is shown."]
    denied = archive.served.get("explain", archive.clara, uid=hidden[0])
    (line,) = audit_lines(archive.base, denied.headers["X-Request-Id"])
    assert (line["decision"], line["why"], line["profiles"]) == ("denied", [LACKS], [])


def test_a_uid_must_be_given(archive):
    for params in ({}, {"uid": " "}, {"uuid": UNKNOWN}):
        answer = archive.served.get("explain", archive.ada, **params)
        assert (answer.status_code, answer.json()["error"]) == (400, "request_invalid")


def test_the_client_prints_it_in_words(archive):
    token = archive.clara["Authorization"].split()[1]
    pacs = rpacs.connect(archive.served.url.removesuffix("api/v1/"), token)
    ct = archive.ct[0]
    assert str(pacs.explain(str(ct.SeriesInstanceUID))) == (
        f"You see 5 instances of this series:\n- {HELD} all 5 here do."
    )
    with pytest.raises(rpacs.NotFound, match="you may not see it"):
        pacs.explain(str(archive.mr[0].SOPInstanceUID))
    pacs.close()


@pytest.fixture
def explained(archive, monkeypatch, capsys):
    """Run ``rpacs-hub explain`` with the gateway's settings; return exit code and output."""
    monkeypatch.setenv("RPACS_DATABASE_URL", archive.base.gateway)
    monkeypatch.setenv("RPACS_PERMISSIONS", str(archive.served.settings.permissions))

    def run(*arguments: Any) -> tuple[int, str]:
        code = main(["explain", *map(str, arguments)])
        return code, capsys.readouterr().out

    return run


def test_at_the_terminal(archive, explained):
    ct, mr = archive.ct[0], archive.mr[0]
    clara = ("--user", "clara", "--group", "others", "--group", "ct-researchers")
    assert explained(*clara, "--instance", ct.SOPInstanceUID) == (
        0,
        f"clara sees this instance:\n- {HELD} this one does.\n",
    )
    assert explained(*clara, "--instance", mr.SOPInstanceUID) == (
        1,
        f"clara does not see this instance, as no profile matches:\n- {LACKS}\n",
    )
    assert explained(*clara, "--series", ct.SeriesInstanceUID) == (
        0,
        f"clara sees all 5 instances of this series:\n- {HELD} all 5 here do.\n",
    )
    assert explained(*clara, "--study", ct.StudyInstanceUID) == (
        0,
        "clara sees 6 of 7 instances of this study:\n- CT only, through group ct-researchers: shows 6 of 7 here; "
        'it needs that Modality is "CT"; one that it does not show has Modality MR.\n',
    )
    assert explained("--user", "clara", "--study", ct.StudyInstanceUID) == (
        1,
        "clara does not see this study, as no profile matches:\n- No profile is held, so nothing is shown.\n",
    )
    assert explained("--user", "ada", "--series", mr.SeriesInstanceUID)[0] == 0
    assert explained("--user", "ada", "--series", UNKNOWN) == (1, "The index has no series with this UID.\n")
    assert explained("--user", "ada", "--series", ct.SOPInstanceUID)[0] == 1


def test_the_terminal_names_what_is_missing(archive, explained, monkeypatch, capsys, tmp_path):
    broken = tmp_path / "permissions.yaml"
    broken.write_text(json.dumps({"Profils": {}}))
    monkeypatch.setenv("RPACS_PERMISSIONS", str(broken))
    assert main(["explain", "--user", "ada", "--instance", UNKNOWN]) == 1
    assert "Did you mean 'Profiles'?" in capsys.readouterr().err
    monkeypatch.delenv("RPACS_PERMISSIONS")
    assert main(["explain", "--user", "ada", "--instance", UNKNOWN]) == 1
    assert "RPACS_PERMISSIONS is not set" in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        main(["explain", "--user", "ada"])
    assert caught.value.code == 2
