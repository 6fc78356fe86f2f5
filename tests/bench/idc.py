"""A large archive to search: real series of NCI's Imaging Data Commons, with plausible instances.

The list of series is PyPI's ``idc-index-data``. It tells the licence of every series; those that forbid commercial use
are left out. It is installed on demand into ``var/bench``, for no other part needs it. It holds
what series have in common; what instances hold is made up here, the same at every run.
"""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rpacs_hub._orthanc import StoredInstance
from rpacs_hub.index._content import contents_of, dumps
from rpacs_hub.index._read import IndexedFile
from rpacs_hub.index._store import Read

PACKAGES = ("idc-index-data==25.0.5", "pyarrow>=20")
COLUMNS = {
    "PatientID": "PatientID",
    "StudyInstanceUID": "StudyInstanceUID",
    "SeriesInstanceUID": "SeriesInstanceUID",
    "PatientAge": "PatientAge",
    "PatientSex": "PatientSex",
    "StudyDescription": "StudyDescription",
    "BodyPartExamined": "BodyPartExamined",
    "Modality": "Modality",
    "SOPClassUID": "SOPClassUID",
    "TransferSyntaxUID": "TransferSyntaxUID",
    "PhotometricInterpretation": "PhotometricInterpretation",
    "PixelRepresentation": "PixelRepresentation",
    "Manufacturer": "Manufacturer",
    "ManufacturerModelName": "ManufacturerModelName",
    "SeriesDescription": "SeriesDescription",
    "SeriesNumber": "SeriesNumber",
    "StudyDate": "StudyDate",
    "SeriesDate": "SeriesDate",
}
_TAGS = {
    "PatientID": "00100020",
    "StudyInstanceUID": "0020000D",
    "SeriesInstanceUID": "0020000E",
    "PatientAge": "00101010",
    "PatientSex": "00100040",
    "StudyDescription": "00081030",
    "BodyPartExamined": "00180015",
    "Modality": "00080060",
    "SOPClassUID": "00080016",
    "TransferSyntaxUID": "00020010",
    "PhotometricInterpretation": "00280004",
    "PixelRepresentation": "00280103",
    "Manufacturer": "00080070",
    "ManufacturerModelName": "00081090",
    "SeriesDescription": "0008103E",
    "SeriesNumber": "00200011",
    "StudyDate": "00080020",
    "SeriesDate": "00080021",
}

_AT_ONCE = 2000
"""Rows of the list that are read at once."""


@dataclass(frozen=True)
class Series:
    """One series: what its instances have in common, as a document and as contents, and how many there are."""

    row: Mapping[str, Any]
    document: dict[str, Any]
    contents: dict[str, str]
    instances: int
    seed: int


def series_list(folder: Path, instances: int, part: int = 0, parts: int = 1) -> Iterator[Series]:
    """Yield series, in an order that is random and always the same, until they have so many instances together.

    Parameters
    ----------
    folder
        Where the list of series is kept; it is fetched if it is not there.
    instances
        How many instances all series together have; the last one may be cut short.
    part, parts
        Yield every ``parts``-th of these series, beginning with that one, so that several processes can share them.
    """
    left = instances
    for number, row in enumerate(_rows(folder)):
        if left <= 0:
            return
        size = min(int(row["instanceCount"]), left)
        left -= size
        if number % parts == part:
            document, shown = _common(row)
            contents = contents_of(document, shown)
            yield Series(row, document, contents, size, zlib.crc32(row["SeriesInstanceUID"].encode()))
    if left > 0:
        raise ValueError(f"all series together have {left} instances less")


def _rows(folder: Path) -> Iterator[dict[str, Any]]:
    if not (folder / "pyarrow").exists():
        uv = str(Path(sys.executable).with_name("uv"))
        subprocess.run([uv, "pip", "install", "--quiet", "--no-deps", "--target", str(folder), *PACKAGES], check=True)
    sys.path.append(str(folder))
    import pyarrow.parquet

    wanted = [*COLUMNS, "instanceCount", "license_short_name"]
    table = pyarrow.parquet.read_table(folder / "idc_index_data" / "idc_index.parquet", columns=wanted)
    licences = table["license_short_name"].to_pylist()
    table = table.filter(pyarrow.array(["NC" not in licence for licence in licences]))
    checksums = [zlib.crc32(uid.encode()) for uid in table["SeriesInstanceUID"].to_pylist()]
    order = sorted(range(len(checksums)), key=checksums.__getitem__)
    # A million rows as dictionaries would take gigabytes.
    for start in range(0, len(order), _AT_ONCE):
        yield from table.take(order[start : start + _AT_ONCE]).to_pylist()


