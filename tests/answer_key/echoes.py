"""How else people write an identifier, and which of those forms the second look finds.

Each form of each identifier of invented patients is written into a copy that is clean otherwise, and the copy is
verified. What is not found is told too. The other side, alarms about nothing: every clean copy of the folder of shared
data is searched for what the headers of all the others say of their patients.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom import Dataset, config, dcmread

from deid_service import Cleaned, Deidentifier, PseudonymKey, Refused, load_rules
from deid_service.descriptors import PatientIdentifiers, identifiers_of
from deid_service.verify import verify
from deid_service.wire import Source, read
from tests.answer_key.policies import POLICIES
from tests.any_rules.instances import written

_COMMENTS = 0x00204000
_PRIVATE = 0x00991001
_ASCII = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "Ö": "Oe", "Ø": "Oe", "ø": "oe", "å": "aa", "é": "e"})
_BARE = str.maketrans({"ä": "a", "ö": "o", "ü": "u", "Ö": "O", "Ø": "O", "ø": "o", "å": "a", "é": "e", "ë": "e"})


@dataclass(frozen=True)
class Person:
    """A patient of whom a header speaks."""

    family: str
    given: str
    number: str
    order: str
    born: date
    seen: date


PEOPLE = (
    Person("Müllenbach", "Jürgen", "0047-1108", "A0778812", date(1964, 8, 12), date(2019, 3, 7)),
    Person("Østergaard", "Zoë", "PID-004711", "RAD/2019/0815", date(1951, 11, 30), date(2018, 12, 24)),
    Person("O'Callaghan", "Maeve", "00081546", "55-019-332", date(1988, 2, 3), date(2020, 10, 5)),
    Person("Nowak-Lisowska", "Agnieszka", "M 734 512", "ACC.90210.1", date(1939, 5, 6), date(2021, 1, 2)),
    Person("Sokolov", "Dmitri", "7745120", "2019070815", date(1972, 7, 19), date(2022, 6, 28)),
    Person("García López", "María José", "HN0099812", "E-554433", date(2001, 9, 9), date(2023, 4, 17)),
)


def echoes(person: Person) -> Iterator[tuple[str, str, int, str, Any]]:
    """Yield kind, form, tag, value representation and value."""
    family, given = person.family, person.given
    names = {
        "as in the header": f"{family}^{given}",
        "upper case": f"pat {family.upper()}",
        "lower case": f"pat {family.lower()}",
        "umlauts spelled out": f"pat {family.translate(_ASCII)}",
        "without accents": f"pat {family.translate(_BARE)}",
        "given name alone": f"for {given}",
        "glued by underscores": f"ct_{family}_{given}_1",
        "glued by carets": f"ct^{family.lower()}^{given}",
        "family name first, comma": f"{family},{given}",
        "run together": f"{family}{given}".replace(" ", ""),
        "run together, given name first": f"{given}{family}".replace(" ", "").lower(),
        "stuck to digits": f"{family.lower()}1",
        "an initial stuck to it": f"{given[0]}{family}".lower(),
        "inside a longer word": f"{family}sche Methode",
        "initial and family name": f"{given[0]}.{family}",
    }
    for form, text in names.items():
        yield "name", form, _COMMENTS, "LT", text
    for value, kind in ((person.number, "patient's number"), (person.order, "order number")):
        bare = re.sub("[^A-Za-z0-9]", "", value)
        digits = re.sub("[^0-9]", "", value)
        forms = {
            "as in the header": f"no {value}",
            "without separators": f"no {bare}",
            "lower case": f"no {value.lower()}",
            "without leading zeros": f"no {bare.lstrip('0')}" if bare.startswith("0") else "",
            "digits alone": f"no {digits}",
            "digits without leading zeros": f"no {digits.lstrip('0')}",
            "with spaces": "no " + " ".join(re.findall("[0-9]+|[A-Za-z]+", value)),
            "inside a file's name": f"IM_{bare}_001.dcm",
        }
        for form, text in forms.items():
            if text:
                yield kind, form, _COMMENTS, "LT", text
        if 6 <= len(digits.lstrip("0")) <= 9:
            yield kind, "an integer string", _PRIVATE, "IS", digits.lstrip("0")
            yield kind, "a number (UL)", _PRIVATE, "UL", int(digits)
    for day, kind in ((person.born, "date of birth"), (person.seen, "date of the study")):
        d, m, y = day.day, day.month, day.year
        forms = {
            "20190307": f"{day:%Y%m%d}",
            "2019-03-07": f"{day:%Y-%m-%d}",
            "2019/03/07": f"{day:%Y/%m/%d}",
            "2019.3.7": f"{y}.{m}.{d}",
            "2019-03-07T10:11": f"{day:%Y-%m-%d}T10:11",
            "07.03.2019": f"{day:%d.%m.%Y}",
            "7.3.2019": f"{d}.{m}.{y}",
            "03/07/2019": f"{day:%m/%d/%Y}",
            "7 Mar 2019": f"{d} {day:%b} {y}",
            "07-MAR-2019": f"{day:%d-%b-%Y}".upper(),
            "07Mar2019": f"{day:%d%b%Y}",
            "Mar 7, 2019": f"{day:%b} {d}, {y}",
            "7th March 2019": f"{d}th {day:%B} {y}",
            "IM_20190307_1": f"IM_{day:%Y%m%d}_1",
            "ct20190307": f"ct{day:%Y%m%d}",
            "20190307101112": f"{day:%Y%m%d}101112",
            "07032019": f"{day:%d%m%Y}",
            "07.03.19": f"{day:%d.%m.%y}",
            "7.3.19": f"{d}.{m}.{y % 100:02}",
            "3/7/19": f"{m}/{d}/{y % 100:02}",
            "7 Mar 19": f"{d} {day:%b} {y % 100:02}",
            "07-MAR-19": f"{day:%d-%b-%y}".upper(),
            "190307": f"{day:%y%m%d}",
            "070319": f"{day:%d%m%y}",
        }
        for form, text in forms.items():
            yield kind, form, _COMMENTS, "LT", f"on {text} again"
        yield kind, "a decimal string", _PRIVATE, "DS", f"{day:%Y%m%d}"
        yield kind, "a decimal string with the time", _PRIVATE, "DS", f"{day:%Y%m%d}101112"
        yield kind, "several integer strings", _PRIVATE, "IS", [y, m, d]
        yield kind, "a number (UL)", _PRIVATE, "UL", int(f"{day:%Y%m%d}")
        yield kind, "a number (FD)", _PRIVATE, "FD", float(f"{day:%Y%m%d}")
        yield kind, "three numbers (US)", _PRIVATE, "US", [y, m, d]
        yield (
            kind,
            "bytes, seconds since 1970",
            _PRIVATE,
            "OB",
            struct.pack("<I", (day - date(1970, 1, 1)).days * 86400 % 2**32),
        )


def header(person: Person) -> Dataset:
    """Return an instance of a patient."""
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    dataset.SOPInstanceUID, dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3.4", "1.2.3.5", "1.2.3.6"
    dataset.PatientName = f"{person.family}^{person.given}"
    dataset.PatientID, dataset.AccessionNumber = person.number, person.order
    dataset.PatientBirthDate, dataset.StudyDate = f"{person.born:%Y%m%d}", f"{person.seen:%Y%m%d}"
    return dataset


def is_found(person: Person, tag: int, vr: str, value: Any) -> bool:
    """Tell whether the second look finds what is planted into a copy that is clean otherwise."""
    original = written(header(person))
    outcome = Deidentifier(load_rules(POLICIES[-1].path), PseudonymKey(bytes(range(32)))).clean(original)
    assert isinstance(outcome, Cleaned)
    copy = dcmread(BytesIO(outcome.data))
    if tag == _PRIVATE:
        copy.add_new(0x00990010, "LO", "ECHO")
    with config.disable_value_validation():
        copy.add_new(tag, vr, value)
    buffer = BytesIO()
    copy.save_as(buffer, enforce_file_format=True)
    try:
        verify([buffer.getvalue()], [int(element.tag) for element in copy], read(original))
    except Refused as refusal:
        return refusal.reason_code == "identifier_left"
    return False


def measure() -> dict[tuple[str, str], tuple[int, int]]:
    """Return by kind and form how many were found, of how many."""
    counted: dict[tuple[str, str], tuple[int, int]] = {}
    for person in PEOPLE:
        for kind, form, tag, vr, value in echoes(person):
            found, total = counted.get((kind, form), (0, 0))
            counted[(kind, form)] = found + is_found(person, tag, vr, value), total + 1
    return counted


NOT_FOUND = {
    ("name", "given name alone"): "three letters are too few",
    ("name", "run together, given name first"): "likewise, where the middle name stands between",
    ("name", "an initial stuck to it"): "likewise, with a name of two words",
    ("name", "inside a longer word"): "by design: another word",
    ("patient's number", "digits without leading zeros"): "fewer than six digits without the letters",
    ("order number", "an integer string"): "more than nine digits, of which the header's form has separators",
    ("order number", "a number (UL)"): "likewise",
    ("date of birth", "bytes, seconds since 1970"): "not looked for",
    ("date of the study", "bytes, seconds since 1970"): "not looked for",
    ("date of the study", "190307"): "by design: as often a time of day; of the date of birth it is found",
    ("date of the study", "070319"): "likewise",
}
"""Forms that are not always found, and why."""


@dataclass
class Alarms:
    """What the second look says of clean copies when it is told somebody else's identifiers.

    Attributes
    ----------
    pairs
        Copies times strangers' headers.
    alarms
        Pairs in which it found something.
    held
        Originals that are refused by its own rules file for an identifier that is left, of all that are read.
    copies, headers
        How many there are.
    """

    pairs: int = 0
    alarms: int = 0
    held: int = 0
    copies: int = 0
    headers: int = 0


def false_alarms(corpus: Sequence[Path]) -> Alarms:
    """Search every clean copy for what the headers of unrelated files say of their patients."""
    deidentifier = Deidentifier(load_rules(POLICIES[-1].path), PseudonymKey(bytes(range(32))))
    result = Alarms()
    copies: list[tuple[bytes, Source]] = []
    headers: dict[PatientIdentifiers, Source] = {}
    for path in corpus:
        data = path.read_bytes()
        try:
            source = read(data)
            headers.setdefault(identifiers_of(source), source)
            outcome = deidentifier.clean(data)
        except Refused as refusal:
            result.held += refusal.reason_code == "identifier_left"
            continue
        if isinstance(outcome, Cleaned):
            copies.append((outcome.data, source))
    for copy, source in copies:
        tags = [element.tag for element in read(copy).elements]
        own = identifiers_of(source)
        for other, stranger in headers.items():
            if other is own or other.names & own.names or other.ids & own.ids or other.dates & own.dates:
                continue  # the same patient, or one of the same study
            result.pairs += 1
            try:
                verify([copy], tags, stranger, other)
            except Refused:
                result.alarms += 1
    result.copies, result.headers = len(copies), len(headers)
    return result


if __name__ == "__main__":
    for (kind, form), (found, total) in measure().items():
        print(f"{kind:20} {form:35} {found}/{total}{'' if found == total else '   <'}")  # noqa: T201
