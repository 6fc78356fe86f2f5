import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import rpacs
from extensions.rpacs.tests.gateway_server import Gateway, catalogue, uid
from rpacs._client import equals

CT, MR, US, SR, BROKEN = (uid("series", n) for n in range(1, 6))


def test_me_in_words(pacs):
    me = pacs.me()
    assert (me.name, me.groups, me.admin) == ("clara", ("ct-researchers",), False)
    assert me.profiles[0].sees == "images where Modality StrIn (CT, US, SR)"
    assert me.profiles[0].why == "through your group ct-researchers"
    assert "CTOnly (CT, ultrasound" in str(me)


def test_me_without_a_profile_names_the_fix(gateway):
    me = rpacs.connect(gateway.url, "token-nora").me()
    assert me.profiles == ()
    assert "ask your administrator" in str(me)
    assert "<" not in me._repr_html_().removeprefix("<div style='white-space: pre-wrap'>").removesuffix("</div>")


def test_an_admin_sees_through_a_profile_too(admin):
    assert admin.me().profiles[0].sees == "every image"
    assert admin.me().profiles[0].why == "given to you by name"


def test_why_a_series_is_seen(pacs):
    why = pacs.explain(CT)
    assert (why.uid, why.level, why.instances) == (CT, "series", 60)
    assert (why.reasons[0].profile, why.reasons[0].groups, why.reasons[0].users) == ("CTOnly", ("ct-researchers",), ())
    assert str(why) == repr(why) == why.text
    assert str(why).startswith("You see 60 instances of this series:\n- CTOnly, through group ct-researchers: ")
    assert "&quot;CT&quot;" in why._repr_html_()


def test_what_is_not_seen_is_not_explained(pacs):
    with pytest.raises(rpacs.NotFound):
        pacs.explain(MR)
    with pytest.raises(rpacs.RpacsError, match="is not a UID"):
        pacs.explain("1.2/../3")


@pytest.mark.parametrize(
    ("level", "key", "rows"),
    [("patient", "PatientID", 3), ("study", "StudyInstanceUID", 3), ("series", "SeriesInstanceUID", 4)],
)
def test_search_is_indexed_by_the_levels_key(pacs, level, key, rows):
    table = pacs.search(level=level)
    assert table.index.name == key
    assert key not in table.columns
    assert len(table) == rows == table.attrs["total"] == pacs.count(level=level)


def test_search_values(pacs):
    row = pacs.search("SeriesDescription StrEquals '*lung*'").loc[CT]
    assert row["Modality"] == "CT"
    assert row["StudyDate"] == pd.Timestamp("2011-02-02")
    assert row["NumberOfSeriesRelatedInstances"] == 60


def test_dates_are_datetimes_and_what_is_no_date_is_nat(admin, gateway):
    gateway.extra = 30
    table = admin.search(level="patient")
    assert table["PatientBirthDate"].dtype == "datetime64[s]"
    raw = admin.search(level="patient", dates=False)
    empty = raw["PatientBirthDate"] == ""
    assert empty.any()
    assert table["PatientBirthDate"].isna().equals(empty)
    assert table["PatientBirthDate"].dt.strftime("%Y%m%d")[~empty].equals(raw["PatientBirthDate"][~empty])


def test_search_without_rows_keeps_its_columns(pacs):
    table = pacs.search("Modality StrEquals XX")
    assert len(table) == 0
    assert table["StudyDate"].dtype == "datetime64[s]"
    assert table.index.name == "SeriesInstanceUID"
    assert pacs.count("Modality StrEquals XX") == 0


def test_chosen_columns_sort_and_limit(gateway, pacs):
    table = pacs.search(level="instance", columns=["InstanceNumber", "Modality"], sort="-InstanceNumber", limit=3)
    assert list(table.columns) == ["InstanceNumber", "Modality"]
    assert table["InstanceNumber"].tolist() == ["60", "59", "58"]
    assert table.attrs["total"] == 65
    assert pacs.search(limit=0).empty
    up = pacs.search(level="instance", sort=["Modality", "-InstanceNumber"], columns=["Modality", "InstanceNumber"])
    assert up.iloc[0].tolist() == ["CT", "60"]


def test_search_pages_through_everything_once(gateway, admin, capsys):
    gateway.extra = 1300
    table = admin.search()
    expected = {row["SeriesInstanceUID"] for row in catalogue(1300)}
    assert len(table) == len(expected) == 1305
    assert set(table.index) == expected
    assert table.index.is_unique
    assert sum(path.endswith("/search") for _, path, _ in gateway.requests) == 2
    assert "1305" in capsys.readouterr().err  # the bar
    gateway.requests.clear()
    assert len(admin.search(limit=1100)) == 1100
    assert sum(path.endswith("/search") for _, path, _ in gateway.requests) == 2


