"""Sample studies: pydicom's own example files and two phantoms, all under invented identities.

So there is something to remove, and nobody's to lose. Nothing is downloaded: the files lie in the pydicom package.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import UID, generate_uid

from demo.errors import StackError
from demo.phantom import ct_volume, mr_volume


@dataclass(frozen=True)
class Identity:
    """Somebody who does not exist."""

    name: str
    patient_id: str
    birth_date: str
    sex: str
    accession: str
    study_date: str


IDENTITIES = {
    "chest": Identity("DEMO^Aurelia^Invented", "DEMO-1001", "19580312", "F", "DEMOACC01", "20240205"),
    "head": Identity("DEMO^Balthasar^Invented", "DEMO-1002", "19710824", "M", "DEMOACC02", "20240219"),
    "ct": Identity("DEMO^Cosima^Invented", "DEMO-1003", "19830501", "F", "DEMOACC03", "20230411"),
    "mr": Identity("DEMO^Desmond^Invented", "DEMO-1004", "19490117", "M", "DEMOACC04", "20230502"),
    "us": Identity("DEMO^Eulalia^Invented", "DEMO-1005", "19900930", "F", "DEMOACC05", "20230614"),
    "rt": Identity("DEMO^Fridolin^Invented", "DEMO-1006", "19651205", "M", "DEMOACC06", "20230703"),
    "sr": Identity("DEMO^Gwendolyn^Invented", "DEMO-1007", "19770606", "F", "DEMOACC07", "20230822"),
}
"""Invented patients, by what was done to them."""

PACKAGED = (
    ("CT_small.dcm", "ct", "Abdomen CT"),
    ("MR_small.dcm", "mr", "Spine MR"),
    ("examples_overlay.dcm", "mr", "Abdomen MR"),
    ("examples_rgb_color.dcm", "us", "Echocardiography"),
    ("examples_ybr_color.dcm", "us", "Echocardiography"),
    ("rtplan.dcm", "rt", "Radiotherapy"),
    ("rtdose.dcm", "rt", "Radiotherapy"),
    ("reportsi.dcm", "sr", "Report"),
)
"""Files of the pydicom package: name, identity, what to call the study."""


def sample_datasets() -> Iterator[Dataset]:
    """Yield every sample instance.

    Raises
    ------
    StackError
        If the installed pydicom lacks one of its files.
    """
    for identity, volume in (("chest", ct_volume()), ("head", mr_volume())):
        for dataset in volume:
            yield _identify(dataset, IDENTITIES[identity])
    studies: dict[tuple[str, str], str] = {}
    for name, identity, description in PACKAGED:
        path = get_testdata_file(name, download=False)
        if not isinstance(path, str):
            raise StackError(f"the installed pydicom has no example file {name}: run make setup")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # some of them break rules on purpose
            dataset = dcmread(path)
        dataset.StudyInstanceUID = studies.setdefault((identity, description), generate_uid())
        dataset.StudyDescription = description
        if not dataset.get("SeriesDescription"):
            dataset.SeriesDescription = f"pydicom example {name.removesuffix('.dcm')}"
        yield _identify(dataset, IDENTITIES[identity])


def _identify(dataset: Dataset, identity: Identity) -> Dataset:
    dataset.PatientName = identity.name
    dataset.PatientID = identity.patient_id
    dataset.PatientBirthDate = identity.birth_date
    dataset.PatientSex = identity.sex
    dataset.AccessionNumber = identity.accession
    dataset.StudyID = identity.accession[-2:]
    dataset.StudyDate = identity.study_date
    dataset.StudyTime = "101500"
    dataset.ReferringPhysicianName = "DEMO^Referrer^Invented"
    dataset.InstitutionName = "Demo General Hospital (invented)"
    for keyword in ("SeriesDate", "ContentDate", "AcquisitionDate"):
        dataset.setdefault(keyword, identity.study_date)
        setattr(dataset, keyword, identity.study_date)
    return dataset


def send_samples(aet: str, port: int, say: Callable[[str], None]) -> int:
    """Send every sample by C-STORE (PS3.4 annex B) to 127.0.0.1.

    Parameters
    ----------
    aet
        Title of the receiver.
    port
        Its port.
    say
        Gets progress, a line at a time.

    Returns
    -------
    int
        How many were sent.

    Raises
    ------
    StackError
        If the receiver does not take one.
    """
    from pynetdicom import AE

    datasets = list(sample_datasets())
    wanted = {(str(d.SOPClassUID), str(d.file_meta.TransferSyntaxUID)) for d in datasets}
    entity = AE(ae_title="DEMO_SCANNER")
    entity.maximum_pdu_size = 0  # as large as the receiver takes
    for sop_class, syntax in sorted(wanted):
        entity.add_requested_context(UID(sop_class), UID(syntax))
    patients = len({dataset.PatientID for dataset in datasets})
    say(f"samples   sending {len(datasets)} images of {patients} invented patients by C-STORE")
    association = entity.associate("127.0.0.1", port, ae_title=aet)
    if not association.is_established:
        raise StackError(f"the ingest Orthanc ({aet} on port {port}) takes no C-STORE: see var/log/ingest.log")
    try:
        for number, dataset in enumerate(datasets, 1):
            status = association.send_c_store(dataset)
            if not status or status.Status != 0x0000:
                raise StackError(
                    f"the ingest Orthanc refused sample {number} of {len(datasets)}: see var/log/ingest.log"
                )
    finally:
        association.release()
    return len(datasets)
