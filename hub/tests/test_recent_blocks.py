"""Documents that are remembered are those of the very files that are asked about."""

from __future__ import annotations

import psycopg
from pydicom.uid import generate_uid

from hub.tests.support import as_bytes, gateway_settings, image, indexing, serving, until
from rpacs_hub.index._draft import Draft
from rpacs_hub.index._recent import RecentBlocks
from rpacs_hub.index._rows import BlockContents
from rpacs_hub.settings import IndexerSettings


def block(*numbers: int) -> BlockContents:
    return BlockContents(Draft(len(numbers), {"00200013": [str(number) for number in numbers]}), frozenset())


def test_a_document_is_that_of_the_same_file_at_the_same_place():
    recent = RecentBlocks()
    recent.keep(7, block(11, 12), {1: b"first", 2: b"second"})
    assert recent.document(7, 2, b"second", "1.2") == block(11, 12).document(2, "1.2")
    assert recent.document(7, 1, b"second", "1.2") is None
    assert recent.document(7, 2, b"stored anew", "1.2") is None
    assert recent.document(8, 2, b"second", "1.2") is None
    recent.keep(7, block(13), {1: b"third"})
    assert recent.document(7, 1, b"first", "1.2") is None
    assert recent.document(7, 1, b"third", "1.2") == block(13).document(1, "1.2")


def test_it_holds_so_many_instances_and_forgets_what_was_used_least():
    recent = RecentBlocks(instances=4)
    for number in (1, 2):
        recent.keep(number, block(1, 2), {1: b"%d a" % number, 2: b"%d b" % number})
    assert recent.document(1, 1, b"1 a", "x") is not None
    recent.keep(3, block(1), {1: b"3 a"})
    assert recent.document(2, 1, b"2 a", "x") is None
    assert recent.document(1, 2, b"1 b", "x") is not None
    assert recent.document(3, 1, b"3 a", "x") is not None


def test_an_image_that_is_replaced_is_judged_by_what_it_says_now(base, orthanc_factory, tmp_path):
    research = orthanc_factory("replaced", OverwriteInstances=True)
    series = generate_uid()
    slices = [image(series=series, study=generate_uid(), number=number) for number in (1, 2)]
    for dataset in slices[1:]:
        dataset.StudyInstanceUID = slices[0].StudyInstanceUID
    settings = IndexerSettings(base.indexer, research.url, poll=0.1, reconcile=0.5, verify=0.5)
    with indexing(settings), serving(gateway_settings(base, research.url, tmp_path)) as served:
        clara = served.tokens.add("clara", "ct-researchers")
        for dataset in slices:
            research.upload(as_bytes(dataset))

        def status(number: int) -> int:
            return served.get(f"instances/{slices[number].SOPInstanceUID}/tags", clara).status_code

        until(lambda: _counted(base.gateway) == 2, "both in the index")
        assert (status(0), status(1)) == (200, 200)
        slices[1].Modality = "MR"  # which clara may not see
        research.upload(as_bytes(slices[1]))
        until(lambda: status(1) == 404, "the new header")
        assert status(0) == 200


def _counted(url: str) -> int:
    with psycopg.connect(url) as connection:
        try:
            return connection.execute("SELECT count(*) FROM pacs.instance").fetchone()[0]
        except psycopg.errors.UndefinedTable:
            return 0
