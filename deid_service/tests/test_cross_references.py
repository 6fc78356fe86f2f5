"""What referred to one another before still does afterwards: SEG, SR, RT, PR and all others find their images."""

from __future__ import annotations

import io
import warnings
from collections import Counter
from collections.abc import Iterator

import pydicom
import pytest

from deid_service import Cleaned, Deidentifier, PseudonymKey, Refused

Place = tuple[int, ...]

_NAMES = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")


def _uids(dataset: pydicom.Dataset, path: Place = ()) -> Iterator[tuple[Place, list[str]]]:
    for element in dataset:
        if element.VR == "SQ":
            for index, item in enumerate(element.value):
                yield from _uids(item, (*path, int(element.tag), index))
        elif element.VR == "UI" and element.value:
            values = element.value if element.VM > 1 else [element.value]
            yield (*path, int(element.tag)), [str(value) for value in values]


@pytest.mark.parametrize("name", ["basic", "research"])
def test_references_between_real_files_resolve_after_cleaning(shared_data, tmp_path, name, header_rules):
    deidentifier = Deidentifier(header_rules(name), PseudonymKey.generate(tmp_path / "key"))
    pairs, unreadable = [], []
    for path in sorted((shared_data / "dicom").rglob("*")):
        if not path.is_file():
            continue
        data = path.read_bytes()
        try:
            outcome = deidentifier.clean(data)
        except Refused:
            continue
        assert isinstance(outcome, Cleaned)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # real files break rules that pydicom warns about
            try:
                before = dict(_uids(pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True)))
            except OSError:
                unreadable.append(path.name)
                continue
            after = dict(_uids(pydicom.dcmread(io.BytesIO(outcome.data), stop_before_pixels=True)))
        pairs.append((path.name, before, after))
    # pydicom gives up inside one original: UN of undefined length, big endian.
    assert len(unreadable) <= 1

    became: dict[str, str] = {}
    tags = [pydicom.datadict.tag_for_keyword(keyword) for keyword in _NAMES]
    for _, before, after in pairs:
        for tag in tags:
            if (tag,) in before and (tag,) in after:
                assert became.setdefault(before[tag,][0], after[tag,][0]) == after[tag,][0]
    assert len(set(became.values())) == len(became), "two objects became one"

    seen: Counter[str] = Counter()
    for file, before, after in pairs:
        for place, values in before.items():
            if place[0] in tags or not any(value in became for value in values):
                continue
            if place not in after:
                seen["gone with its sequence"] += 1
                continue
            assert after[place] == [became.get(value, new) for value, new in zip(values, after[place], strict=True)], (
                file
            )
            seen["resolves"] += 1
    # Guards against a test that looks at nothing.
    assert seen["resolves"] > 200, seen
    assert seen["gone with its sequence"] < seen["resolves"], seen
