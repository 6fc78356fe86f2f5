"""Documents inside instances: told by their first bytes, replaced by empty ones."""

from __future__ import annotations

import gzip
import re
import struct
import zipfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydicom import Dataset, dcmread

from deid_service import Refused
from deid_service.pixels.documents import kind_of_bytes, strip_document
from deid_service.wire import Element, Source, read

ROOT = "1.2.840.10008.5.1.4.1.1.104."


def saved(kind: str, **options: Any) -> bytes:
    buffer = BytesIO()
    Image.fromarray(np.arange(768, dtype=np.uint8).reshape(16, 16, 3)).save(buffer, kind, **options)
    return buffer.getvalue()


def zipped() -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.txt", "Mustermann")
    return buffer.getvalue()


KINDS = {
    "JPEG": saved("JPEG"),
    "PNG": saved("PNG"),
    "GIF": saved("GIF"),
    "TIFF": saved("TIFF"),
    "bitmap": saved("BMP"),
    "WEBP": saved("WEBP"),
    "JPEG 2000": saved("JPEG2000"),
    "PDF": saved("PDF"),
    "gzip": gzip.compress(b"Mustermann"),
    "zip": zipped(),
    "XML": b'<?xml version="1.0"?><a/>',
    "CDA": b'  <ClinicalDocument xmlns="urn:hl7-org:v3"/>',
    "RTF": b"{\\rtf1 Mustermann}",
    "DICOM": bytes(128) + b"DICM" + bytes(8),
    "WAVE": b"RIFF\x24\0\0\0WAVEfmt ",
    "MP4": b"\0\0\0\x18ftypmp42",
}


@pytest.mark.parametrize("kind", KINDS)
def test_kinds(kind: str) -> None:
    assert kind_of_bytes(KINDS[kind]) == kind
    assert kind_of_bytes(memoryview(KINDS[kind] + b"\0")) == kind
    assert kind_of_bytes(KINDS[kind][:5]) == ""


@pytest.mark.parametrize("kind", ["PNG", "PDF", "zip", "CDA"])
def test_a_header_of_the_vendor_in_front_hides_nothing(kind: str) -> None:
    assert kind_of_bytes(b"SV10\4\3\2\1" + bytes(500) + KINDS[kind]) == kind


@given(st.lists(st.sampled_from(b"\0\1\2\x7f\x80\xfe"), max_size=64))
def test_other_bytes_are_nothing(data: list[int]) -> None:
    assert kind_of_bytes(bytes(data)) == ""


def document(instance: Dataset, kind: str, media_type: str | None, value: bytes = b"Mustermann" * 9) -> Dataset:
    for keyword in ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "SamplesPerPixel"):
        delattr(instance, keyword)
    del instance.PixelRepresentation, instance.PhotometricInterpretation, instance.PixelData
    instance.SOPClassUID = ROOT + kind
    instance.Modality = "DOC"
    instance.EncapsulatedDocument = value
    instance.EncapsulatedDocumentLength = len(value)
    if media_type is not None:
        instance.MIMETypeOfEncapsulatedDocument = media_type
    return instance


def stripped(data: bytes) -> Dataset:
    source = strip_document(read(data))
    result = bytes(source.data)
    again = read(result)
    assert [(element.tag, element.value_start, element.end) for element in again.elements] == [
        (element.tag, element.value_start, element.end) for element in source.elements
    ]
    return dcmread(BytesIO(result))


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"])
@pytest.mark.parametrize(
    ("kind", "media_type", "start"),
    [
        ("1", "application/pdf", b"%PDF-1.4\n"),
        ("1", None, b"%PDF-1.4\n"),
        ("3", "model/stl", b"Document removed"),
        ("4", "model/obj", b"# Document removed"),
        ("5", "model/mtl", b"# Document removed"),
    ],
)
def test_strip(
    syntax: str,
    kind: str,
    media_type: str | None,
    start: bytes,
    instance: Dataset,
    written: Callable[..., bytes],
) -> None:
    data = written(document(instance, kind, media_type), syntax)
    result = stripped(data)
    assert result.EncapsulatedDocument.startswith(start)
    assert b"Mustermann" not in result.EncapsulatedDocument
    assert result.EncapsulatedDocumentLength in (
        len(result.EncapsulatedDocument),
        len(result.EncapsulatedDocument) - 1,
    )
    assert len(result.EncapsulatedDocument) % 2 == 0
    assert result.PatientName == instance.PatientName


def test_the_pdf_is_one(instance: Dataset, written: Callable[..., bytes]) -> None:
    data = written(document(instance, "1", "application/pdf"))
    pdf: bytes = stripped(data).EncapsulatedDocument.rstrip(b"\0")
    table = int(pdf.split(b"startxref\n")[1].split(b"\n")[0])
    assert pdf[table:].startswith(b"xref\n0 6\n0000000000 65535 f \n")
    offsets = re.findall(rb"(\d{10}) 00000 n \n", pdf[table:])
    for number, offset in enumerate(offsets, 1):
        assert pdf[int(offset) :].startswith(b"%d 0 obj\n" % number)
    stream = re.search(rb"/Length (\d+) >>\nstream\n(.*)\nendstream", pdf)
    assert stream is not None
    assert int(stream[1]) == len(stream[2])
    assert pdf.endswith(b"%%EOF\n")


