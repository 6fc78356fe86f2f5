"""Every row of the profile's table, with every option, at the top and inside a sequence; and what the table omits."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import date
from io import BytesIO
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import DataElement, Dataset, dcmread
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.sequence import Sequence

from deid_service import Cleaned, Deidentifier, PseudonymKey, RulesError, load_rules
from deid_service.profiles import Option, Row, load_table

KEY = PseudonymKey(bytes(range(32)))
UNKNOWN_CLASS = "1.2.826.0.1.3680043.2.1"
INSIDE = 0x00081115  # ReferencedSeriesSequence: a sequence that the table does not list
# Never in a data set, or never let through: the file's own group, command groups, DICOMDIR, documents, padding.
ELSEWHERE = ("0000", "0002", "0004", "fffc")
ELSEWHERE_TAGS = {"00420011", "00080016", "00080018", "0020000d", "0020000e"}


def rules(options: tuple[str, ...] = (), more: str = "") -> str:
    return f"ScopeToForward: {{Labels: ALL}}\nProfile: {{Name: Basic, Options: [{', '.join(options)}]}}\n{more}"


def clean(text: str, dataset: Dataset, written: Callable[..., bytes]) -> Any:
    # Objects of unknown kinds are suspected; here it is the header that counts.
    passing = "{Scope: {Labels: ALL}, SuspectedPixels: PassUnchecked}"
    head = "Transformations:\n"
    text = text.replace(head, f"{head}  - {passing}\n") if head in text else f"{text}\nTransformations: [{passing}]\n"
    outcome = Deidentifier(load_rules(text), KEY).clean(written(dataset))
    assert isinstance(outcome, Cleaned)
    return dcmread(BytesIO(outcome.data))


def listed() -> Iterator[tuple[int, Row, str]]:
    for row in load_table().rows:
        if not row.tag.isalnum() or "x" in row.tag or row.tag[:4] in ELSEWHERE or row.tag in ELSEWHERE_TAGS:
            continue
        tag = int(row.tag, 16)
        if dictionary_has_tag(tag):
            yield tag, row, dictionary_VR(tag).split(" or ")[0]


def value_of(tag: int, vr: str) -> Any:
    number = tag % 9973
    match vr:
        case "SQ":
            item = Dataset()
            item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = (
                f"C{tag:08X}",
                "99TEST",
                f"Meaning {tag:08X}",
            )
            item.ReferencedSOPInstanceUID = f"1.2.276.0.7230010.3.7.{tag}"
            return Sequence([item])
        case "DA":
            return f"{1950 + number % 50}{1 + number % 12:02d}{1 + number % 28:02d}"
        case "DT":
            return f"{1950 + number % 50}{1 + number % 12:02d}{1 + number % 28:02d}101112.5"
        case "TM":
            return f"{number % 24:02d}{number % 60:02d}31"
        case "UI":
            return f"1.2.276.0.7230010.3.6.{tag}"
        case "AS":
            return "044Y"
        case "CS":
            return f"C{tag:08X}"
        case "DS" | "IS":
            return "7"
        case "US":
            return 7
        case "OB" | "UN" | "OW":
            return b"\x07\x08\x09\x0a"
        case "AE":
            return f"AE{tag:08X}"
        case _:
            return f"T{tag:08X}"


def everything() -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID = UNKNOWN_CLASS
    dataset.SOPInstanceUID = "1.2.276.0.7230010.3.1.4.1001"
    dataset.StudyInstanceUID = "1.2.276.0.7230010.3.1.2.1002"
    dataset.SeriesInstanceUID = "1.2.276.0.7230010.3.1.3.1003"
    inner = Dataset()
    for tag, _, vr in listed():
        for level in (dataset, inner):
            level.add(DataElement(tag, vr, value_of(tag, vr)))
    dataset.add(DataElement(INSIDE, "SQ", Sequence([inner])))
    return dataset


def basic(row: Row, tag: int, vr: str, option: Option | None, element: Any, original: Any) -> str | None:
    """Say what is wrong with what the Basic Profile made of an element, in an unknown kind of object."""
    choice = next(choice for choice in "UDZX" if choice in row.basic)
    if choice == "X":
        return None if element is None else "is still there"
    if element is None:
        return "is gone"
    if choice == "Z":
        return None if element.is_empty else "is not empty"
    if vr == "SQ":
        text = element.value[0].to_json()
        if f"7230010.3.7.{tag}" in text and option is not Option.RETAIN_UIDS:
            return "keeps a UID"
        words = f"C{tag:08X}" in text or f"Meaning {tag:08X}" in text
        return "keeps a code" if choice == "D" and words else None
    if element.is_empty:
        return "is empty"
    return "is what it was" if element.value == original.value else None


def expected(row: Row, tag: int, vr: str, option: Option | None, element: Any, original: Any) -> str | None:
    said = row.options.get(option, "") if option else ""
    same = element is not None and element.value == original.value
    if said == "K" and vr == "SQ" and element is not None:
        # What is inside follows rows of its own: here the UID.
        same = all(element.value[0].get(word) == original.value[0].get(word) for word in ("CodeValue", "CodeMeaning"))
    if said == "K":
        return None if same else "was not kept"
    if said == "C":
        match option:
            case Option.RETAIN_MODIFIED_DATES if vr in ("DA", "DT"):
                moved = element is not None and not same and len(element.value) == len(original.value)
                return None if moved and element.value[8:] == original.value[8:] else "was not moved"
            case Option.RETAIN_MODIFIED_DATES if vr == "TM":
                return None if same else "was not kept"
            case Option.RETAIN_DEVICE:
                return None if element is not None and element.value and not same else "is no token"
            case Option.CLEAN_DESCRIPTORS | Option.RETAIN_CHARACTERISTICS if vr in ("LO", "SH", "CS"):
                return None if same else "was not kept"
            case Option.CLEAN_DESCRIPTORS | Option.CLEAN_STRUCTURED | Option.CLEAN_GRAPHICS if vr == "SQ":
                kept = element is not None and element.value[0].CodeMeaning == original.value[0].CodeMeaning
                return None if kept and f"3.7.{tag}" not in element.value[0].to_json() else "was not cleaned"
    return basic(row, tag, vr, option, element, original)


@pytest.mark.filterwarnings("ignore")  # pydicom warns of the many-digit UIDs and dates of the synthetic instance
@pytest.mark.parametrize(
    "option", [None, *(o for o in Option if o is not Option.CLEAN_PIXELS)], ids=lambda o: o.value if o else "none"
)
def test_every_row_is_honoured(option: Option | None, written: Callable[..., bytes]) -> None:
    original = everything()
    result = clean(rules((option.value,) if option else ()), everything(), written)
    wrong = []
    checked = 0
    for tag, row, vr in listed():
        if tag == 0x00120063 or tag == 0x00120064:
            continue
        for place, before, after in (
            ("top", original, result),
            ("inside", original[INSIDE].value[0], result[INSIDE].value[0]),
        ):
            checked += 1
            complaint = expected(row, tag, vr, option, after.get(tag), before[tag])
            if complaint:
                wrong.append(f"{row.tag} {row.keyword} {row.basic} {vr} {place}: {complaint}")
    assert not wrong, "\n".join(wrong)
    assert checked > 1200


@pytest.mark.parametrize(
    ("sop_class", "keyword", "value", "left"),
    [
        ("1.2.840.10008.5.1.4.1.1.2", "AcquisitionDate", "20240310", None),  # Type 3: X/Z -> X
        ("1.2.840.10008.5.1.4.1.1.128", "AcquisitionDate", "20240310", ""),  # PET, Type 2: X/Z -> Z
        ("1.2.840.10008.5.1.4.1.1.2", "ContentDate", "20240310", ""),  # Type 2C: Z/D -> Z
        ("1.2.840.10008.5.1.4.1.1.2.1", "ContentDate", "20240310", "19000101"),  # enhanced CT, Type 1: Z/D -> D
        ("1.2.840.10008.5.1.4.1.1.2", "SeriesDate", "20240310", None),  # Type 3: X/D -> X
        ("1.2.840.10008.5.1.4.1.1.128", "SeriesDate", "20240310", "19000101"),  # PET, Type 1: X/D -> D
        ("1.2.840.10008.5.1.4.1.1.2", "DeviceSerialNumber", "SN1", None),  # Type 3: X/Z/D -> X
        ("1.2.840.10008.5.1.4.1.1.2.1", "DeviceSerialNumber", "SN1", "token"),  # Type 1: X/Z/D -> D
        ("1.2.840.10008.5.1.4.1.1.2", "PatientID", "PID-4711", ""),  # Type 2: Z/D -> Z
        (UNKNOWN_CLASS, "PatientID", "PID-4711", "token"),  # unknown: the form that is legal in any
        (UNKNOWN_CLASS, "AcquisitionDate", "20240310", ""),
        (UNKNOWN_CLASS, "SeriesDate", "20240310", "19000101"),
    ],
)
def test_the_type_decides_conditional_actions(
    sop_class: str,
    keyword: str,
    value: str,
    left: str | None,
    instance: Dataset,
    written: Callable[..., bytes],
) -> None:
    instance.SOPClassUID = sop_class
    setattr(instance, keyword, value)
    result = clean(rules(), instance, written)
    if left == "token":
        assert re.fullmatch("[A-Za-z0-9]{8}", str(result[keyword].value))
    else:
        assert result.get(keyword) == left


@pytest.mark.parametrize(
    ("sop_class", "refers", "kept"),
    [
        ("1.2.840.10008.5.1.4.1.1.2", False, False),
        ("1.2.840.10008.5.1.4.1.1.2", True, True),
        (UNKNOWN_CLASS, False, True),
    ],
)
def test_references_to_images_go_or_get_new_uids(
    sop_class: str, refers: bool, kept: bool, instance: Dataset, written: Callable[..., bytes]
) -> None:
    instance.SOPClassUID = sop_class
    item = Dataset()
    item.ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    item.ReferencedSOPInstanceUID = instance.SOPInstanceUID
    instance.SourceImageSequence = [item]
    if refers:
        instance.ReferencedSeriesSequence = [Dataset()]
    result = clean(rules(), instance, written)
    assert ("SourceImageSequence" in result) is kept
    if kept:
        assert result.SourceImageSequence[0].ReferencedSOPInstanceUID == result.SOPInstanceUID
        assert result.SourceImageSequence[0].ReferencedSOPClassUID == "1.2.840.10008.5.1.4.1.1.2"


@pytest.mark.parametrize(
    ("age", "told"), [("089Y", "089Y"), ("090Y", "090Y"), ("095Y", "090Y"), ("999M", "999M"), ("about 50", "")]
)
@pytest.mark.filterwarnings("ignore")
def test_ages_over_89_are_not_told(age: str, told: str, instance: Dataset, written: Callable[..., bytes]) -> None:
    instance.PatientAge = age
    assert clean(rules(("RetainPatientCharacteristics",)), instance, written).PatientAge == told


def test_modified_dates_move_by_one_number_of_days_and_times_stay(
    fresh_instance: Callable[[], Dataset], written: Callable[..., bytes]
) -> None:
    text = rules(("RetainLongitudinalModifiedDates",))
    first = clean(text, fresh_instance(), written)
    other = fresh_instance()
    other.StudyInstanceUID = "1.2.276.99"
    other.SOPInstanceUID = "1.2.276.98"
    other.StudyDate = "20240410"
    second = clean(text, other, written)
    days = [date.fromisoformat(result.StudyDate) for result in (first, second)]
    assert (days[1] - days[0]).days == 31
    assert first.StudyDate != "20240310"
    assert first.AcquisitionDateTime[:8] == first.StudyDate
    assert first.AcquisitionDateTime[8:] == "101530.250000+0100"
    assert first.StudyTime == "101530.25"
    assert first.PatientBirthDate == ""
    assert first.LongitudinalTemporalInformationModified == "MODIFIED"


@pytest.mark.parametrize(
    ("options", "codes", "dates"),
    [
        ((), ["113100"], "REMOVED"),
        (("RetainLongitudinalFullDates",), ["113100", "113106"], "UNMODIFIED"),
        (("RetainUIDs", "RetainLongitudinalModifiedDates"), ["113100", "113110", "113107"], "MODIFIED"),
    ],
)
def test_markers_say_what_was_done(
    options: tuple[str, ...], codes: list[str], dates: str, instance: Dataset, written: Callable[..., bytes]
) -> None:
    instance.DeidentificationMethod = "somebody else's, of Mr. Mustermann"
    instance.DeidentificationMethodCodeSequence = [Dataset()]
    result = clean(rules(options), instance, written)
    assert result.PatientIdentityRemoved == "YES"
    assert list(result.DeidentificationMethod) == ["rpacs-deid", "PS3.15 2026c Basic Profile", *sorted(
        options, key=[option.value for option in Option].index
    )]  # fmt: skip
    assert [item.CodeValue for item in result.DeidentificationMethodCodeSequence] == codes
    assert {item.CodingSchemeDesignator for item in result.DeidentificationMethodCodeSequence} == {"DCM"}
    assert result.LongitudinalTemporalInformationModified == dates
    assert "BurnedInAnnotation" not in result


def test_exceptions_are_left_alone_and_take_the_claim_back(instance: Dataset, written: Callable[..., bytes]) -> None:
    text = rules().replace("Options: []", 'ExceptTagPatterns: "*/StudyDate"')
    result = clean(text, instance, written)
    assert result.StudyDate == "20240310"
    assert "DeidentificationMethodCodeSequence" not in result
    assert result.DeidentificationMethod[-1] == "with exceptions"
    text = rules().replace("Options: []", 'ExceptTagPatterns: ["*/ReferencedImageSequence", "*/SourceImageSequence"]')
    assert clean(text, instance, written).DeidentificationMethodCodeSequence[0].CodeValue == "113100"


@pytest.mark.parametrize("pattern", ["*/{DA}", "*/Patient*", "*/XXX@XXXX", "+/SourceImageSequence", "*/60XX3000"])
def test_wide_exceptions_take_the_claim_back(pattern: str, instance: Dataset, written: Callable[..., bytes]) -> None:
    result = clean(rules().replace("Options: []", f'ExceptTagPatterns: "{pattern}"'), instance, written)
    assert "DeidentificationMethodCodeSequence" not in result


def test_transformations_override_the_profile_on_the_original_value(
    instance: Dataset, written: Callable[..., bytes]
) -> None:
    more = """Transformations:
  - Scope: {Labels: ALL}
    ShiftDateTime: {TagPatterns: StudyDate, ShiftBy: 10, ReuseMapping: SamePatient}
    RandomizeText: {TagPatterns: PatientID, ReuseMapping: SamePatient}
    AddTags:
      - {Tag: ClinicalTrialSponsorName, VR: LO, Value: Trial, OverwriteIfExists: true}
      - {Tag: StudyDescription, VR: LO, Value: Ours, OverwriteIfExists: true}
      - {Tag: AccessionNumber, VR: SH, Value: Ours, OverwriteIfExists: false}
    DeleteTags: {TagPatterns: PatientName, Action: Remove}
