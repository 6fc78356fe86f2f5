"""The gateway's addresses, with a real database, a real Orthanc and three people who may see different things."""

from __future__ import annotations

import asyncio
import io

import numpy as np
import pytest
from PIL import Image

from rpacs_hub.gateway.app import _end


def test_me_says_who_i_am_and_why_i_may_see_what(archive):
    found = archive.served.get("me", archive.clara).json()
    assert found["name"] == "clara"
    assert found["groups"] == ["ct-researchers"]
    assert found["profiles"] == [
        {
            "name": "CT only",
            "description": "Computed tomography",
            "via": {"users": [], "groups": ["ct-researchers"]},
            "filter": "Modality StrEquals CT",
            "access_reason": None,
        }
    ]
    assert archive.served.get("me", archive.nora).json()["profiles"] == []


@pytest.mark.parametrize(("user", "totals"), [("ada", (3, 3, 6, 10)), ("clara", (2, 2, 3, 7)), ("nora", (0, 0, 0, 0))])
def test_each_level_has_only_what_the_user_may_see(archive, user, totals):
    headers = getattr(archive, user)
    for level, total in zip(("patient", "study", "series", "instance"), totals, strict=True):
        page = archive.served.get("search", headers, level=level).json()
        assert (page["total"], len(page["rows"])) == (total, total), level
        assert archive.served.get("count", headers, level=level).json() == {"level": level, "count": total}


def test_counts_of_a_row_are_of_what_the_user_sees(archive):
    study = str(archive.ct[0].StudyInstanceUID)
    rows = {}
    for user in ("ada", "clara"):
        body = {"query": f"StudyInstanceUID StrEquals {study}", "level": "study"}
        (rows[user],) = archive.served.post("search", getattr(archive, user), body).json()["rows"]
    assert rows["ada"]["ModalitiesInStudy"] == ["CT", "MR"]
    assert (rows["ada"]["NumberOfStudyRelatedSeries"], rows["ada"]["NumberOfStudyRelatedInstances"]) == (3, 7)
    assert rows["clara"]["ModalitiesInStudy"] == ["CT"]
    assert (rows["clara"]["NumberOfStudyRelatedSeries"], rows["clara"]["NumberOfStudyRelatedInstances"]) == (2, 6)


def test_a_file_is_what_orthanc_holds(archive):
    uid = str(archive.ct[0].SOPInstanceUID)
    answer = archive.served.get(f"instances/{uid}/file", archive.clara)
    assert answer.content == archive.files[uid]
    assert answer.headers["content-type"] == "application/dicom"
    assert answer.headers["content-length"] == str(len(archive.files[uid]))


def test_tags_are_listed(archive):
    uid = str(archive.ct[0].SOPInstanceUID)
    found = archive.served.get(f"instances/{uid}/tags", archive.clara).json()
    rows = {row["path"]: row for row in found["tags"]}
    assert found["instance"] == uid
    assert rows["Modality"] == {
        "path": "Modality",
        "tag": "(0008,0060)",
        "keyword": "Modality",
        "name": "Modality",
        "vr": "CS",
        "value": "CT",
    }
    assert rows["PixelData"]["value"] == "binary, not shown"


def test_a_frame_is_drawn(archive):
    uid = str(archive.ct[0].SOPInstanceUID)
    answer = archive.served.get(f"instances/{uid}/frames/1", archive.clara)
    assert answer.headers["content-type"] == "image/png"
    picture = np.asarray(Image.open(io.BytesIO(answer.content)))
    assert picture.shape == (16, 16)
    assert (picture[0, 0], picture[15, 15]) == (0, 255)
    jpeg = archive.served.get(f"instances/{uid}/frames/1", archive.clara, format="jpeg", size=8, center=0, width=2)
    assert jpeg.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(jpeg.content)).size == (8, 8)


def test_a_task_that_lost_its_cancellation_is_asked_again():
    asked = []

    async def deaf_once() -> None:
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                asked.append(1)
                if len(asked) > 1:
                    raise

    async def run() -> None:
        task = asyncio.create_task(deaf_once())
        await asyncio.sleep(0)
        await _end([task])
        assert task.cancelled()

    asyncio.run(run())
    assert len(asked) == 2
