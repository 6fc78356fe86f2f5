"""Files in parts, and instances that are larger than the memory they are cleaned in."""

from __future__ import annotations

import itertools
import mmap
import os
import struct
import sys
import tempfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from io import SEEK_CUR, SEEK_END
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian

from deid_service import Cleaned, Deidentifier, PseudonymKey, Refused, _scan, default_rules_path, load_rules
from deid_service._buffers import (
    LARGE,
    PartsReader,
    SpoolError,
    as_data,
    open_file,
    pieces,
    same_bytes,
    size_of,
    spool,
    write_parts,
)
from deid_service._scan import Scan, UnreadableError
from deid_service.engine import dataset_of
from deid_service.wire import read, reader
from tests.bench.memory import peak_of, write_multi_frame

from .conftest import ct_slice, to_bytes

PARTS = st.lists(st.binary(max_size=9).map(memoryview) | st.binary(max_size=9), max_size=5)


@given(PARTS, st.integers(1, 7))
def test_pieces_are_the_parts(parts, size):
    cut = list(pieces(parts, size))
    assert b"".join(cut) == b"".join(parts)
    assert all(len(piece) <= size for piece in cut)
    assert size_of(parts) == len(b"".join(parts))


@given(PARTS, st.binary(max_size=40), st.integers(1, 7))
def test_same_bytes_means_the_same_file(parts, other, size):
    whole = b"".join(parts)
    assert same_bytes(parts, pieces([whole], size))
    assert same_bytes(parts, [other]) == (whole == other)
    assert not same_bytes(parts, [whole, b"x"])


@given(PARTS)
def test_parts_are_written_one_after_another(parts):
    with tempfile.TemporaryFile() as file:
        write_parts(file.fileno(), parts)
        file.seek(0)
        assert file.read() == b"".join(parts)


def test_a_pipe_that_takes_little_at_a_time_gets_all_parts():
    source, target = os.pipe()
    with ThreadPoolExecutor(1) as pool, open(source, "rb") as reader:  # noqa: PTH123 - a descriptor
        read_back = pool.submit(reader.read)
        try:
            write_parts(target, [b"a" * 300_000, b"", memoryview(b"b" * 300_000)])
        finally:
            os.close(target)
        assert read_back.result() == b"a" * 300_000 + b"b" * 300_000


@given(PARTS, st.lists(st.tuples(st.integers(0, 50), st.integers(-1, 50))))
def test_parts_are_read_as_one_file(parts, places):
    file, whole = PartsReader(parts), b"".join(parts)
    for place, size in places:
        assert file.seek(place) == place
        assert file.read(size) == (whole[place:] if size < 0 else whole[place : place + size])
        assert file.tell() == max(place, min(len(whole), place + size if size >= 0 else len(whole)))
    assert file.seek(0, SEEK_END) == len(whole)
    file.seek(0)
    buffer = bytearray(len(whole) + 3)
    assert file.readinto(buffer) == len(whole)
    assert buffer[: len(whole)] == whole
    assert file.seek(0, SEEK_CUR) == len(whole)
    with pytest.raises(ValueError, match="before the start"):
        file.seek(-1)


@given(st.lists(st.binary(max_size=20), max_size=6), st.integers(0, 60))
def test_spooled_data_are_the_chunks_whatever_stays_in_memory(chunks, memory):
    data = spool(iter(chunks), memory)
    whole = b"".join(chunks)
    assert data[:] == whole
    assert isinstance(data, mmap.mmap) == (len(whole) > memory)


def test_what_fails_while_data_are_spooled_is_not_taken_for_a_full_disk():
    def chunks():
        yield b"x" * 10
        raise TimeoutError("from the network")

    with pytest.raises(TimeoutError):
        spool(chunks(), 5)