"""
    result = clean(rules(more=more), instance, written)
    assert 0 < abs(int(result.StudyDate) - 20240310) < 100
    assert re.fullmatch("[A-Za-z0-9]{8}", result.PatientID)
    assert result.ClinicalTrialSponsorName == "Trial"
    assert result.StudyDescription == "Ours"
    assert result.AccessionNumber == ""  # it exists, so it is the profile's
    assert "PatientName" not in result
    assert result.LongitudinalTemporalInformationModified == "MODIFIED"


def test_private_elements_stay_only_if_they_are_known_as_safe(instance: Dataset, written: Callable[..., bytes]) -> None:
    block = instance.private_block(0x0019, "SIEMENS MR HEADER", create=True)
    block.add_new(0x0C, "IS", "1000")
    block.add_new(0x08, "CS", "IMAGE NUM 4")
    block.add_new(0x0D, "LO", "not the VR that it is known with")
    other = instance.private_block(0x0021, "SOMEBODY", create=True)
    other.add_new(0x01, "LO", "Mustermann")
    kept = clean(rules(("RetainSafePrivate",)), instance, written)
    assert [element.tag for element in kept if element.tag.is_private] == [0x00190010, 0x0019100C]
    assert kept[0x0019100C].value == 1000
    gone = clean(rules(), instance, written)
    assert not [element.tag for element in gone if element.tag.is_private]


def test_what_the_table_omits_is_not_forgotten(instance: Dataset, written: Callable[..., bytes]) -> None:
    instance.ExpiryDate = "20240310"
    instance.SecondaryReviewerName = "Gutachter^Gerd"
    instance.CalculationComment = "as Mrs. M. asked"
    instance.StorageURL = "http://10.0.0.1/mustermann"
    instance.add_new(0x00144056, "SH", "Coupling")
    instance.add_new(0x00085555, "LO", "in no dictionary")
    instance.TrackingUID = "1.2.276.4.5"
    instance.add_new(0x60000010, "US", 2)
    instance.add_new(0x60001500, "LO", "Mustermann")
    result = clean(rules(), instance, written)
    for keyword in ("ExpiryDate", "SecondaryReviewerName", "CalculationComment", "StorageURL"):
        assert keyword not in result or result[keyword].is_empty
    assert 0x00085555 not in result
    assert 0x60000010 not in result
    assert result.TrackingUID.startswith("2.25.")


def test_structured_reports_keep_their_shape(instance: Dataset, written: Callable[..., bytes]) -> None:
    instance.SOPClassUID = "1.2.840.10008.5.1.4.1.1.88.33"
    for keyword in ("PixelData", "Rows", "Columns"):
        del instance[keyword]
    concept = Dataset()
    concept.CodeValue, concept.CodingSchemeDesignator, concept.CodeMeaning = "121071", "DCM", "Finding"
    text, name, container = Dataset(), Dataset(), Dataset()
    text.ValueType, text.TextValue, text.ConceptNameCodeSequence = "TEXT", "Frau Mustermann has a nodule", [concept]
    name.ValueType, name.PersonName = "PNAME", "Mustermann^Erika"
    container.ValueType, container.ContentSequence = "CONTAINER", [text, name]
    instance.ContentSequence = [container]
    strict = clean(rules(), instance, written).ContentSequence[0]
    assert strict.ContentSequence[0].TextValue == "removed"
    assert strict.ContentSequence[0].ConceptNameCodeSequence[0].CodeMeaning == "Finding"
    assert re.fullmatch("[A-Za-z0-9]{8}", str(strict.ContentSequence[1].PersonName))
    assert strict.ContentSequence[0].ConceptNameCodeSequence[0].CodeValue == "121071"
    cleaned = clean(rules(("CleanStructuredContent",)), instance, written).ContentSequence[0]
    assert "nodule" in cleaned.ContentSequence[0].TextValue
    assert "Mustermann" not in cleaned.ContentSequence[0].TextValue
    assert "Mustermann" not in str(cleaned.ContentSequence[1].PersonName)


def test_descriptors_are_cleaned_of_the_patients_name(instance: Dataset, written: Callable[..., bytes]) -> None:
    instance.StudyDescription = "Thorax Mustermann"
    instance.SeriesDescription = "Mustermann"
    instance.ImageComments = "long text goes"
    result = clean(rules(("CleanDescriptors",)), instance, written)
    assert result.StudyDescription == "Thorax"
    assert result.SeriesDescription == "REMOVED"
    assert "ImageComments" not in result


def test_same_input_same_bytes(fresh_instance: Callable[[], Dataset], written: Callable[..., bytes]) -> None:
    text = rules(("RetainLongitudinalModifiedDates", "CleanDescriptors"))
    data = written(fresh_instance())
    first, second = (Deidentifier(load_rules(text), KEY).clean(data) for _ in range(2))
    assert isinstance(first, Cleaned)
    assert isinstance(second, Cleaned)
    assert first.data == second.data


def test_a_profile_alone_is_a_rules_file() -> None:
    assert load_rules(rules()).profile is not None
    with pytest.raises(RulesError, match="Transformations"):
        load_rules("ScopeToForward: {Labels: ALL}\n")


OPTIONS = [option.value for option in Option if option is not Option.CLEAN_PIXELS]


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    options=st.sets(st.sampled_from(OPTIONS)).filter(
        lambda chosen: not {"RetainLongitudinalFullDates", "RetainLongitudinalModifiedDates"} <= chosen
    ),
    tags=st.sets(st.sampled_from([tag for tag, _, _ in listed()]), max_size=40),
    sop_class=st.sampled_from([UNKNOWN_CLASS, "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1"]),
)
def test_any_options_give_a_data_set_that_reads_strictly(
    written: Callable[..., bytes], options: set[str], tags: set[int], sop_class: str
) -> None:
    full = everything()
    dataset = Dataset()
    for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        setattr(dataset, keyword, full[keyword].value)
    dataset.SOPClassUID = sop_class
    for tag in tags:
        dataset.add(full[tag])
    outcome = Deidentifier(load_rules(rules(tuple(sorted(options)))), KEY).clean(written(dataset))
    assert isinstance(outcome, Cleaned)
    result = dcmread(BytesIO(outcome.data))
    assert result.PatientIdentityRemoved == "YES"
    names = [element.value for element in result.iterall() if element.VR == "PN" and element.value]
    assert not [name for name in names if str(name).startswith("T") and len(str(name)) == 9]


@pytest.mark.parametrize("sequence", ["ContentSequence", "GraphicAnnotationSequence", "OperatorIdentificationSequence"])
def test_no_word_of_a_dummy_sequence_stays_but_published_codes_do(
    sequence: str, instance: Dataset, written: Callable[..., bytes]
) -> None:
    def code(value: str, scheme: str, meaning: str) -> Dataset:
        made = Dataset()
        made.CodeValue, made.CodingSchemeDesignator, made.CodeMeaning = value, scheme, meaning
        return made

    words = {"LongCodeValue": "Vexkar1", "CodeMeaning": "Vexkar2", "SegmentDescription": "Vexkar3"}
    words |= {"TextValue": "Vexkar4", "UnformattedTextValue": "Vexkar5", "ScheduledProcedureStepDescription": "Vexkar6"}
    words |= {"CodingSchemeName": "Vexkar7", "RetrieveURL": "https://vexkar8", "ContentLabel": "VEXKAR9"}
    item = Dataset()
    for keyword, word in words.items():
        setattr(item, keyword, word)
    item.ConceptNameCodeSequence = [
        code("121071", "DCM", "Finding"),
        code("VEXKAR10", "99VEXKAR", "Vexkar11"),
        code("T-04000", "SRT", "Breast"),
    ]
    inner = Dataset()
    inner.ConceptCodeSequence = [code("VEXKAR12", "DCM", "Vexkar13")]
    inner.NumericValue = "12.5"
    inner.AnatomicRegionSequence = [code("MAMMA", "99X", "Vexkar14")]
    inner.add_new(0x60003000, "OW", b"Vexkar15")
    item.ContentSequence = [inner]
    instance.SOPClassUID, instance.BurnedInAnnotation = UNKNOWN_CLASS, "NO"
    setattr(instance, sequence, [item])
    passing = "Transformations: [{Scope: {Labels: ALL}, SuspectedPixels: PassUnchecked}]\n"
    outcome = Deidentifier(load_rules(rules(more=passing)), KEY).clean(written(instance))
    assert isinstance(outcome, Cleaned)
    assert b"vexkar" not in outcome.data.lower()
    result = dcmread(BytesIO(outcome.data))[sequence].value[0]
    kept = [str(one.CodeMeaning) for one in result.ConceptNameCodeSequence]
    if sequence == "OperatorIdentificationSequence":
        assert "Finding" not in kept
    else:
        assert (kept[0], kept[2]) == ("Finding", "Breast")
        assert result.ConceptNameCodeSequence[0].CodingSchemeDesignator == "DCM"
        assert result.ContentSequence[0].NumericValue == 12.5
    assert re.fullmatch("[A-Za-z0-9]{8}", kept[1])
