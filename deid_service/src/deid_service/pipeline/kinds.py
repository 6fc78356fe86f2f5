"""What kind of instance lies in quarantine: enough to judge it by, and nothing that names a patient.

Modality and SOP class are told only where they are among the standard's own: anything else could be a text that
somebody typed.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from pydicom.filereader import read_partial
from pydicom.tag import BaseTag
from pydicom.uid import UID

from deid_service._buffers import Data, Part, pieces, size_of

__all__ = ["MODALITIES", "Kind", "kind_of", "kind_of_parts"]

# The file meta information and the group 0008 up to Modality are short; what is longer is not told.
_LOOKED_AT = 64 * 1024
_MODALITY = 0x00080060

_TERMS = """
ANN AR ASMT AU BDUS BI BMD CFM CR CT CTPROTOCOL DMS DG DOC DX ECG EEG EMG EOG EPS ES FID GM HC HD IO IOL IVOCT IVUS
KER KO LEN LS M3D MG MR OAM OCT OP OPM OPT OPTBSV OPTENF OPV OSS OT PA PLAN POS PR PT PX REG RESP RF RG RTDOSE
RTIMAGE RTINTENT RTPLAN RTRAD RTRECORD RTSEGANN RTSTRUCT RWV SEG SM SMR SR SRF STAIN TEXTUREMAP TG US VA VDO XA XC
XAPROTOCOL
AS CD CF CP CS DD DF DM DS EC FA FS LP MA MS NM OPR ST TC VF
"""

MODALITIES = frozenset(_TERMS.split())
"""Defined terms of Modality (0008,0060), PS3.3 section C.7.3.1.1.1; the last line holds NM and retired ones."""


@dataclass(frozen=True)
class Kind:
    """What an instance is.

    Attributes
    ----------
    modality
        Modality (0008,0060), if it is one of the standard's; else None.
    sop_class
        SOP Class UID (0008,0016), if it is one of the standard's; else None.
    size
        Length of its file, in bytes; None if nobody could read it.
    """

    modality: str | None = None
    sop_class: str | None = None
    size: int | None = None


def kind_of(data: Data) -> Kind:
    """Return what kind of instance a file holds, however damaged it is.

    Parameters
    ----------
    data
        The file.
    """
    return _kind(data[:_LOOKED_AT], len(data))


def kind_of_parts(parts: Sequence[Part]) -> Kind:
    """Return what kind of instance a file holds that is given in parts."""
    return _kind(bytes(next(iter(pieces(parts, _LOOKED_AT)), b""))[:_LOOKED_AT], size_of(parts))


def _kind(start: bytes, size: int) -> Kind:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = read_partial(io.BytesIO(start), _is_behind_modality)
            modality, sop_class = str(dataset.get("Modality", "")).strip(), str(dataset.get("SOPClassUID", "")).strip()
    except Exception:  # noqa: BLE001 - it is in quarantine because it is damaged, for one
        return Kind(size=size)
    known = sop_class.startswith("1.2.840.10008.") and UID(sop_class).type == "SOP Class"
    return Kind(modality if modality in MODALITIES else None, sop_class if known else None, size)


def _is_behind_modality(tag: BaseTag, _vr: str | None, _length: int) -> bool:
    return int(tag) > _MODALITY