def _common(row: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return document and shown values of what all instances of a series hold, some ninety paths."""
    chance = random.Random(row["SeriesInstanceUID"])
    of_study = random.Random(row["StudyInstanceUID"])
    shown: dict[str, Any] = {}
    document: dict[str, Any] = {}

    def put(tag: str, keyword: str, *texts: str, number: type | None = None) -> None:
        document[tag] = [text.casefold().strip() for text in texts] or [""]
        if keyword:
            values = [number(text) if number and text else text for text in texts]
            shown[keyword] = values[0] if len(values) == 1 else values or ""

    for column, tag in _TAGS.items():
        value = row[column]
        if value is not None:
            text = str(value).replace("-", "") if column.endswith("Date") else str(value)
            whole = column in ("SeriesNumber", "PixelRepresentation") and text.isdigit()
            put(tag, column, text, number=int if whole else None)
    put("00100010", "PatientName", f"{row['PatientID']}^Pseudo")
    put("00080050", "AccessionNumber", f"{of_study.randrange(10**9):09}")
    put("00080005", "SpecificCharacterSet", "ISO_IR 100")
    put("00080030", "StudyTime", f"{of_study.randrange(86400):06}")
    put("00080031", "SeriesTime", f"{chance.randrange(86400):06}")
    put("00080080", "InstitutionName", "")
    put("00080090", "ReferringPhysicianName", "")
    put("00081010", "StationName", f"STATION{chance.randrange(40)}")
    put("00100030", "PatientBirthDate", "")
    put("00101030", "PatientWeight", f"{of_study.randrange(400, 1200) / 10}", number=float)
    put("00120062", "PatientIdentityRemoved", "YES")
    put("00120063", "DeidentificationMethod", "Per DICOM PS 3.15 AnnexE", "pseudonymised")
    put("00181000", "DeviceSerialNumber", f"{chance.randrange(300)}")
    put("00181020", "SoftwareVersions", f"syngo {chance.randrange(9)}", "VB20")
    put("00181030", "ProtocolName", f"{row['BodyPartExamined'] or 'Body'} {chance.randrange(30)}")
    put("00200010", "StudyID", f"{of_study.randrange(1000)}")
    put("00200052", "FrameOfReferenceUID", f"1.2.826.0.1.3680043.8.498.{chance.randrange(10**30)}")
    put("00201040", "PositionReferenceIndicator", chance.choice(("", "SN")))
    put("00280002", "SamplesPerPixel", "1", number=int)
    size = chance.choice(("256", "512", "1024", "320"))
    put("00280010", "Rows", size, number=int)
    put("00280011", "Columns", size, number=int)
    spacing = f"{chance.randrange(300, 1300) / 1000}"
    put("00280030", "PixelSpacing", spacing, spacing, number=float)
    for tag, keyword, text in (
        ("00280100", "BitsAllocated", "16"),
        ("00280101", "BitsStored", "12"),
        ("00280102", "HighBit", "11"),
    ):
        put(tag, keyword, text, number=int)
    modality = row["Modality"]
    if modality in ("CT", "MR", "PT", "NM"):
        put("00180050", "SliceThickness", chance.choice(("1", "1.25", "2.5", "3", "5", "0.625")), number=float)
        put("00185100", "PatientPosition", chance.choice(("HFS", "FFS", "HFP")))
        cosine = chance.choice((None, None, chance.uniform(-1, 1)))
        axes = (
            ("1", "0", "0", "0", "1", "0") if cosine is None else (f"{cosine:.6f}", "0", "0", "0", f"{cosine:.6f}", "0")
        )
        put("00200037", "ImageOrientationPatient", *axes, number=float)
    if modality == "CT":
        put("00180060", "KVP", chance.choice(("80", "100", "120", "140")), number=float)
        put("00181210", "ConvolutionKernel", chance.choice(("B30f", "STANDARD", "LUNG", "B70f", "BONE")))
        put("00180022", "ScanOptions", chance.choice(("HELICAL MODE", "AXIAL MODE")))
        put("00281052", "RescaleIntercept", "-1024", number=float)
        put("00281053", "RescaleSlope", "1", number=float)
        put("00281054", "RescaleType", "HU")
    if modality == "MR":
        put("00180080", "RepetitionTime", f"{chance.randrange(300, 9000)}", number=float)
        put("00180081", "EchoTime", f"{chance.randrange(20, 1200) / 10}", number=float)
        put("00180087", "MagneticFieldStrength", chance.choice(("1.5", "3")), number=float)
        put("00180020", "ScanningSequence", *chance.choice((("SE",), ("GR",), ("SE", "IR"), ("EP",))))
        put("00181314", "FlipAngle", f"{chance.choice((8, 12, 90, 150))}", number=float)
    code = chance.randrange(60)
    document["00400275"] = [
        {
            "00400007": [f"protocol {code}"],
            "00400008": [{"00080100": [f"p{code}"], "00080102": ["local"], "00080104": [f"meaning of {code}"]}],
            "00401001": [f"r{of_study.randrange(10**6)}"],
        }
    ]
    document["00081140"] = [
        {"00081150": ["1.2.840.10008.5.1.4.1.1.2"], "00081155": [f"1.2.826.0.1.{chance.randrange(10**24)}"]}
        for _ in range(chance.choice((0, 1, 3)))
    ] or [""]
    document["00090010"] = ["research pacs"]
    document["00091001"] = [f"private {chance.randrange(500)}"]
    document["00091010"] = [{"00091011": [f"{chance.randrange(100)}"], "00091012": [None]}]
    for number in range(20):
        tag = f"0019{0x1000 + number:04X}"
        document[tag] = [f"{chance.randrange(10 if number < 10 else 200)}"]
    document["00190010"] = ["siemens mr header"]
    document["7FE00010"] = [None]
    return document, shown


def instances_of(series: Series) -> Iterator[tuple[dict[str, Any], Read]]:
    """Yield the instances of a series: each one's document, and what the indexer would have read."""
    chance = random.Random(series.seed)
    row, start = series.row, chance.uniform(-400, 0)
    step = chance.choice((1, 1.25, 2.5, 3, 5))
    clock = chance.randrange(80_000)
    centers = [f"{value}" for value in chance.sample((40, 50, -600, 300, 400, 128), 2)]
    tilted = chance.random() < 0.2
    currents = [f"{value}" for value in chance.sample(range(60, 500), 6)]
    if "00080018" in series.document:
        raise ValueError("the SOPInstanceUID is made here")
    named = hashlib.md5(str(row["SeriesInstanceUID"]).encode(), usedforsecurity=False)
    root = f"1.2.826.0.1.{int(named.hexdigest(), 16)}"
    for n in range(series.instances):
        uid = f"{root}.{n}"
        z = f"{start + n * step:.4f}".rstrip("0").rstrip(".")
        x = f"{start / 3 + (n * 0.37 if tilted else 0):.3f}"
        time = f"{clock + n // 3:06}.{chance.randrange(10**6):06}"
        own: dict[str, Any] = {
            "00080018": [uid],
            "00020003": [uid],
            "00200013": [f"{n + 1}"],
            "00201041": [z],
            "00200032": [x, "-180.5", z],
            "00080032": [time],
            "00080033": [f"{clock + n // 2:06}.{chance.randrange(10**6):06}"],
            "00080013": [f"{clock + 9 + n // 40:06}"],
            "00281050": [chance.choice(centers)],
            "00281051": [chance.choice(("350", "400", "1500"))],
            "00181151": [currents[n * 6 // series.instances]],
            "00280106": [f"{chance.randrange(-1024, -900)}"],
            "00280107": [f"{chance.randrange(1000, 4000)}"],
            "00200012": [f"{1 + n * 2 // series.instances}"],
            "00080008": ["original", "primary", "axial" if n or chance.random() < 0.8 else "localizer"],
            "00191020": [f"{chance.random():.12f}"],
        }
        contents = dict(series.contents)
        for tag, values in own.items():
            if tag == "00080008":
                contents[tag] = dumps({"v": values, "s": [value.upper() for value in values]})
            else:
                contents[tag] = dumps(values[0] if len(values) == 1 else values)
        digits = hashlib.sha1(uid.encode(), usedforsecurity=False).hexdigest()
        identifier = "-".join(digits[start : start + 8] for start in range(0, 40, 8))
        stored = StoredInstance(identifier, f"{series.seed:08x}-0000-4000-8000-{chance.getrandbits(48):012x}")
        file = IndexedFile(
            str(row["PatientID"]),
            "",
            str(row["StudyInstanceUID"]),
            str(row["SeriesInstanceUID"]),
            uid,
            530_000,
            contents,
        )
        yield {**series.document, **own}, Read(stored, file)
