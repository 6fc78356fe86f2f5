"""Keeps score: reads what became of the planted files with pydicom and searches it as bytes."""

from __future__ import annotations

import warnings
import zlib
from collections import Counter
from dataclasses import dataclass, field
from datetime import date
from io import BytesIO

from pydicom import Dataset, dcmread
from pydicom.dataelem import DataElement

from tests.answer_key.plants import Check, Path_, Planted, text_of
from tests.answer_key.policies import Policy

ACTIONS = (
    "tag_retained",
    "text_notnull",
    "text_retained",
    "text_removed",
    "date_shifted",
    "uid_changed",
    "uid_consistent",
    "patid_consistent",
)
"""Those of MIDI-B that do not look at pixels."""


@dataclass
class Score:
    """The tally of one run.

    Attributes
    ----------
    passed, total
        By action.
    failures
        File, check and what was found instead, in words.
    held
        Files that were refused although they should have come through.
    """

    policy: Policy
    passed: Counter[str] = field(default_factory=Counter)
    total: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[str, Check, str]] = field(default_factory=list)
    held: list[tuple[str, str]] = field(default_factory=list)
    files: int = 0
    _uids: dict[str, str] = field(default_factory=dict)
    _origins: dict[str, str] = field(default_factory=dict)
    _patients: dict[str, str] = field(default_factory=dict)
    _offsets: dict[int, int] = field(default_factory=dict)

    def add(self, planted: Planted, clean: bytes | None, reason: str = "") -> None:
        """Score one file.

        Parameters
        ----------
        planted
            What went in.
        clean
            What came out; None if it was held back.
        reason
            Why it was.
        """
        self.files += 1
        if clean is None:
            if not planted.may_be_held:
                self.held.append((planted.name, reason))
            for check in planted.checks:
                if planted.may_be_held and check.action != "text_removed":
                    continue
                self._count(planted, check, "" if check.action == "text_removed" else "held back")
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = dcmread(BytesIO(clean))
            searched = searched_bytes(clean, dataset)
            for check in planted.checks:
                self._count(planted, check, self._fault(planted, check, dataset, searched))

    def _count(self, planted: Planted, check: Check, fault: str) -> None:
        action = check.action.removesuffix("_word")
        self.total[action] += 1
        if fault:
            self.failures.append((planted.name, check, fault))
        else:
            self.passed[action] += 1

    def _fault(self, planted: Planted, check: Check, dataset: Dataset, searched: bytes) -> str:
        """Return what is wrong; empty if nothing is."""
        element = _find(dataset, check.path) if check.path else None
        value = "" if element is None else text_of(element.value)
        match check.action:
            case "tag_retained":
                return "absent" if element is None else ""
            case "text_notnull":
                return "" if value else "empty"
            case "text_retained":
                return "" if value == check.value else "changed"
            case "text_retained_word":
                return "" if check.value in value.split() else "the word is gone"
            case "text_removed" if not check.path:
                return "in the file" if any(form in searched for form in _forms(check.value)) else ""
            case "text_removed" if not check.value:
                return "present" if element is not None else ""
            case "text_removed":
                return "still there" if check.value.lower() in value.lower() else ""
            case "date_shifted":
                return self._date_fault(planted, check.value, value)
            case "uid_changed":
                return "the same" if check.value in value.split("\\") else ""
            case "uid_consistent":
                return self._uid_fault(check, element, value)
            case "patid_consistent":
                return "" if value and self._patients.setdefault(check.value, value) == value else "another pseudonym"
        raise AssertionError(check.action)

    def _date_fault(self, planted: Planted, original: str, value: str) -> str:
        try:
            days = (_day(value) - _day(original)).days
        except ValueError:
            return "no date"
        if value[8:].rstrip("0").rstrip(".") != original[8:].rstrip("0").rstrip("."):
            return "the time of day changed"
        if not days:
            return "not moved"
        return (
            "" if self._offsets.setdefault(planted.patient.number, days) == days else "moved by another number of days"
        )

    def _uid_fault(self, check: Check, element: DataElement | None, value: str) -> str:
        if element is None or not value or "\\" in value:
            return ""
        if self._uids.setdefault(check.value, value) != value:
            return "two UIDs for one"
        return "" if self._origins.setdefault(value, check.value) == check.value else "one UID for two"

    def table(self) -> str:
        """Return the tally as a Markdown table."""
        lines = ["| action | checks | passed | score |", "|---|---:|---:|---:|"]
        for action in ACTIONS:
            total, passed = self.total[action], self.passed[action]
            if total:
                lines.append(f"| {action} | {total:,} | {passed:,} | {100 * passed / total:.2f} % |")
        total, passed = self.total.total(), self.passed.total()
        lines.append(f"| **all** | **{total:,}** | **{passed:,}** | **{100 * passed / total:.2f} %** |")
        return "\n".join(lines)


def searched_bytes(data: bytes, dataset: Dataset) -> bytes:
    """Return everything in a file but its own pixels, lower case, inflated."""
    if dataset.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1.99":
        start = data.index(b"\x02\x00\x00\x00UL") + 12
        start += int.from_bytes(data[start - 4 : start], "little")
        data = data[:start] + zlib.decompress(data[start:], -15)
    pixels = dataset.get("PixelData")
    if isinstance(pixels, bytes) and len(pixels) > 64:
        data = data.replace(pixels, b"")
    return data.lower()


def _forms(word: str) -> set[bytes]:
    lower = word.lower()
    return {lower.encode(), lower.encode("latin-1", "replace"), lower.encode("utf-16-le")}


def _day(value: str) -> date:
    return date(int(value[:4]), int(value[4:6]), int(value[6:8]))


def _find(dataset: Dataset, path: Path_) -> DataElement | None:
    for tag, item in path[:-1]:
        sequence = dataset.get(tag)
        if sequence is None or sequence.VR != "SQ" or len(sequence.value) <= item:
            return None
        dataset = sequence.value[item]
    return dataset.get(path[-1][0], None)