def test_the_mesh_has_no_triangle(instance: Dataset, written: Callable[..., bytes]) -> None:
    data = written(document(instance, "3", "model/stl"))
    mesh = stripped(data).EncapsulatedDocument
    assert len(mesh) == 84
    assert struct.unpack_from("<I", mesh, 80) == (0,)


@pytest.mark.parametrize(("kind", "media_type"), [("2", "text/XML"), ("1", "image/jpeg"), ("9", None)])
def test_other_kinds_cannot_be_stripped(
    kind: str, media_type: str | None, instance: Dataset, written: Callable[..., bytes]
) -> None:
    with pytest.raises(Refused) as refused:
        strip_document(read(written(document(instance, kind, media_type))))
    assert refused.value.reason_code == "encapsulated_document"


@pytest.mark.parametrize("rules", ["basic", "research", "none"])
def test_rules_for_documents(
    rules: str, clean: Callable[..., Any], fresh_instance: Callable[[], Dataset], written: Callable[..., bytes]
) -> None:
    profile = {"basic": "Profile: {Name: Basic}", "research": "Profile: {Name: Basic, Options: [CleanDescriptors]}"}
    data = written(document(fresh_instance(), "1", "application/pdf", KINDS["PDF"]))
    for choice, start in (("Strip", b"%PDF-1.4\n1 0 obj"), ("Allow", KINDS["PDF"])):
        text = (
            f"ScopeToForward: {{Labels: ALL}}\n{profile.get(rules, '')}\n"
            f"Transformations: [{{Scope: {{Labels: ALL}}, EncapsulatedDocuments: {choice},"
            " RandomizeText: [{TagPatterns: [PatientName, PatientID]}]}]\n"
        )
        if rules == "none":
            text = text.replace("RandomizeText", "RandomizeUID: [{TagPatterns: '*/{UI}'}], RandomizeText")
        assert clean(text, data).EncapsulatedDocument.startswith(start)
    with pytest.raises(Refused) as refused:
        clean("RandomizeText: [{TagPatterns: [PatientName, PatientID]}]", data)
    assert refused.value.reason_code == "encapsulated_document"


def test_what_follows_a_stripped_document_moves_with_it(instance: Dataset, written: Callable[..., bytes]) -> None:
    document(instance, "1", "application/pdf")
    item = Dataset()
    item.TextValue = "Mustermann"
    instance.add_new(0x00480100, "SQ", [item])
    instance.PixelPaddingValue = 3
    source = strip_document(read(written(instance)))
    last = source.elements[-1]
    assert last.items is not None
    assert bytes(source.value(last.items[0].elements[0])) == b"Mustermann"


@pytest.mark.parametrize("rule", ["", "RandomizeUID: [{TagPatterns: StudyInstanceUID}]"])
@pytest.mark.parametrize("kind", ["JPEG", "zip"])
def test_a_picture_in_a_private_element_is_refused_unless_a_rule_deletes_it(
    kind: str, rule: str, clean: Callable[..., Any], instance: Dataset
) -> None:
    block = instance.private_block(0x0029, "ACME IMAGING", create=True)
    block.add_new(0x10, "OB", KINDS[kind] + b"\0" * (len(KINDS[kind]) % 2))
    empty = "AddTags: [{Tag: PatientIdentityRemoved, VR: CS, Value: 'YES'}]"
    with pytest.raises(Refused) as refused:
        clean(f"{rule or empty}", instance)
    assert refused.value.reason_code == "encapsulated_document"
    assert kind in refused.value.message
    result = clean("DeleteTags: [{TagPatterns: '0029{ACME IMAGING}XX', Action: Remove}]", instance)
    assert 0x00291010 not in result


def byte_values(source: Source, elements: list[Element]) -> Iterator[bytes]:
    for element in elements:
        if element.items is not None:
            for item in element.items:
                yield from byte_values(source, item.elements)
        elif element.vr in ("OB", "OW", "UN", "OL", "OV") and element.tag >> 16 != 0x7FE0:
            yield bytes(source.value(element))


def test_nothing_is_suspected_in_real_files(shared_data: Path) -> None:
    number = 0
    for path in sorted((shared_data / "dicom").rglob("*.dcm")):
        if "60slices" in str(path) or "35slices" in str(path):
            continue
        try:
            source = read(path.read_bytes())
        except Refused:
            continue
        for value in byte_values(source, source.elements):
            assert kind_of_bytes(value) == "", path.name
            number += 1
    assert number > 1000