def test_query_error_points_at_the_place(pacs):
    with pytest.raises(rpacs.QueryError) as caught:
        pacs.search("Modality StrEquls CT")
    error = caught.value
    assert (error.position, error.expected, error.hint) == (9, ("operator",), "Did you mean StrEquals?")
    assert str(error) == (
        "There is no operator StrEquls. (at character 10)\nModality StrEquls CT\n         ^\nDid you mean StrEquals?"
    )
    for call in (
        pacs.count,
        lambda query: pacs.export(query, "s3://b", credentials={"access_key": "a", "secret_key": "b"}),
    ):
        with pytest.raises(rpacs.QueryError, match="StrEquls"):
            call("Modality StrEquls CT")


@pytest.mark.parametrize(("level", "hint"), [("serie", "series"), ("", "patient")])
def test_unknown_level(pacs, level, hint):
    with pytest.raises(rpacs.RpacsError, match=hint):
        pacs.search(level=level)


def test_levels_in_any_case(pacs):
    assert pacs.count(level="Series") == 4


def test_dicom_tags_and_frame_of_an_instance(pacs):
    instance = uid("instance", 1, 0)
    data = pacs.dicom(instance)
    assert data.SOPInstanceUID == instance
    assert data.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert data.pixel_array.shape == (256, 256)
    assert data.pixel_array.dtype == np.int16
    tags = pacs.tags(instance)
    assert tags.loc["Modality", ["tag", "vr", "value"]].tolist() == ["(0008,0060)", "CS", "CT"]
    soft = Image.open(io.BytesIO(pacs.frame(instance)))
    lung = Image.open(io.BytesIO(pacs.frame(instance, format="png", window=(-600, 1500), size=64)))
    assert (soft.format, soft.size, lung.format, lung.size) == ("JPEG", (256, 256), "PNG", (64, 64))


@pytest.mark.parametrize("call", ["dicom", "tags", "frame"])
def test_what_may_not_be_seen_is_not_found(pacs, call):
    with pytest.raises(rpacs.NotFound):
        getattr(pacs, call)(uid("instance", 2, 0))
    with pytest.raises(rpacs.NotFound):
        getattr(pacs, call)("1.2.3")


@pytest.mark.parametrize("bad", ["", "../me", "1.2 OR Modality Exists", '1.2" OR "', "1" * 65, "a.b"])
def test_a_uid_is_checked_before_it_goes_into_an_address_or_a_query(gateway, pacs, bad):
    for call in (pacs.dicom, pacs.tags, pacs.frame, pacs.slices, pacs.preview):
        with pytest.raises(rpacs.RpacsError, match="is not a UID"):
            call(bad)
    assert gateway.requests == []


def test_frames_count_from_one(pacs):
    cine = uid("instance", 3, 0)
    assert pacs.frame(cine, 24) != pacs.frame(cine, 1)
    with pytest.raises(rpacs.NotFound):
        pacs.frame(cine, 25)


def test_preview_is_the_middle_picture(pacs):
    picture = pacs.preview(CT)
    assert (picture.mode, picture.size) == ("L", (256, 256))
    middle = pacs.slices(CT)[30]
    assert np.array_equal(picture, Image.open(io.BytesIO(pacs.frame(middle.uid, format="png"))))
    assert pacs.preview(US).mode == "RGB"
    assert not np.array_equal(picture, pacs.preview(CT, window=(-600, 1500)))


def test_preview_without_pictures(pacs):
    assert pacs.slices(SR) == []
    with pytest.raises(rpacs.NotFound, match=r"no pictures\.\n.*tags"):
        pacs.preview(SR)
    with pytest.raises(rpacs.NotFound):
        pacs.preview(MR)  # may not be seen
    with pytest.raises(rpacs.BadRequest, match="cannot be decoded"):
        pacs.preview(BROKEN)


def test_a_frame_that_is_no_picture(gateway, pacs):
    gateway.answer_next = [(200, "<html>a login page</html>")]
    with pytest.raises(rpacs.Unavailable, match="not a picture"):
        pacs.frame(uid("instance", 1, 0))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("R1", 'PatientID StrEquals "R1"'),
        ('a"*b', r'PatientID StrEquals "a\"\*b"'),
        ("a\\", r'PatientID StrEquals "a\\"'),
    ],
)
def test_equals_quotes(value, text):
    assert equals("PatientID", value) == text


def test_connections_do_not_pile_up():
    with Gateway() as server:
        client = rpacs.connect(server.url, "token-clara")
        for _ in range(20):
            client.count()
        pools = client._transport._session.get_adapter(server.url).poolmanager.pools
        assert [pools[key].num_connections for key in pools.keys()] == [1]  # noqa: SIM118 - not a dict
