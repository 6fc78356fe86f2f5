"""Studies under somebody's name, and the proof that nothing of her is left."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pydicom.data
from pydicom.uid import UID, generate_uid


@dataclass(frozen=True)
class Person:
    """An invented patient."""

    name: str
    patient_id: str
    birth_date: str
    accession_number: str


ANTONIA = Person("ZWEIFELHOFER^ANTONIA^MARIE", "MRN-7741902", "19611103", "ACC55120937")
BERTHOLD = Person("QUANTSCHNIGG^BERTHOLD", "MRN-2018846", "19480219", "ACC90417733")
CELESTE = Person("OBERRAUTER^CELESTE", "MRN-5530127", "19830627", "ACC61208845")


def under_name(source: Path, person: Person, target: Path, *, new_uids: bool = False) -> Path:
    """Write a copy of a DICOM file under a person's identity and return its path."""
    dataset = pydicom.dcmread(source)
    dataset.PatientName = person.name
    dataset.PatientID = person.patient_id
    dataset.PatientBirthDate = person.birth_date
    dataset.AccessionNumber = person.accession_number
    if new_uids:
        dataset.SOPInstanceUID = generate_uid()
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    target.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(target)
    return target


def ct_series(shared: Path | None, folder: Path) -> list[Path]:
    """A CT series under Antonia's name: 60 true slices where the sample data are, pydicom's one slice elsewhere."""
    if shared is None:
        return [under_name(_example("CT_small.dcm"), ANTONIA, folder / "ct.dcm")]
    slices = sorted((shared / "dicom/ct/lidc-idri-0314_chest_60slices").glob("*.dcm"))
    return [under_name(path, ANTONIA, folder / path.name) for path in slices]


def mr_series(shared: Path | None, folder: Path) -> list[Path]:
    """An MR series under Berthold's name."""
    if shared is None:
        return [under_name(_example("MR_small.dcm"), BERTHOLD, folder / "mr.dcm")]
    slices = sorted((shared / "dicom/mr/siemens_t1_sag_35slices").glob("*"))
    return [under_name(path, BERTHOLD, folder / path.name) for path in slices if path.is_file()]


WRITTEN = (slice(10, 40), slice(10, 330))
"""Rows and columns in which :func:`ultrasound` writes the patient's name."""


def ultrasound(folder: Path, *, written: bool = False, readable: bool = True) -> Path:
    """An ultrasound under Celeste's name.

    Parameters
    ----------
    folder
        Where to.
    written
        Whether her name is burned into its pixels too, whatever Burned In Annotation says.
    readable
        Whether the image has the palette without which nobody can see what it shows.
    """
    path = under_name(_example("examples_palette.dcm"), CELESTE, folder / "us.dcm", new_uids=True)
    dataset = pydicom.dcmread(path)
    dataset.BurnedInAnnotation = "NO"
    if written:
        dataset.PixelData = _with_text(dataset, CELESTE.name.replace("^", " "))
    if not readable:
        del dataset.RedPaletteColorLookupTableData
    dataset.save_as(path)
    return path


def _with_text(dataset: pydicom.Dataset, text: str) -> bytes:
    palette = [
        np.frombuffer(dataset[f"{colour}PaletteColorLookupTableData"].value, "<u2").astype(int)
        for colour in ("Red", "Green", "Blue")
    ]
    brightest = int(np.argmax(sum(palette)))
    pixels = dataset.pixel_array.copy()
    cv2.putText(pixels, text, (12, 34), cv2.FONT_HERSHEY_SIMPLEX, 0.8, brightest, 2)
    return pixels.tobytes()


def _example(name: str) -> Path:
    found = pydicom.data.get_testdata_file(name, download=False)
    assert found, f"pydicom does not ship {name}"
    return Path(str(found))


def storescu(files: Iterable[Path], port: int, aet: str) -> None:
    """Send files by C-STORE, as a modality would."""
    command = ["storescu", "--call", aet, "--propose-lossless", "127.0.0.1", str(port)]
    paths = [str(path) for path in files]
    done = subprocess.run([*command, *paths], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]


@dataclass
class Identifiers:
    """Byte strings of the originals that must not occur in any clean copy.

    Attributes
    ----------
    needles
        Names, numbers and UIDs: nobody's may occur anywhere.
    dates
        Dates of eight digits, which must not occur in the copies of these originals. Another patient's copy may hold
        one of them as a moved date.
    """

    needles: set[bytes] = field(default_factory=set)
    dates: set[bytes] = field(default_factory=set)

    @classmethod
    def of(cls, files: Iterable[Path]) -> Identifiers:
        found = cls()
        for path in files:
            dataset = pydicom.dcmread(path, stop_before_pixels=True)
            for element in _walk(dataset.file_meta):
                found._add(element)
            for element in _walk(dataset):
                found._add(element)
        return found

    def _add(self, element: pydicom.DataElement) -> None:
        values = [str(value) for value in (element.value if element.VM > 1 else [element.value]) if value]
        for value in values:
            if element.VR == "UI" and not _is_registered(value):
                assert not value.startswith("2.25."), "an original's UID looks like a new one"
                self.needles.add(value.encode())
            elif element.VR in {"DA", "DT"} and re.match(r"\d{8}", value):
                self.dates.add(value[:8].encode())
            elif element.keyword in {"PatientID", "AccessionNumber"}:
                self.needles.add(value.encode())
            elif element.keyword == "PatientName":
                self.needles.update(part.encode() for part in value.split("^") if len(part) > 3)

    def found_in(self, data: bytes) -> set[bytes]:
        """Return the identifiers, without dates, that occur anywhere in a file, its pixels included."""
        return {needle for needle in self.needles if needle in data}

    def dates_in(self, data: bytes) -> set[bytes]:
        """Return the dates that occur anywhere in a clean copy but by chance in the digits of a new UID."""
        data = re.sub(rb"2\.25\.[0-9]{1,39}", b"", data)
        return {date for date in self.dates if date in data}


def _walk(dataset: pydicom.Dataset) -> Iterator[pydicom.DataElement]:
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield from _walk(item)
        else:
            yield element


def _is_registered(uid: str) -> bool:
    # SOP classes, transfer syntaxes and coding schemes are DICOM's own; implementation class UIDs name a program.
    return (
        uid.startswith("1.2.840.10008.")
        or UID(uid).is_transfer_syntax
        or uid == str(pydicom.uid.PYDICOM_IMPLEMENTATION_UID)
    )