def test_full_temporary_folder_is_named(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/dev/full")
    with pytest.raises(SpoolError, match="TMPDIR"):
        spool([b"12345678"], 4)


def test_views_of_whole_data_are_not_copied(tmp_path):
    data = b"0123456789"
    assert as_data(memoryview(data)) is data
    assert as_data(memoryview(data)[2:5]) == b"234"
    assert as_data(bytearray(data)) == data
    (tmp_path / "large").write_bytes(bytes(LARGE))
    (tmp_path / "small").write_bytes(b"small")
    mapped = open_file(tmp_path / "large")
    assert isinstance(mapped, mmap.mmap)
    assert as_data(memoryview(mapped)) is mapped
    assert open_file(tmp_path / "small") == b"small"


# Cleaning


@pytest.fixture(scope="module")
def deidentifier() -> Deidentifier:
    return Deidentifier(load_rules(default_rules_path()), PseudonymKey(bytes(range(32))))


def test_mapped_file_gives_the_same_copy_as_bytes(deidentifier, tmp_path):
    original = to_bytes(ct_slice())
    path = tmp_path / "original.dcm"
    path.write_bytes(original)
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    plain = deidentifier.clean(original)
    for data in (mapped, memoryview(mapped), memoryview(original), bytearray(original)):
        outcome = deidentifier.clean(data)
        assert isinstance(outcome, Cleaned)
        assert outcome.data == plain.data
        assert outcome.changes == plain.changes


def test_pixels_are_a_view_of_the_original(deidentifier):
    dataset = ct_slice()
    dataset.add_new(0x7FE10010, "LO", "SOMEBODY")  # goes, and so nothing follows the pixels
    original = to_bytes(dataset)
    outcome = deidentifier.clean(original)
    head, pixels = outcome.parts
    assert isinstance(pixels, memoryview)
    assert pixels.obj is original
    assert outcome.data == head + bytes(pixels)
    assert outcome.size == len(outcome.data)


@given(st.data())
def test_copy_reads_the_same_however_its_pixels_are_cut(data):
    dataset = ct_slice()
    dataset.PixelData = bytes(range(64))
    dataset.Rows, dataset.Columns = 4, 8
    dataset.add_new(0xFFFAFFFA, "SQ", [])
    copy = to_bytes(dataset)
    source = read(copy)
    pixels = next(element for element in source.elements if element.tag == 0x7FE00010)
    header = {pixels.start} if data.draw(st.booleans()) else {pixels.start, pixels.value_start}
    cuts = data.draw(st.sets(st.integers(pixels.value_start, pixels.end), max_size=4))
    parts = [copy[: pixels.start]]
    for start, end in itertools.pairwise(sorted(cuts | header | {pixels.end})):
        piece = memoryview(copy)[start:end]
        parts.append(bytes(piece) if data.draw(st.booleans()) else piece)
    parts.append(copy[pixels.end :])
    whole, scan = Scan([copy]), Scan(parts)
    assert scan.top == whole.top
    assert scan.meta == whole.meta
    texts = {tag: whole.data[start:stop] for tag, _, start, stop in whole.entries}
    assert all(scan.data[start:stop] in (texts[tag], b"") for tag, _, start, stop in scan.entries)
    assert {tag for tag, _, start, stop in scan.entries if start == stop} - {0x7FE00010} <= {
        tag for tag, _, start, stop in whole.entries if start == stop
    }


@given(st.integers(132, 700), st.integers(1, 100))
def test_only_pixels_may_lie_in_a_view(start, length):
    copy = to_bytes(ct_slice())
    pixels = next(element for element in read(copy).elements if element.tag == 0x7FE00010)
    end = min(start + length, pixels.start)
    if start >= end:
        return
    with pytest.raises((UnreadableError, struct.error)):
        Scan([copy[:start], memoryview(copy)[start:end], copy[end:]])


def test_fragments_in_a_view_are_walked_to_their_end():
    dataset = ct_slice()
    dataset.PixelData = b"\xfe\xff\x00\xe0\0\0\0\0\xfe\xff\x00\xe0\x04\0\0\0abcd"
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    copy = to_bytes(dataset, "1.2.840.10008.1.2.5")
    pixels = next(element for element in read(copy).elements if element.tag == 0x7FE00010)
    head, view = copy[: pixels.start], memoryview(copy)[pixels.start :]
    assert Scan([head, view]).top == Scan([copy]).top
    for wrong in (view[:-8], view[:-1], memoryview(copy[pixels.start :] + b"x")):
        with pytest.raises(UnreadableError):
            Scan([head, wrong])


@given(
    st.lists(st.binary(max_size=30) | st.integers(0, 300).map(bytes), max_size=5).map(b"".join),
    st.integers(1, 60),
    st.integers(1, 60),
)
def test_deflated_data_set_is_inflated_whole_by_both_readers(content, piece, inflated):
    deflater = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    deflated = deflater.compress(content) + deflater.flush()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_scan, "_PIECE", piece)
        patch.setattr(_scan, "_INFLATED_PIECE", inflated)
        patch.setattr(reader, "_DEFLATED_PIECE", piece)
        patch.setattr(reader, "_INFLATED_PIECE", inflated)
        for padding in (b"", b"\0"):
            assert b"".join(_scan._inflated([b"head" + deflated, padding], 4)) == content
            assert b"".join(_scan._inflated([b"head", memoryview(deflated), padding], 4)) == content
            assert reader._inflate(b"head" + deflated + padding, 4)[:] == content
        for wrong in (deflated + b"\0x", deflated[:-1]):
            with pytest.raises((UnreadableError, zlib.error)):
                b"".join(_scan._inflated([b"head", wrong], 4))


