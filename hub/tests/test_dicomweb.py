"""DICOMweb at a real gateway, real Orthanc and real PostgreSQL, asked by dicomweb-client as two users."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import numpy as np
import pydicom
import pytest
import requests
from dicomweb_client.api import DICOMwebClient
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.pixels.utils import pixel_array
from pydicom.uid import JPEGLSLossless, RLELossless, generate_uid

from hub.tests.support import Served, as_bytes, audit_lines, gateway_settings, image, indexing, serving, until
from rpacs_hub.settings import IndexerSettings


def viewer(served: Served, headers: dict[str, str], base: str | None = None) -> DICOMwebClient:
    session = requests.Session()
    session.trust_env = False
    session.headers.update(headers)
    return DICOMwebClient(base or f"{served.url}dicom-web", session=session)


@pytest.fixture
def ada(archive) -> DICOMwebClient:
    return viewer(archive.served, archive.ada)


@pytest.fixture
def clara(archive) -> DICOMwebClient:
    return viewer(archive.served, archive.clara)


@pytest.fixture
def nora(archive) -> DICOMwebClient:
    return viewer(archive.served, archive.nora)


def values(found: list[dict], tag: str) -> list:
    return [row[tag].get("Value", [None])[0] for row in found]


def uids(datasets, keyword="SOPInstanceUID") -> set[str]:
    return {str(dataset[keyword].value) for dataset in datasets}


def status(call, *arguments, **named) -> int:
    with pytest.raises(requests.HTTPError) as refused:
        call(*arguments, **named)
    return refused.value.response.status_code


def raw(archive, path: str, user=None, accept: str | None = None, **more) -> httpx.Response:
    headers = {**(user or archive.ada), **({"Accept": accept} if accept else {})}
    return archive.served.client.get(f"dicom-web/{path}", headers=headers, **more)


def parts_of(answer: httpx.Response) -> list[tuple[str, bytes]]:
    """Return content type and content of each part of a multipart answer."""
    kind, _, rest = answer.headers["content-type"].partition(";")
    assert kind == "multipart/related"
    boundary = b"--" + rest.rpartition("boundary=")[2].encode()
    pieces = answer.content.split(boundary)
    assert (pieces[0], pieces[-1]) == (b"", b"--\r\n")
    found = []
    for piece in pieces[1:-1]:
        head, _, body = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        found.append((head.decode().removeprefix("Content-Type: "), body.removesuffix(b"\r\n")))
    return found


def path_of(dataset) -> str:
    return f"studies/{dataset.StudyInstanceUID}/series/{dataset.SeriesInstanceUID}/instances/{dataset.SOPInstanceUID}"


# ---- search


def test_each_user_finds_what_she_may_see_and_no_more(archive, ada, clara, nora):
    everything = [*archive.ct, *archive.mr]
    assert set(values(ada.search_for_studies(), "0020000D")) == uids(everything, "StudyInstanceUID")
    assert set(values(clara.search_for_studies(), "0020000D")) == uids(archive.ct, "StudyInstanceUID")
    assert set(values(ada.search_for_series(), "0020000E")) == uids(everything, "SeriesInstanceUID")
    assert set(values(clara.search_for_series(), "0020000E")) == uids(archive.ct, "SeriesInstanceUID")
    assert set(values(ada.search_for_instances(), "00080018")) == uids(everything)
    assert set(values(clara.search_for_instances(), "00080018")) == uids(archive.ct)
    assert nora.search_for_studies() == nora.search_for_series() == nora.search_for_instances() == []


def test_counts_and_modalities_tell_only_of_what_may_be_seen(archive, ada, clara):
    shared = str(archive.ct[0].StudyInstanceUID)
    for client, modalities, series, instances in ((ada, ["CT", "MR"], 3, 7), (clara, ["CT"], 2, 6)):
        (row,) = client.search_for_studies(search_filters={"StudyInstanceUID": shared})
        assert sorted(row["00080061"]["Value"]) == modalities
        assert (row["00201206"]["Value"], row["00201208"]["Value"]) == ([series], [instances])


def test_below_a_study_and_a_series(archive, ada, clara):
    shared, series = str(archive.ct[0].StudyInstanceUID), str(archive.ct[0].SeriesInstanceUID)
    assert len(ada.search_for_series(shared)) == 3
    assert len(clara.search_for_series(shared)) == 2
    assert len(clara.search_for_instances(shared)) == 6
    assert values(clara.search_for_instances(shared, series), "00200013") == [1, 2, 3, 4, 5]
    foreign = archive.mr[0]
    assert status(clara.search_for_series, str(foreign.StudyInstanceUID)) == 404
    assert status(clara.search_for_instances, shared, str(archive.mr[2].SeriesInstanceUID)) == 404
    assert status(clara.search_for_series, "1.2.3") == 404
    assert clara.search_for_instances(shared, series, search_filters={"InstanceNumber": "77"}) == []


def test_filters_of_every_kind(archive, ada):
    def found(**filters) -> int:
        return len(ada.search_for_instances(search_filters=filters))

    assert found(Modality="CT") == len(archive.ct)
    assert found(PatientID="P*") == len(archive.files)
    assert found(StudyDate="20260101-20260131") == 7
    assert found(StudyDate="20260201-") == 3
    assert found(**{"00100020": "P3"}) == 1
    assert found(InstanceNumber="2") == 2
    assert found(SliceThickness="1.5") == 1
    assert found(SOPInstanceUID=",".join(uids(archive.mr))) == 3
    assert found(StudyDescription="*bdom*", Modality="MR") == 0
    assert len(ada.search_for_studies(search_filters={"ModalitiesInStudy": "MR"})) == 2


def test_answers_are_dicom_json_with_the_required_attributes(archive, ada):
    (row,) = ada.search_for_studies(search_filters={"PatientID": "P3"}, fields=["StudyComments", "00080080"])
    assert row["00080005"] == {"vr": "CS", "Value": ["ISO_IR 192"]}
    assert row["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "P3^Pseudo"}]}
    assert row["00080050"] == {"vr": "SH"}
    assert row["00081030"]["Value"] == ["Abdomen"]
    (url,) = row["00081190"]["Value"]
    assert url == f"{archive.served.url}dicom-web/studies/{archive.ct[-1].StudyInstanceUID}"
    dataset = pydicom.Dataset.from_json(row)
    assert (dataset.PatientID, dataset.NumberOfStudyRelatedInstances) == ("P3", 1)
    (below,) = ada.search_for_instances(search_filters={"PatientID": "P3"}, fields=["all"])
    assert {"00080016", "00280010", "00181151"} - set(below) == {"00181151"}
    assert below["00280030" if "00280030" in below else "00280101"]["Value"] == [16]


def test_pages_are_whole_and_without_doubles(archive, ada):
    found = ada.search_for_instances(limit=3, get_remaining=True)
    assert len(found) == len(archive.files)
    assert set(values(found, "00080018")) == set(archive.files)
    page = raw(archive, "instances?limit=4&offset=3")
    assert page.headers["x-total-count"] == str(len(archive.files))
    assert (
        page.headers["warning"]
        == f'299 rpacs "There are {len(archive.files) - 7} additional results that can be requested."'
    )
    assert [row["00080018"]["Value"] for row in page.json()] == [row["00080018"]["Value"] for row in found[3:7]]
    beyond = raw(archive, "instances?offset=500")
    assert (beyond.status_code, beyond.content) == (204, b"")
    assert raw(archive, "instances?offset=90000000").json()["error"] == "offset_too_large"


def test_fuzzy_matching_is_refused_in_words(archive):
    answer = raw(archive, "studies?PatientName=p3*&fuzzymatching=true")
    assert len(answer.json()) == 1
    assert "fuzzymatching parameter is not supported" in answer.headers["warning"]


@pytest.mark.parametrize(
    "query",
    [
        "PatientNam=x",
        "PatientID=P%3F",
        "StudyDate=gestern",
        "limit=-1",
        "PatientID=1&PatientID=2",
        "%FF=1",
        "PatientID=%FF",
        "PixelData=1",
        "' OR 1=1 --=x",
    ],
)
def test_wrong_parameters_are_400_with_a_message(archive, query):
    answer = raw(archive, f"studies?{query}")
    assert answer.status_code == 400
    assert answer.json()["message"]


@pytest.mark.parametrize(
    "value",
    [
        "x' OR TRUE --",
        "P1') OR ('1'='1",
        '" OR Modality Exists OR PatientID StrEquals "',
        "%",
        "_",
        "%s",
        "\\",
        "P1;--",
    ],
)
def test_values_stay_values(archive, value):
    for key in ("PatientID", "StudyInstanceUID", "Modality", "RequestAttributesSequence.ScheduledProcedureStepID"):
        answer = raw(archive, "instances", archive.clara, params={key: value})
        assert answer.status_code == (400 if (key, value) == ("StudyInstanceUID", "\\") else 204), (key, value)


def test_xml_is_not_offered(archive):
    answer = raw(archive, "studies", accept='multipart/related; type="application/dicom+xml"')
    assert (answer.status_code, answer.json()["error"]) == (406, "not_acceptable")
    assert raw(archive, "studies?accept=application/json").headers["content-type"] == "application/json"


# ---- retrieve


def test_instances_are_byte_identical(archive, ada):
    for dataset in (archive.ct[0], archive.mr[0]):
        answer = raw(archive, path_of(dataset), accept='multipart/related; type="application/dicom"; transfer-syntax=*')
        ((kind, body),) = parts_of(answer)
        assert kind == "application/dicom"
        assert body == archive.files[dataset.SOPInstanceUID]
        got = ada.retrieve_instance(
            str(dataset.StudyInstanceUID), str(dataset.SeriesInstanceUID), str(dataset.SOPInstanceUID)
        )
        assert got == dataset
        single = raw(archive, path_of(dataset), accept="application/dicom")
        assert single.headers["content-type"] == "application/dicom"
        assert single.content == archive.files[dataset.SOPInstanceUID]


def test_studies_and_series_hold_what_each_may_see(archive, ada, clara):
    shared, series = str(archive.ct[0].StudyInstanceUID), str(archive.ct[0].SeriesInstanceUID)
    assert uids(ada.retrieve_study(shared)) == uids([*archive.ct[:6], archive.mr[2]])
    assert uids(clara.retrieve_study(shared)) == uids(archive.ct[:6])
    assert uids(clara.iter_series(shared, series)) == uids(archive.ct[:5])
    bodies = [body for _, body in parts_of(raw(archive, f"studies/{shared}", archive.clara))]
    assert sorted(bodies) == sorted(archive.files[uid] for uid in uids(archive.ct[:6]))


def test_foreign_and_unknown_are_the_same_404(archive, clara, nora):
    foreign, own = archive.mr[2], archive.ct[0]
    three = (str(foreign.StudyInstanceUID), str(foreign.SeriesInstanceUID), str(foreign.SOPInstanceUID))
    for client in (clara, nora):
        assert status(client.retrieve_instance, *three) == 404
        assert status(client.retrieve_instance_metadata, *three) == 404
        assert status(client.retrieve_instance_frames, *three, [1]) == 404
        assert status(client.retrieve_instance_rendered, *three) == 404
        assert status(client.retrieve_series, *three[:2]) == 404
        assert status(client.retrieve_series_metadata, *three[:2]) == 404
    assert status(clara.retrieve_study, str(archive.mr[0].StudyInstanceUID)) == 404
    assert status(nora.retrieve_study, three[0]) == 404
    words = set()
    # Hidden, unknown, and her own instance below another study or series.
    for path in (
        path_of(foreign),
        f"studies/{three[0]}/series/1.2.3/instances/1.2.3",
        f"studies/1.2.3/series/{own.SeriesInstanceUID}/instances/{own.SOPInstanceUID}",
        f"studies/{own.StudyInstanceUID}/series/{foreign.SeriesInstanceUID}/instances/{own.SOPInstanceUID}",
        f"studies/{three[0]}/series/{three[1]}/instances/{'1' * 4000}",
    ):
        for below in ("", "/metadata", "/frames/1", "/rendered", "/thumbnail", "/bulkdata/7FE00010"):
            answer = raw(archive, path + below, archive.clara)
            assert answer.status_code == 404, path + below
            words.add(answer.text)
    assert len(words) == 1


def test_transfer_syntaxes_are_never_changed(archive):
    path = path_of(archive.ct[0])
    ask = 'multipart/related; type="application/dicom"; transfer-syntax={}'
    assert raw(archive, path, accept=ask.format("1.2.840.10008.1.2.1")).status_code == 200
    for level in (path, path.partition("/instances")[0]):
        refused = raw(archive, level, accept=ask.format("1.2.840.10008.1.2.4.90"))
        assert (refused.status_code, refused.json()["error"]) == (406, "not_acceptable")
        assert "transfer-syntax=*" in refused.json()["hint"]


def test_metadata_are_the_header_with_addresses_for_bulk_data(archive, ada, clara):
    dataset = archive.ct[0]
    shared, series = str(dataset.StudyInstanceUID), str(dataset.SeriesInstanceUID)
    row = ada.retrieve_instance_metadata(shared, series, str(dataset.SOPInstanceUID))
    uri = row["7FE00010"]["BulkDataURI"]
    assert uri == f"{archive.served.url}dicom-web/{path_of(dataset)}/bulkdata/7FE00010"
    (pixels,) = ada.retrieve_bulkdata(uri)
    assert bytes(pixels) == dataset.PixelData
    got = pydicom.Dataset.from_json(row, bulk_data_uri_handler=lambda _: dataset.PixelData)
    assert got == pydicom.dcmread(io.BytesIO(archive.files[dataset.SOPInstanceUID]))
    assert len(ada.retrieve_study_metadata(shared)) == 7
    assert len(clara.retrieve_study_metadata(shared)) == 6
    numbers = [row["00200013"]["Value"][0] for row in clara.retrieve_series_metadata(shared, series)]
    assert sorted(numbers) == [1, 2, 3, 4, 5]


def test_read_only(archive):
    for method, path, code in (
        ("POST", "studies", 405),
        ("POST", f"studies/{archive.ct[0].StudyInstanceUID}", 405),
        ("DELETE", f"studies/{archive.ct[0].StudyInstanceUID}", 405),
        ("PUT", path_of(archive.ct[0]), 405),
        ("GET", "workitems", 501),
        ("POST", "workitems", 501),
    ):
        answer = archive.served.client.request(method, f"dicom-web/{path}", headers=archive.ada, content=b"x")
        assert answer.status_code == code, (method, path)
        assert answer.json()["message"]
    client = viewer(archive.served, archive.ada)
    assert status(client.store_instances, [archive.ct[0]]) == 405


# ---- pixels


@dataclass
class Shelf:
    """Images of many kinds behind a gateway of their own."""

    served: Served
    user: dict[str, str]
    images: dict[str, pydicom.Dataset]

    def get(self, name: str, below: str, accept: str | None = None) -> httpx.Response:
        headers = {**self.user, **({"Accept": accept} if accept else {})}
        return self.served.client.get(f"dicom-web/{path_of(self.images[name])}/{below}", headers=headers)


@pytest.fixture(scope="module")
def shelf(new_base, server_folder, tmp_path_factory) -> Iterator[Shelf]:
    from tests.fixtures.parts import _factory

    started: list = []
    research = _factory(server_folder, started)("shelf")
    base = new_base()
    stack = np.arange(3 * 16 * 16, dtype=np.int16).reshape(3, 16, 16)
    images = {"multi": image(pixels=stack), "ls": image(pixels=stack), "rle": image(), "none": image(modality="SR")}
    images["ls"].compress(JPEGLSLossless)
    images["rle"].compress(RLELossless)
    del images["none"].PixelData
    bits = image()
    bits.Rows, bits.Columns, bits.NumberOfFrames = 3, 5, 4
    bits.BitsAllocated, bits.BitsStored, bits.HighBit, bits.PixelRepresentation = 1, 1, 0, 0
    flags = np.random.default_rng(1).integers(0, 2, 60, dtype=np.uint8)
    bits.PixelData = np.packbits(flags, bitorder="little").tobytes()
    images["bits"] = bits
    nested = image()
    item = pydicom.Dataset()
    item.add_new(0x00420011, "OB", bytes(range(256)) * 8)
    item.add_new(0x00281052, "DS", "1")
    nested.ReferencedImageSequence = [pydicom.Dataset(), item]
    nested.add_new(0x00720074, "FD", float("nan"))
    images["nested"] = nested
    private = image()
    private.PixelData = encapsulate([b"\x00\x00\x00\x01" * 20])
    private.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.102"
    private["PixelData"].is_undefined_length = True
    images["video"] = private
    # A header of 2 MB before 9 MB of pixels, and a short one.
    images["long"] = image(pixels=np.zeros((1, 2200, 2200), np.int16), TextValue="x" * (2 << 20))
    images["large"] = image(pixels=np.zeros((1, 2200, 2200), np.int16))
    try:
        with indexing(IndexerSettings(base.indexer, research.url, poll=0.1)):
            for dataset in images.values():
                research.upload(as_bytes(dataset))
            with serving(gateway_settings(base, research.url, tmp_path_factory.mktemp("shelf"))) as served:
                user = served.tokens.add("ada")
                until(
                    lambda: served.get("count", user, level="instance").json().get("count") == len(images), "the index"
                )
                yield Shelf(served, user, images)
    finally:
        for server in started:
            server.stop()


def test_native_frames(shelf):
    stored = shelf.images["multi"].PixelData
    for accept in (None, "*/*", 'multipart/related; type="application/octet-stream"'):
        answer = shelf.get("multi", "frames/3,1", accept)
        assert parts_of(answer) == [
            ("application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1", stored[1024:1536]),
            ("application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1", stored[:512]),
        ]
    single = shelf.get("multi", "frames/2", "application/octet-stream")
    assert single.content == stored[512:1024]
    client = viewer(shelf.served, shelf.user)
    dataset = shelf.images["multi"]
    three = (str(dataset.StudyInstanceUID), str(dataset.SeriesInstanceUID), str(dataset.SOPInstanceUID))
    assert [bytes(frame) for frame in client.retrieve_instance_frames(*three, [1, 2])] == [
        stored[:512],
        stored[512:1024],
    ]


def test_encapsulated_frames(shelf):
    codestreams = list(pydicom.encaps.generate_frames(shelf.images["ls"].PixelData, number_of_frames=3))
    ask = 'multipart/related; type="{}"; transfer-syntax={}'
    syntax = str(JPEGLSLossless)
    for accept, kind in (
        (None, "image/jls"),
        ('multipart/related; type="image/jls"', "image/jls"),
        (ask.format("image/*", "*"), "image/jls"),
        (ask.format("application/octet-stream", "*"), "application/octet-stream"),
        (ask.format("application/octet-stream", syntax), "application/octet-stream"),
    ):
        parts = parts_of(shelf.get("ls", "frames/1,2,3", accept))
        assert parts == [(f"{kind}; transfer-syntax={syntax}", codestream) for codestream in codestreams], accept
    native = parts_of(shelf.get("ls", "frames/2", 'multipart/related; type="application/octet-stream"'))
    assert native == [
        (
            "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1",
            pixel_array(shelf.images["ls"], index=1).astype("<i2").tobytes(),
        )
    ]
    assert parts_of(shelf.get("rle", "frames/1"))[0][0].startswith("image/dicom-rle")
    assert parts_of(shelf.get("video", "frames/1"))[0][0].startswith("video/mp4")
    refused = shelf.get("ls", "frames/1", ask.format("image/jpeg", "*"))
    assert (refused.status_code, refused.json()["error"]) == (406, "not_acceptable")
    assert "image/jls" in refused.json()["hint"]
    assert shelf.get("video", "frames/1", 'multipart/related; type="application/octet-stream"').status_code == 422


def test_frames_of_single_bits_begin_at_a_byte(shelf):
    dataset = shelf.images["bits"]
    flags = np.unpackbits(np.frombuffer(dataset.PixelData, np.uint8), bitorder="little")[:60].reshape(4, 15)
    parts = parts_of(shelf.get("bits", "frames/1,2,3,4"))
    assert [body for _, body in parts] == [np.packbits(frame, bitorder="little").tobytes() for frame in flags]


def test_frames_that_are_not_there(shelf):
    for frames, code in (
        ("1,1,1,1", 400),
        ("4", 404),
        ("0", 404),
        ("1,4", 404),
        ("x", 400),
        ("1,,2", 400),
        ("-1", 400),
    ):
        answer = shelf.get("multi", f"frames/{frames}")
        assert answer.status_code == code, frames
        assert answer.json()["hint"]
    assert (shelf.get("none", "frames/1").status_code, shelf.get("none", "rendered").status_code) == (422, 422)


def test_bulk_data_inside_sequences(shelf):
    (row,) = shelf.get("nested", "metadata").json()
    uri = row["00081140"]["Value"][1]["00420011"]["BulkDataURI"]
    assert uri.endswith("/bulkdata/00081140.1.00420011")
    answer = httpx.get(uri, headers={**shelf.user, "Accept": "application/octet-stream"}, trust_env=False)
    assert answer.content == bytes(range(256)) * 8
    assert row["00720074"] == {"vr": "FD", "Value": [None]}
    json.loads(json.dumps(row, allow_nan=False))
    for path in ("00081140.7.00420011", "00420011", "00100010", "x", "00081140.1", "00081140"):
        assert shelf.get("nested", f"bulkdata/{path}").status_code == 404, path
    frames = list(pydicom.encaps.generate_frames(shelf.images["ls"].PixelData, number_of_frames=3))
    assert [body for _, body in parts_of(shelf.get("ls", "bulkdata/7FE00010"))] == frames


def test_headers_of_large_files_are_whole(shelf):
    for name in ("long", "large"):
        (row,) = shelf.get(name, "metadata").json()
        assert row["7FE00010"]["BulkDataURI"].endswith("/bulkdata/7FE00010")
        assert len(row.get("0040A160", {"Value": [""]})["Value"][0]) == (2 << 20 if name == "long" else 0)
    stored = as_bytes(shelf.images["large"])
    dataset = shelf.images["large"]
    series = f"studies/{dataset.StudyInstanceUID}/series/{dataset.SeriesInstanceUID}"
    # Larger than what is read ahead: it passes in pieces.
    answer = shelf.served.client.get(f"dicom-web/{series}", headers=shelf.user)
    assert [body for _, body in parts_of(answer)] == [stored]


def picture(answer: httpx.Response) -> Image.Image:
    assert answer.status_code == 200, answer.text
    return Image.open(io.BytesIO(answer.content))


def test_rendered_pictures_and_thumbnails(shelf):
    assert picture(shelf.get("multi", "rendered")).format == "JPEG"
    png = picture(shelf.get("multi", "frames/2/rendered?window=384,256,linear-exact", "image/png"))
    assert (png.format, png.size, png.mode) == ("PNG", (16, 16), "L")
    # Values 256 to 511 in a window from 256 to 512.
    assert list(png.tobytes()[:3]) == [0, 1, 2]
    assert np.asarray(png)[-1, -1] == 254
    fitted = picture(shelf.get("multi", "rendered?viewport=64,32", "image/png"))
    assert fitted.size == (32, 32)
    part = picture(shelf.get("multi", "rendered?viewport=8,8,4,4,8,8&window=384,256", "image/png"))
    whole = picture(shelf.get("multi", "rendered?window=384,256", "image/png"))
    assert part.tobytes() == whole.crop((4, 4, 12, 12)).tobytes()
    mirrored = picture(shelf.get("multi", "rendered?viewport=16,16,,,-16,&window=384,256", "image/png"))
    assert np.array_equal(np.asarray(mirrored), np.asarray(whole)[:, ::-1])
    for path in ("thumbnail", "frames/3/thumbnail"):
        assert max(picture(shelf.get("multi", path)).size) == 128
    for wrong in ("window=1", "window=a,b", "window=1,0", "viewport=9", "viewport=0,5", "quality=0", "size=5"):
        assert shelf.get("multi", f"rendered?{wrong}").status_code == 400, wrong
    assert shelf.get("multi", "rendered", "image/gif").status_code == 406
    assert "annotation" in shelf.get("multi", "rendered?annotation=patient").headers["warning"]


def test_thumbnails_of_studies_and_series(archive):
    dataset = archive.ct[0]
    study = f"studies/{dataset.StudyInstanceUID}"
    for path in (study, f"{study}/series/{dataset.SeriesInstanceUID}"):
        assert max(picture(raw(archive, f"{path}/thumbnail", archive.clara)).size) == 128
    assert raw(archive, f"studies/{archive.mr[0].StudyInstanceUID}/thumbnail", archive.clara).status_code == 404


# ---- audit, logs, browsers


def test_one_audit_line_each_and_nothing_of_the_parameters_in_the_log(archive, caplog):
    own, foreign = archive.ct[0], archive.mr[2]
    with caplog.at_level(logging.INFO):
        asked = raw(archive, "studies?PatientID=VERYSECRET", archive.clara)
        given = raw(archive, f"studies/{own.StudyInstanceUID}", archive.clara)
        denied = raw(archive, path_of(foreign) + "/frames/1", archive.clara)
    own_words = [record.getMessage() for record in caplog.records if not record.name.startswith(("httpx", "urllib3"))]
    assert [words for words in own_words if words.startswith("204 GET")]
    assert not [words for words in own_words if "VERYSECRET" in words]
    keys = ("action", "user", "decision", "query", "identifiers", "count", "status", "via")
    lines = []
    for answer in (asked, given, denied):
        (line,) = audit_lines(archive.base, answer.headers["x-request-id"])
        lines.append(tuple(line[key] for key in keys))
    study, foreign_uid = str(own.StudyInstanceUID), str(foreign.SOPInstanceUID)
    assert lines == [
        ("search", "clara", "allowed", "PatientID StrIn (VERYSECRET)", [], 0, 204, None),
        ("read_file", "clara", "allowed", None, [study], 6, 200, None),
        ("read_frame", "clara", "denied", None, [foreign_uid], None, 404, None),
    ]


def test_other_origins_only_where_configured(archive, tmp_path):
    origin = "https://viewer.example.org"
    assert not [name for name in raw(archive, "studies").headers if name.startswith("access-control")]
    settings = gateway_settings(archive.base, archive.orthanc.url, tmp_path, viewer_origins=(origin,))
    with serving(settings) as served:
        ada = served.tokens.add("ada")
        allowed = served.client.get("dicom-web/studies", headers={**ada, "Origin": origin})
        assert allowed.headers["access-control-allow-origin"] == origin
        assert allowed.headers["vary"] == "Origin"
        assert "X-Total-Count" in allowed.headers["access-control-expose-headers"]
        assert "access-control-allow-credentials" not in allowed.headers
        asked = served.client.options("dicom-web/studies", headers={"Origin": origin})
        assert (asked.status_code, asked.headers["access-control-allow-methods"]) == (204, "GET")
        for headers, path in (
            ({"Origin": "https://other.example.org"}, "dicom-web/studies"),
            ({"Origin": origin}, "me"),
        ):
            refused = served.client.options(path, headers=headers)
            assert refused.status_code == 401
            assert "access-control-allow-origin" not in refused.headers


def test_a_dead_archive_is_a_503_before_the_answer_begins(archive, orthanc_factory, tmp_path):
    dead = orthanc_factory("dead")
    settings = gateway_settings(archive.base, dead.url, tmp_path)
    dead.kill()
    dataset = archive.ct[0]
    with serving(settings) as served:
        ada = served.tokens.add("ada")
        for path in (
            path_of(dataset),
            f"studies/{dataset.StudyInstanceUID}",
            f"studies/{dataset.StudyInstanceUID}/metadata",
            f"{path_of(dataset)}/frames/1",
        ):
            answer = served.client.get(f"dicom-web/{path}", headers=ada)
            assert (answer.status_code, answer.json()["error"]) == (503, "archive_unavailable"), path


def test_an_unknown_study_of_an_unknown_user(archive):
    for headers in ({}, {"Authorization": "token made-up-token-0123456789"}):
        answer = archive.served.client.get(f"dicom-web/studies/{generate_uid()}", headers=headers)
        assert answer.status_code == 401
