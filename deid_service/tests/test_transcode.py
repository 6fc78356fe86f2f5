"""``Transcode``: every syntax with every kind of pixels, the same pixels before and after."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.pixels.decoders.base import get_decoder

from deid_service import Cleaned, Deidentifier, PseudonymKey, Refused, RulesError, load_rules
from deid_service.pixels.frames import open_frames
from deid_service.transforms.transcode import transcode
from deid_service.wire import read

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
RLE = "1.2.840.10008.1.2.5"
JPEG_LS = "1.2.840.10008.1.2.4.80"
J2K = "1.2.840.10008.1.2.4.90"
TARGETS = [IMPLICIT, EXPLICIT, RLE, JPEG_LS, J2K]

# photometric interpretation, samples, bits allocated, bits stored, signed
KINDS = [
    ("MONOCHROME2", 1, 8, 8, 0),
    ("MONOCHROME1", 1, 8, 8, 0),
    ("MONOCHROME2", 1, 16, 16, 0),
    ("MONOCHROME2", 1, 16, 16, 1),
    ("MONOCHROME2", 1, 16, 12, 0),
    ("MONOCHROME2", 1, 16, 12, 1),
    ("PALETTE COLOR", 1, 8, 8, 0),
    ("RGB", 3, 8, 8, 0),
    ("YBR_FULL", 3, 8, 8, 0),
]


def rules(uid: str) -> Any:
    return load_rules(
        "ScopeToForward: {Labels: ALL}\nTransformations:\n"
        f"  - {{Scope: {{Labels: ALL}}, RandomizeUID: [{{TagPatterns: '*/{{UI}}'}}], Transcode: {uid},"
        " SuspectedPixels: PassUnchecked}\n"
    )


def image(instance: Dataset, kind: tuple[str, int, int, int, int], *, frames: int = 1, planar: int = 0) -> Dataset:
    """Give an instance pixels that use the whole range, in 34 rows of 37 columns."""
    photometric, samples, allocated, stored, signed = kind
    instance.Rows, instance.Columns, instance.SamplesPerPixel = 34, 37, samples
    instance.BitsAllocated, instance.BitsStored, instance.HighBit = allocated, stored, stored - 1
    instance.PixelRepresentation, instance.PhotometricInterpretation = signed, photometric
    if frames > 1:
        instance.NumberOfFrames = frames
    if photometric == "PALETTE COLOR":
        for colour in ("Red", "Green", "Blue"):
            setattr(instance, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
            setattr(instance, f"{colour}PaletteColorLookupTableData", bytes(512))
    low, high = (-(2 ** (stored - 1)), 2 ** (stored - 1)) if signed else (0, 2**stored)
    shape = (frames, 34, 37, samples)
    ramp = np.linspace(low, high - 1, int(np.prod(shape))).reshape(shape)
    pixels = np.rint(ramp).astype(f"<{'i' if signed else 'u'}{allocated // 8}")
    if samples > 1:
        instance.PlanarConfiguration = planar
        if planar:
            pixels = pixels.transpose(0, 3, 1, 2)
    data = pixels.tobytes()
    instance.PixelData = data + b"\0" * (len(data) % 2)
    return instance


def decoded(data: bytes) -> tuple[np.ndarray, str]:
    dataset = dcmread(BytesIO(data))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        array, meta = get_decoder(dataset.file_meta.TransferSyntaxUID).as_array(
            dataset,
            raw=True,
            decoding_plugin="pylibjpeg" if dataset.file_meta.TransferSyntaxUID.is_encapsulated else "",
        )
    return array, str(meta["photometric_interpretation"])


def transcoded(data: bytes, uid: str, key: PseudonymKey) -> bytes:
    outcome = Deidentifier(rules(uid), key).clean(data)
    assert isinstance(outcome, Cleaned)
    assert dcmread(BytesIO(outcome.data)).file_meta.TransferSyntaxUID == uid
    return outcome.data


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(map(str, kind)))
def test_every_kind_of_pixels_goes_through_every_syntax_and_back(
    kind: tuple[str, int, int, int, int],
    fresh_instance: Callable[[], Dataset],
    written: Callable[..., bytes],
    key: PseudonymKey,
) -> None:
    for source in (IMPLICIT, EXPLICIT):
        original = written(image(fresh_instance(), kind), source)
        before, _ = decoded(original)
        for first in TARGETS:
            middle = transcoded(original, first, key)
            for second in TARGETS:
                after, photometric = decoded(transcoded(middle, second, key))
                assert np.array_equal(after, before), (source, first, second)
                assert photometric == kind[0]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("planar", [0, 1])
def test_frames_and_planes(
    target: str,
    planar: int,
    instance: Dataset,
    written: Callable[..., bytes],
    key: PseudonymKey,
) -> None:
    original = written(image(instance, ("RGB", 3, 8, 8, 0), frames=4, planar=planar))
    before, _ = decoded(original)
    copy = transcoded(original, target, key)
    after, _ = decoded(copy)
    assert before.shape == (4, 34, 37, 3)
    assert np.array_equal(after, before)
    dataset = dcmread(BytesIO(copy))
    assert dataset.NumberOfFrames == 4
    if target not in (IMPLICIT, EXPLICIT):
        assert dataset.PlanarConfiguration == 0


def test_bits_above_those_stored_are_not_pixels(
    instance: Dataset, written: Callable[..., bytes], key: PseudonymKey
) -> None:
    # Two's complement of 12 bits without extension of the sign, as some scanners write it.
    image(instance, ("MONOCHROME2", 1, 16, 12, 1))
    signed = np.frombuffer(instance.PixelData, "<i2")
    instance.PixelData = (signed & 0x0FFF).astype("<u2").tobytes()
    after, _ = decoded(transcoded(written(instance), J2K, key))
    assert np.array_equal(after.ravel(), signed)
    assert dcmread(BytesIO(transcoded(written(instance), J2K, key))).BitsStored == 12


@pytest.mark.parametrize("source", [IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED])
@pytest.mark.parametrize("target", TARGETS)
def test_every_other_element_stays(
    source: str, target: str, instance: Dataset, written: Callable[..., bytes], key: PseudonymKey
) -> None:
    image(instance, ("MONOCHROME2", 1, 16, 12, 1))
    if source == BIG_ENDIAN:
        instance.PixelData = np.frombuffer(instance.PixelData, "<i2").astype(">i2").tobytes()
    instance.SmallestImagePixelValue = -5  # US or SS: which, only Pixel Representation says
    instance["SmallestImagePixelValue"].VR = "SS"
    instance.ImagePositionPatient = [1.5, -2.25, 3]
    instance.RecommendedDisplayFrameRateInFloat = 12.5
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3.4"
    item.ReferencedFrameNumber = [1, 2]
    instance.ReferencedImageSequence = [item]
    instance.FrameIncrementPointer = 0x00181063
    instance.add_new(0x00191010, "UN", b"\x01\x02")
    instance.add_new(0x00190010, "LO", "ACME")
    plain = Deidentifier(rules(EXPLICIT), key).clean(written(instance, EXPLICIT))
    data = written(instance, source)
    copy = dcmread(BytesIO(transcoded(data, target, key)))
    assert isinstance(plain, Cleaned)
    for element in dcmread(BytesIO(plain.data)):
        if element.tag != 0x7FE00010:
            assert copy[element.tag].value == element.value, element.keyword
    assert copy.SmallestImagePixelValue == -5


def test_an_empty_private_sequence_is_an_empty_element_where_the_vr_is_not_written(
    instance: Dataset, written: Callable[..., bytes], key: PseudonymKey
) -> None:
    block = instance.private_block(0x0009, "ACME 1.0", create=True)
    block.add_new(0x02, "SQ", [])
    copy = dcmread(BytesIO(transcoded(written(instance, EXPLICIT), IMPLICIT, key)))
    assert copy[0x00091002].is_empty


def test_reports_have_no_compressed_form(instance: Dataset, written: Callable[..., bytes], key: PseudonymKey) -> None:
    del instance.PixelData
    outcome = Deidentifier(rules(J2K), key).clean(written(instance))
    assert isinstance(outcome, Cleaned)
    assert dcmread(BytesIO(outcome.data)).file_meta.TransferSyntaxUID == EXPLICIT
    assert dcmread(BytesIO(transcoded(written(instance), IMPLICIT, key))).Modality == "CT"


def test_what_cannot_be_decoded_is_refused(instance: Dataset, written: Callable[..., bytes], key: PseudonymKey) -> None:
    image(instance, ("MONOCHROME2", 1, 16, 16, 0))
    compressed = transcoded(written(instance), J2K, key)
    position = compressed.rindex(b"\xff\x93")
    damaged = compressed[: position + 2] + b"\xff" * 20 + compressed[position + 22 :]
    with pytest.raises(Refused) as refusal:
        Deidentifier(rules(RLE), key).clean(compressed[:position] + bytes(len(damaged) - position - 8) + damaged[-8:])
    assert refusal.value.reason_code == "not_transcodable"
    too_few = image(instance, ("MONOCHROME2", 1, 16, 16, 0), frames=2)
    too_few.PixelData = too_few.PixelData[: 34 * 37 * 2]
    with pytest.raises(Refused) as refusal:
        Deidentifier(rules(RLE), key).clean(written(too_few))
    assert refusal.value.reason_code == "not_transcodable"


def test_what_a_syntax_cannot_hold_is_refused(
    instance: Dataset, written: Callable[..., bytes], key: PseudonymKey
) -> None:
    instance.Rows, instance.Columns, instance.BitsAllocated, instance.BitsStored, instance.HighBit = 8, 8, 1, 1, 0
    instance.PixelRepresentation, instance.PixelData = 0, bytes(8)
    with pytest.raises(Refused) as refusal:
        Deidentifier(rules(J2K), key).clean(written(instance))
    assert refusal.value.reason_code == "not_transcodable"


@pytest.mark.parametrize("uid", ["1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.91", BIG_ENDIAN, "JPEG", "''"])
def test_unsupported_targets_are_errors_of_the_rules(uid: str) -> None:
    with pytest.raises(RulesError) as error:
        rules(uid)
    assert error.value.problems[0].line == 3


def test_the_same_input_gives_the_same_bytes(
    instance: Dataset, written: Callable[..., bytes], key: PseudonymKey
) -> None:
    data = written(image(instance, ("RGB", 3, 8, 8, 0)))
    for target in TARGETS:
        assert transcoded(data, target, key) == transcoded(data, target, key)


def test_real_files_of_every_syntax(shared_data: Path, key: PseudonymKey) -> None:
    folder = shared_data / "dicom" / "transfer-syntax"
    reached = 0
    reasons: set[str] = set()
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.suffix in (".txt", ".md", ".tsv"):
            continue
        data = path.read_bytes()
        for target in (EXPLICIT, JPEG_LS, J2K, RLE):
            try:
                outcome = Deidentifier(rules(target), key).clean(data)
            except Refused as refusal:
                reasons.add(refusal.reason_code)
                continue
            assert isinstance(outcome, Cleaned)
            after, photometric = decoded(outcome.data)
            try:
                before, _ = decoded(data)
            except NotImplementedError:  # pydicom decodes fewer syntaxes
                before = open_frames(read(data)).decode(0)
            assert np.array_equal(before, after), path.name
            if read(data).transfer_syntax != target:  # otherwise not a byte changes
                assert dcmread(BytesIO(outcome.data)).PhotometricInterpretation == photometric
            reached += 1
    assert not reasons & {"internal_error", "verification_failed"}
    assert reached > 40


# pydicom's own examples: (name, photometric interpretation once decoded, whether it is lossy JPEG)
EXAMPLES = [
    ("SC_ybr_full_422_uncompressed.dcm", "YBR_FULL", False),
    ("SC_rgb_jpeg_dcmtk.dcm", "YBR_FULL", True),
    ("SC_jpeg_no_color_transform.dcm", "RGB", True),
    ("examples_jpeg2k.dcm", "RGB", False),
    ("examples_palette.dcm", "PALETTE COLOR", False),
    ("MR_small_jpeg_ls_lossless.dcm", "MONOCHROME2", False),
    ("MR_small_bigendian.dcm", "MONOCHROME2", False),
]


@pytest.mark.parametrize(("name", "photometric", "lossy"), EXAMPLES)
@pytest.mark.parametrize("target", TARGETS)
def test_colours_are_the_same_once_shown(name: str, photometric: str, lossy: bool, target: str) -> None:
    data = Path(str(get_testdata_file(name, download=False))).read_bytes()
    source = read(data)
    parts, tags = transcode([data], target, [element.tag for element in source.elements])
    copy = b"".join(parts)
    assert [element.tag for element in read(copy).elements] == tags
    dataset = dcmread(BytesIO(copy))
    assert np.array_equal(shown(copy), shown(data))
    native = {IMPLICIT, EXPLICIT, BIG_ENDIAN}
    if (
        source.transfer_syntax != target and not {source.transfer_syntax, target} <= native
    ):  # otherwise nothing is decoded
        assert dataset.PhotometricInterpretation == photometric
    if target in native and "422" not in dataset.PhotometricInterpretation:
        frames = int(dataset.get("NumberOfFrames", 1))
        size = frames * dataset.Rows * dataset.Columns * dataset.SamplesPerPixel * dataset.BitsAllocated // 8
        assert len(dataset.PixelData) == size + size % 2
    if lossy:
        assert dataset.LossyImageCompression == "01"


def shown(data: bytes) -> np.ndarray:
    """Decode as a viewer does: colours as RGB."""
    dataset = dcmread(BytesIO(data))
    syntax = dataset.file_meta.TransferSyntaxUID
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        array, _ = get_decoder(syntax).as_array(dataset, decoding_plugin="pylibjpeg" if syntax.is_encapsulated else "")
    return array
