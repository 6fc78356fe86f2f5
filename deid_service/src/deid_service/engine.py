"""The de-identifier: the bytes of an instance in, the bytes of its clean copy out.

Reads the whole file strictly (:mod:`deid_service.wire`), decides once for each element (:mod:`deid_service.rules`),
copies every run of untouched elements verbatim and writes the others anew, then has the finished copy read back
(:mod:`deid_service.verify`). Whatever the rules say, the preamble is zeroed, file meta information is built from
nothing, group lengths and trailing padding are dropped, and pixel data is not touched.
"""

from __future__ import annotations

import logging
import mmap
import threading
from io import BytesIO
from typing import Final

from pydicom import Dataset, dcmread
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import RawDataElement

from deid_service._buffers import LARGE, Data, PartsReader, SpoolError, as_data
from deid_service._cleaning import (
    CHARACTER_SET,
    PATIENT_ID,
    REQUIRED,
    SERIES,
    SOP_CLASS,
    SOP_INSTANCE,
    STUDY,
    Cleaning,
)
from deid_service._memory import Memory
from deid_service.descriptors import identifiers_of
from deid_service.errors import CleaningStoppedError, Refused
from deid_service.outcomes import Cleaned, Discarded
from deid_service.pixels.cleaning import PixelWork
from deid_service.pixels.elsewhere import without_hidden
from deid_service.pixels.graphics import refuse_handwriting
from deid_service.pixels.seeds import seeds_of
from deid_service.pseudonyms import PseudonymKey, is_registered_uid
from deid_service.rules import Rules
from deid_service.transforms import Identity
from deid_service.wire import DEFAULT_CHARACTER_SET, TEXT_VRS, Element, HeaderRuns, Source, character_set, decode, read

__all__ = ["Cleaned", "Deidentifier", "Discarded", "dataset_of"]

_LOG = logging.getLogger(__name__)
_COMMON_REFERENCES: Final = 0x00081115
_ISSUER: Final = 0x00100021
_WANTED: Final = frozenset({*REQUIRED, PATIENT_ID, _ISSUER})
_DECIDING: Final = _WANTED | {CHARACTER_SET, _COMMON_REFERENCES}


class Deidentifier:
    """Cleans instances by one set of rules and one key. Safe to share between threads.

    Parameters
    ----------
    rules : Rules
        From :func:`~deid_service.load_rules`.
    key : PseudonymKey
        The secret behind the pseudonyms.
    """

    def __init__(self, rules: Rules, key: PseudonymKey) -> None:
        self.rules = rules
        self._key = key
        self._memory = Memory()
        self._headers = HeaderRuns()

    def clean(
        self, data: bytes | bytearray | memoryview | mmap.mmap, *, stop: threading.Event | None = None
    ) -> Cleaned | Discarded:
        """Clean one instance.

        Parameters
        ----------
        data : bytes, memoryview or mmap
            A DICOM file (PS3.10). The copy of a mapped file needs memory for its header only, not for its pixels.
        stop : threading.Event, optional
            Once it is set, the search of frames for text, which can take minutes, is broken off.

        Returns
        -------
        Cleaned or Discarded
            The same rules, key and bytes always give the same bytes.

        Raises
        ------
        Refused
            If a clean copy cannot be made or trusted: quarantine the instance. Nothing else is ever raised without
            `stop`, and the message holds no value of the instance.
        CleaningStoppedError
            If `stop` was set before it was known what becomes of the instance.
        """
        try:
            return self._clean(as_data(data), stop)
        except (Refused, CleaningStoppedError):
            raise
        except SpoolError as error:
            raise Refused("too_large", str(error)) from None
        except Exception as error:  # noqa: BLE001 - fail closed: whatever went wrong, the instance is not forwarded
            # The message could quote a value: keep the type and place only.
            trace = error.__traceback__
            while trace is not None and trace.tb_next is not None:
                trace = trace.tb_next
            place = f"{trace.tb_frame.f_code.co_name}:{trace.tb_lineno}" if trace else "unknown place"
            _LOG.error("unexpected %s in %s", type(error).__name__, place)
            raise Refused("internal_error", f"unexpected {type(error).__name__} in {place}") from None

    def _clean(self, data: Data, stop: threading.Event | None) -> Cleaned | Discarded:
        source = read(data, self._headers)
        deciding = source.select(_decides)
        values = _header_values(source, deciding)
        labels = self.rules.labels_of(lambda: dataset_of(data))
        if frozenset(labels) not in self.rules.scope_to_forward:
            return Discarded(labels)
        for tag, name in REQUIRED.items():
            if not values.get(tag):
                raise Refused("missing_uid", f"the instance has no {name}")
            if "\\" in values[tag]:
                raise Refused("malformed", f"the {name} has several values")
            if tag != SOP_CLASS and is_registered_uid(values[tag]):
                raise Refused("registered_uid", f"the {name} lies under a registered root")
        refers = any(element.tag == _COMMON_REFERENCES for element in deciding)
        plan = self.rules.plan(labels, values[SOP_CLASS], refers=refers)
        source = without_hidden(source, plan.pixels)
        if plan.keeps_graphics:
            refuse_handwriting(source)
        pixels = PixelWork(source, plan.pixels, lambda: seeds_of(identifiers_of(source)), stop)
        try:
            return Cleaning(source, plan, self._key, _identity(values), self._memory, pixels).finish(labels)
        except Refused as refusal:
            if refusal.pixels is None:
                refusal.pixels = pixels.report
            raise


def dataset_of(data: Data) -> Dataset:
    """Read an instance with pydicom, for the queries of labels.

    Parameters
    ----------
    data : bytes or mmap
        A DICOM file.

    Returns
    -------
    Dataset
        Of a large file without the bytes of large binary values, which no query looks at.

    Raises
    ------
    Refused
        ``malformed`` if pydicom cannot read it.
    """
    try:
        if len(data) < LARGE:
            return dcmread(BytesIO(data))
        dataset = dcmread(PartsReader([memoryview(data)]), defer_size=LARGE)
        for raw in list(dataset.values()):
            # pydicom leaves every large value out, also sequences.
            if not isinstance(raw, RawDataElement) or raw.value is not None or not raw.length:
                continue
            vr = raw.VR or (dictionary_VR(raw.tag) if dictionary_has_tag(raw.tag) else "UN")
            if vr == "SQ" or vr in TEXT_VRS:
                value = data[raw.value_tell : raw.value_tell + raw.length]
                dataset[raw.tag] = raw._replace(value=value)
        return dataset
    except Exception as error:  # noqa: BLE001 - pydicom raises many kinds, and messages may quote values
        raise Refused("malformed", f"pydicom cannot read the instance ({type(error).__name__})") from None


def _decides(element: Element) -> bool:
    return element.tag in _DECIDING


def _header_values(source: Source, elements: list[Element]) -> dict[int, str]:
    """Return the top-level values that decide what the instance is."""
    codecs: tuple[str, ...] = DEFAULT_CHARACTER_SET
    values = {}
    for element in elements:
        if element.tag == CHARACTER_SET:
            codecs = character_set(source.value(element))
        elif element.tag in _WANTED:
            large = element.value_end - element.value_start > 1024
            values[element.tag] = "" if large else decode(source.value(element), codecs).strip("\0 ")
    return values


def _identity(values: dict[int, str]) -> Identity:
    return Identity(
        values.get(PATIENT_ID, ""),
        values.get(_ISSUER, ""),
        values[STUDY],
        values[SERIES],
        values[SOP_INSTANCE],
    )
