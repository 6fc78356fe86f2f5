import time

import pandas as pd
import pytest

import rpacs
from extensions.rpacs.tests.gateway_server import uid

KEYS = {"access_key": "AK-9c1", "secret_key": "SK-7d2"}
CT, US = uid("series", 1), uid("series", 3)


def test_export_of_a_query_runs_to_its_end(gateway, pacs, capsys):
    job = pacs.export("Modality StrEquals CT", "s3://research-exports/a", credentials=KEYS)
    status = job.wait(poll=0.01)
    assert (status.state, status.total, status.done, status.failed) == ("done", 63, 63, 0)
    assert status.bytes == 63 * 132096
    assert status.finished >= status.started >= status.created
    assert status.created.tzinfo is not None
    assert "63/63" in capsys.readouterr().err
    assert gateway.bodies[0] == {
        "query": "Modality StrEquals CT",
        "level": "series",
        "destination": "s3://research-exports/a",
        "format": "dicom",
        "credentials": KEYS,
    }


@pytest.mark.parametrize("form", ["table", "rows", "column", "index", "list", "generator"])
def test_export_of_rows_in_any_form(gateway, pacs, form):
    table = pacs.search("Modality StrEquals CT")
    what, level = {
        "table": (table, None),
        "rows": (table[table["SeriesDescription"] == "Axial 1 mm lung"], None),
        "column": (table["Modality"], None),
        "index": (table.index, None),
        "list": (list(table.index), "series"),
        "generator": (iter(table.index), None),
    }[form]
    pacs.export(what, "s3://b/p", credentials=KEYS, level=level, format="png")
    body = gateway.bodies[0]
    expected = table.index[:1] if form == "rows" else table.index
    assert body["uids"] == [{"level": "series", "uid": key} for key in expected]
    assert (body["level"], body["format"]) == ("series", "png")
    assert "query" not in body


def test_a_table_says_its_level_itself(gateway, pacs):
    pacs.export(pacs.search(level="study").head(1), "s3://b/p", credentials=KEYS)
    assert gateway.bodies[0]["level"] == "study"
    with pytest.raises(rpacs.RpacsError, match="does not say what its rows stand for"):
        pacs.export(pd.DataFrame({"a": [1]}), "s3://b/p", credentials=KEYS)


@pytest.mark.parametrize(
    ("what", "options", "words"),
    [
        ([], {}, "nothing to export"),
        ("", {"format": "jpeg"}, "no export format 'jpeg'"),
        ("", {"credentials": {}}, "access key"),
        ("", {"level": "serie"}, "no level"),
    ],
)
def test_mistakes_are_found_before_anything_is_sent(gateway, pacs, what, options, words):
    with pytest.raises(rpacs.RpacsError, match=words):
        pacs.export(what, "s3://b/p", **({"credentials": KEYS} | options))
    assert gateway.requests == []


def test_optional_parts_are_sent_only_when_given(gateway, pacs):
    more = {"session_token": "ST"}
    pacs.export("", "s3://b/p", credentials=KEYS | more, endpoint_url="http://127.0.0.1:1", region="eu")
    body = gateway.bodies[0]
    assert body["credentials"] == KEYS | more
    assert (body["endpoint_url"], body["region"], body["query"]) == ("http://127.0.0.1:1", "eu", "")


def test_a_refused_destination(pacs):
    with pytest.raises(rpacs.BadRequest, match="must be s3://"):
        pacs.export("", "/home/me", credentials=KEYS)


def test_a_failed_export_says_why_and_can_go_on(gateway, pacs):
    job = pacs.export("", "s3://research-exports/x", credentials=KEYS | {"secret_key": "wrong"})
    with pytest.raises(rpacs.ExportFailed, match=r"access denied\.\nCheck the keys") as caught:
        job.wait(progress=False, poll=0.01)
    assert caught.value.status.resumable
    assert isinstance(caught.value, rpacs.ExportError)
    assert job.resume(KEYS) is job
    assert job.wait(progress=False, poll=0.01).done == 65


def test_cancel_then_resume(gateway, pacs):
    gateway.export_delay = 0.1  # it takes seconds, so that it is cancelled before its end
    job = pacs.export("", "s3://b/p", credentials=KEYS)
    until(lambda: job.status().done > 0)
    assert job.cancel().state == "cancelled"
    with pytest.raises(rpacs.ExportCancelled):
        job.wait(progress=False)
    gateway.export_delay = 0.001
    assert job.resume(KEYS).wait(progress=False, poll=0.01).state == "done"


def test_an_interrupted_export_says_how_to_go_on(gateway, pacs):
    job = pacs.export("", "s3://b/p", credentials=KEYS)
    until(lambda: job.status().ended)
    gateway.exports[job.id].update(state="interrupted")
    with pytest.raises(rpacs.ExportInterrupted, match=r"job\.resume\(credentials\)"):
        job.wait(progress=False)


def test_images_that_failed_are_not_passed_over(gateway, pacs):
    job = pacs.export("", "s3://b/p", credentials=KEYS)
    until(lambda: job.status().ended)
    gateway.exports[job.id].update(failed=2)
    with pytest.warns(UserWarning, match="2 of 65 images could not be exported"):
        assert job.wait(progress=False).failed == 2


def test_wait_gives_up_but_the_export_goes_on(gateway, pacs):
    gateway.export_delay = 1
    job = pacs.export("", "s3://b/p", credentials=KEYS)
    with pytest.raises(TimeoutError, match="goes on without this notebook"):
        job.wait(progress=False, timeout=0.05, poll=0.01)
    assert not job.status().ended


def test_wait_outlives_a_restart_of_the_gateway(gateway, pacs):
    job = pacs.export("", "s3://b/p", credentials=KEYS)
    gateway.drop = 9  # two rounds of four tries, and one
    assert job.wait(progress=False, poll=0.01).state == "done"


def test_exports_are_found_again_from_elsewhere(gateway, pacs):
    assert pacs.exports().empty
    first = pacs.export("", "s3://b/first", credentials=KEYS)
    second = pacs.export("", "s3://b/second", credentials=KEYS)
    table = rpacs.connect(gateway.url, "token-clara").exports()
    assert list(table.index) == [second.id, first.id]
    assert table.loc[first.id, "destination"] == "s3://b/first"
    assert pacs.job(first.id).wait(progress=False, poll=0.01).state == "done"
    with pytest.raises(rpacs.NotFound):
        rpacs.connect(gateway.url, "token-admin").job(first.id)
    with pytest.raises(rpacs.NotFound):
        pacs.job("../me")


def test_keys_show_nowhere(gateway, pacs):
    job = pacs.export("", "s3://b/p", credentials=KEYS)
    status = job.wait(progress=False, poll=0.01)
    texts = [repr(job), str(job), repr(vars(job)), repr(status), str(status), job._repr_html_(), repr(vars(pacs))]
    assert not [text for text in texts for key in KEYS.values() if key in text]


def test_html_escapes_what_users_wrote(pacs):
    job = pacs.export("", "s3://b/<script>", credentials=KEYS)
    assert "<script>" not in job._repr_html_()


def until(done, seconds=30):
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end
        time.sleep(0.01)
