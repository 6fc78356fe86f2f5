"""Exports as PNG, drawn by the gateway's own renderer."""

import io

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.data import get_testdata_file

from hub.tests.exports.support import ended
from rpacs_hub.exports import ExportState, InstanceFailed, InstanceRef
from rpacs_hub.exports._pictures import pictures
from rpacs_hub.rendering import render


def written(dataset: pydicom.Dataset) -> bytes:
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def single() -> bytes:
    return written(pydicom.dcmread(get_testdata_file("CT_small.dcm")))


@pytest.fixture(scope="module")
def cine(single) -> bytes:
    """Three frames that differ."""
    dataset = pydicom.dcmread(io.BytesIO(single))
    first = dataset.pixel_array
    dataset.PixelData = b"".join(np.roll(first, shift, axis=0).tobytes() for shift in (0, 30, 60))
    dataset.NumberOfFrames = 3
    return written(dataset)


@pytest.fixture(scope="module")
def plan() -> bytes:
    return written(pydicom.dcmread(get_testdata_file("rtplan.dcm")))


@pytest.fixture(scope="module")
def truncated(single) -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(single))
    dataset.PixelData = dataset.PixelData[:1000]
    return written(dataset)


@pytest.mark.anyio
async def test_one_picture_per_frame_and_the_rest_is_named(
    running, archive, request_for, objects, single, cine, plan, truncated
):
    files = {"single": single, "cine": cine, "plan": plan, "truncated": truncated, "noise": b"\x00\x01 not DICOM"}
    archive.files = files
    instances = [InstanceRef(name, "P1", "1.2", "1.3", f"1.4.{n}") for n, name in enumerate(files)]
    async with running(render=render) as exporter:
        export = await ended(exporter, await exporter.submit("clara", instances, request_for(format="png")))
    found = objects()
    assert sorted(found) == [
        "1.2/1.3/1.4.0.png",
        "1.2/1.3/1.4.1-0001.png",
        "1.2/1.3/1.4.1-0002.png",
        "1.2/1.3/1.4.1-0003.png",
    ]
    assert found["1.2/1.3/1.4.0.png"] == render(single, 1, "png")
    assert [found[f"1.2/1.3/1.4.1-000{n}.png"] for n in (1, 2, 3)] == [render(cine, n, "png") for n in (1, 2, 3)]
    assert len(set(found.values())) == 3  # the cine's first frame is the single one
    assert Image.open(io.BytesIO(found["1.2/1.3/1.4.0.png"])).size == (128, 128)
    assert (export.state, export.total, export.done, export.failed) == (ExportState.DONE, 5, 2, 3)
    assert export.bytes == sum(map(len, found.values()))
    assert {failure.sop_uid: failure.reason for failure in export.failures} == {
        "1.4.2": "no_image",
        "1.4.3": "undecodable",
        "1.4.4": "no_image",
    }


@pytest.mark.anyio
async def test_nothing_but_objects_without_images(running, archive, request_for, plan):
    archive.files = {"plan": plan}
    async with running(render=render) as exporter:
        request = request_for(format="png")
        export = await ended(
            exporter, await exporter.submit("clara", [InstanceRef("plan", "P", "1", "2", "3")], request)
        )
    assert (export.state, export.done, export.failed) == (ExportState.FAILED, 0, 1)
    assert export.message == "Exported none of 1 instances: 1 without an image."


def test_names_of_many_frames_sort_in_order(cine):
    dataset = pydicom.dcmread(io.BytesIO(cine))
    dataset.NumberOfFrames = 12345
    names = [name for name, _ in pictures(written(dataset), lambda *_: b"")]
    assert names[0] == "-00001.png"
    assert names[-1] == "-12345.png"
    assert names == sorted(names)


def test_words_of_a_file_do_not_get_into_errors(single):
    def quoting(source, *_):
        raise ValueError(f"cannot decode the picture of {source.PatientName}")

    with pytest.raises(InstanceFailed) as failed:
        next(pictures(single, quoting))
    assert failed.value.code == "undecodable"
    assert "CompressedSamples" not in str(failed.value)
    assert failed.value.__suppress_context__