def test_labels_of_a_large_file_see_all_but_its_bulk(tmp_path):
    path = tmp_path / "large.dcm"
    write_multi_frame(path, LARGE + 2**20)
    dataset = dataset_of(open_file(path))
    small = dcmread(path, stop_before_pixels=True)
    assert dataset.PatientName == small.PatientName
    assert dataset.NumberOfFrames == LARGE // 2**19 + 2
    assert 0x7FE00010 in dataset
    query = "Labels: [{Name: p, DICOMQueryFilter: 'PixelData Exists AND PatientID NotEmpty'}]\n"
    entry = "Transformations: [{Scope: {Labels: ALL}, RandomizeUID: {TagPatterns: '*/{UI}'}}]"
    rules = load_rules(f"{query}ScopeToForward: {{Labels: p}}\n{entry}\n")
    assert rules.labels_of(lambda: dataset) == ("ALL", "p")


@pytest.mark.parametrize("deflated", [False, True])
def test_large_instance_is_cleaned_within_little_memory(tmp_path, deflated):
    original, copy, key = tmp_path / "original.dcm", tmp_path / "copy.dcm", tmp_path / "key"
    PseudonymKey.generate(key)
    size = 128 * 2**20
    write_multi_frame(original, size)
    if deflated:
        _deflate(original)
    small = tmp_path / "small.dcm"
    small.write_bytes(to_bytes(ct_slice()))
    program = Path(sys.executable).with_name("rpacs-deid")
    little = peak_of([program, "file", small, tmp_path / "small.copy.dcm", "--key-file", key])
    assert peak_of([program, "file", original, copy, "--key-file", key]) - little < 60 * 2**20
    before, after = read(open_file(original)), read(open_file(copy))
    pixels = [next(element for element in one.elements if element.tag == 0x7FE00010) for one in (before, after)]
    views = [memoryview(one.data)[p.start : p.end] for one, p in zip((before, after), pixels, strict=True)]
    assert len(views[0]) >= size
    assert same_bytes(views[:1], pieces(views[1:]))


def _deflate(path: Path) -> None:
    """Compress a data set as a whole (PS3.5 A.5)."""
    dataset = dcmread(path, stop_before_pixels=True)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    data = open_file(path)
    start = read(data).elements[0].start
    head = to_bytes(ct_slice(), DeflatedExplicitVRLittleEndian)
    head = head[: 144 + int.from_bytes(head[140:144], "little")]
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    body = b"".join([*map(deflater.compress, pieces([memoryview(data)[start:]])), deflater.flush()])
    path.unlink()
    path.write_bytes(head + body + b"\0" * (len(body) % 2))


def test_instance_that_the_temporary_folder_does_not_take_is_refused(deidentifier, tmp_path, monkeypatch):
    path = tmp_path / "large.dcm"
    write_multi_frame(path, LARGE + 2**20)
    _deflate(path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(Refused, match="too_large: a large instance does not fit"):
        deidentifier.clean(path.read_bytes())
