"""Queries with their answers, for every evaluator."""

from __future__ import annotations

from pydicom.dataset import Dataset


def example() -> Dataset:
    """Return a dataset with every kind of value."""
    dataset = Dataset()
    dataset.Modality = "CT"
    dataset.PatientName = "Müller^Anna=繆勒^安娜"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL", ""]
    dataset.StudyDescription = "Chest 100% contrast_enhanced"
    dataset.AccessionNumber = ""
    dataset.Rows = 512
    dataset.SliceThickness = "1.50"
    dataset.PixelSpacing = ["0.7", "0.8"]
    dataset.StudyDate = "20240131"
    dataset.add_new(0x0008002A, "DT", "20240131123005.25+0100")
    dataset.add_new(0x00089459, "FL", 1.1)
    dataset.add_new(0x00189087, "FD", 1e300)
    dataset.add_new(0x00720052, "AT", 0x00080060)
    dataset.add_new(0x00290010, "LO", "ACME")
    dataset.add_new(0x00291001, "LO", "secret sauce")
    dataset.PixelData = b"\0\1"
    dataset["PixelData"].VR = "OW"
    items = [Dataset(), Dataset(), Dataset()]
    items[0].CodeValue, items[1].CodeValue = "A-1", "B-2"
    items[1].ConceptCodeSequence = [Dataset()]
    items[1].ConceptCodeSequence[0].CodeMeaning = "deep"
    dataset.RequestAttributesSequence = items
    dataset.OperatorsName = "Doe^Jane=="
    dataset.ReferencedStudySequence = []
    return dataset


ANSWERS = [
    ("Modality Exists", True),
    ("Columns Exists", False),
    ("Columns NotExists", True),
    ("Modality NotExists", False),
    ("AccessionNumber Exists", True),
    ("AccessionNumber Empty", True),
    ("AccessionNumber NotEmpty", False),
    ("ImageType Empty", True),
    ("ImageType NotEmpty", True),
    ("PixelData NotEmpty", True),
    ("PixelData Empty", False),
    ("PixelData StrEquals *", False),
    ("PixelData StrNotEquals x", False),
    ("ReferencedStudySequence Exists", True),
    ("ReferencedStudySequence Empty", True),
    ("ReferencedStudySequence.CodeValue NotExists", True),
    ("RequestAttributesSequence NotEmpty", True),
    ("RequestAttributesSequence Empty", False),
    ("RequestAttributesSequence StrEquals *", False),
    ("Modality StrEquals ct", True),
    ("Modality StrEquals c", False),
    ("Modality StrEquals 'CT '", True),
    ("Modality StrNotEquals CT", False),
    ("Modality StrNotEquals MR", True),
    ("ImageType StrEquals axial", True),
    ("ImageType StrNotEquals axial", True),
    ("ImageType[2] StrEquals axial", True),
    ("ImageType[1] StrEquals axial", False),
    ("ImageType[9] Exists", False),
    ("StudyDescription StrEquals '*100% CONTRAST_*'", True),
    ("StudyDescription StrEquals 'chest%'", False),
    ("StudyDescription StrEquals 'chest 100_ *'", False),
    ("StudyDescription StrEquals 'chest.*'", False),
    ("StudyDescription StrEquals 'chest\\*'", False),
    ("PatientName StrEquals 'MÜLLER^ANNA=*'", True),
    ("PatientName StrEquals 'müller^anna'", False),
    ("PatientName StrEquals '*安娜'", True),
    ("OperatorsName StrEquals doe^jane", True),
    ("Modality StrIn (mr, ct)", True),
    ("Modality StrIn (mr, 'c*')", True),
    ("Modality StrIn (mr, pt)", False),
    ("Rows NbEquals 512.0", True),
    ("Rows NbEquals 5.12e2", True),
    ("Rows NbNotEquals 512", False),
    ("Rows NbGreater 511", True),
    ("Rows NbGreater 512", False),
    ("Rows NbGreaterEquals 512", True),
    ("Rows NbLess -1", False),
    ("Rows NbLessEquals 512", True),
    ("SliceThickness NbEquals 1.5", True),
    ("SliceThickness StrEquals 1.50", True),
    ("SliceThickness StrEquals 1.5", False),
    ("PixelSpacing NbGreater 0.75", True),
    ("PixelSpacing NbLess 0.75", True),
    ("00089459 NbEquals 1.1", True),
    ("00189087 NbGreater 1e299", True),
    ("00720052 StrEquals 00080060", True),
    ("Modality NbEquals 1", False),
    ("Modality NbNotEquals 1", False),
    ("Columns NbNotEquals 1", False),
    ("Columns StrNotEquals 1", False),
    ("Columns Empty", False),
    ("Columns NotEmpty", False),
    ("00291001 StrEquals 'secret *'", True),
    ("00290010 StrEquals acme", True),
    ("RequestAttributesSequence.CodeValue StrEquals b-2", True),
    ("RequestAttributesSequence[1].CodeValue StrEquals b-2", True),
    ("RequestAttributesSequence[0].CodeValue StrEquals b-2", False),
    ("RequestAttributesSequence[%].CodeValue StrNotEquals b-2", True),
    ("RequestAttributesSequence[2].CodeValue Exists", False),
    ("RequestAttributesSequence[2] Exists", True),
    ("RequestAttributesSequence[3] Exists", False),
    ("RequestAttributesSequence.ConceptCodeSequence.CodeMeaning StrEquals deep", True),
    ("Modality.CodeValue Exists", False),
    ("CodeValue Exists", False),
    ("", True),
    *(
        (f"Rows {one} {word} Columns {two}", truth)
        for word, answers in (("AND", (True, False, False, False)), ("OR", (True, True, True, False)))
        for (one, two), truth in zip(
            [("Exists", "NotExists"), ("Exists", "Exists"), ("NotExists", "NotExists"), ("NotExists", "Exists")],
            answers,
            strict=True,
        )
    ),
    ("NOT (Rows Exists AND Columns Exists)", True),
    ("NOT (Rows Exists OR Columns Exists)", False),
    ("Rows Exists OR Rows Exists AND Columns Exists", True),
    ("(Rows Exists OR Rows Exists) AND Columns Exists", False),
    ("Rows Exists AND Modality Exists AND Columns Exists", False),
    ("Columns Exists OR Modality NotExists OR Rows Exists", True),
]
"""Query, and its answer about :func:`example`."""

DATES = [
    ("20240130", True, False, False),
    ("20240131", False, True, False),
    ("2024.01.31", False, True, False),
    ("20240201", False, False, True),
    ("2023", True, False, False),
    ("2024", False, False, False),
    ("202401", False, False, False),
    ("2025", False, False, True),
    ("20240131235959.999999-1200", False, True, False),
    ("20240130235959", True, False, False),
    ("20240130235959.5", True, False, False),
    ("20240131000000.000001", False, True, False),
    ("2024-01-31", False, False, False),
    ("nonsense", False, False, False),
    ("", False, False, False),
]
"""Value; whether it is before, on, after 2024-01-31."""
