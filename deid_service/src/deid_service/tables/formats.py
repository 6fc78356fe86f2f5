"""How dates, times and ages are written in a table, and how in DICOM (PS3.5 6.2)."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

__all__ = ["from_dicom", "to_dicom"]

_ISO_DATE: Final = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_ISO_TIME: Final = re.compile(r"([0-9]{2}):([0-9]{2})(?::([0-9]{2})(\.[0-9]{1,6})?)?")
_ISO_DATE_TIME: Final = re.compile(
    r"(?P<date>[0-9-]{10})(?P<between>[T ])(?P<time>[0-9:.]+)(?P<zone>Z|[+-][0-9]{2}:?[0-9]{2})?"
)
_DICOM: Final = {
    "DA": re.compile(r"[0-9]{8}"),
    "TM": re.compile(r"[0-9]{2}([0-9]{2}([0-9]{2}(\.[0-9]{1,6})?)?)?"),
    "DT": re.compile(r"[0-9]{4,14}(\.[0-9]{1,6})?([+-][0-9]{4})?"),
}
_YEARS: Final = re.compile(r"[0-9]{1,3}")
_AGE: Final = re.compile(r"([0-9]{3})Y")
_STRICT: Final = {"DA": "%Y%m%d", "TM": "%H%M%S", "DT": "%Y%m%d%H%M%S"}


def to_dicom(text: str, vr: str, form: str | None) -> str | None:
    """Turn the text of a cell into a DICOM value.

    Parameters
    ----------
    text : str
        Without padding, not empty.
    vr : str
        Value representation.
    form : str or None
        ``Format`` of the column. Without it dates and times are expected as in DICOM or ISO 8601.

    Returns
    -------
    str or None
        None if it is not written as it should be. Other VRs are taken as they are, and whole years as an age.
    """
    if form is not None:
        try:
            moment = datetime.strptime(text, form)  # noqa: DTZ007 - tables rarely have a zone; where %z has one it stays
        except ValueError:
            return None
        if vr == "DA":
            return moment.strftime("%Y%m%d").zfill(8)
        fraction = f".{moment.microsecond:06}" if "%f" in form else ""
        zone = moment.strftime("%z")[:5] if vr == "DT" else ""
        return moment.strftime(_STRICT[vr]).zfill(len("YYYYMMDDHHMMSS") if vr == "DT" else 6) + fraction + zone
    if vr == "AS" and _YEARS.fullmatch(text):
        return f"{int(text):03}Y"
    if vr not in _DICOM or _DICOM[vr].fullmatch(text):
        return text if vr != "DA" or _is_date(text) else None
    value = _from_iso(text, vr)
    return value if value is not None and (vr == "TM" or _is_date(value[:8])) else None


def _is_date(text: str) -> bool:
    try:
        datetime.strptime(text, "%Y%m%d")  # noqa: DTZ007 - a day, not a moment
    except ValueError:
        return False
    return True


def _from_iso(text: str, vr: str) -> str | None:
    if vr == "DA":
        return "".join(found.groups()) if (found := _ISO_DATE.fullmatch(text)) else None
    if vr == "TM":
        return "".join(part or "" for part in found.groups()) if (found := _ISO_TIME.fullmatch(text)) else None
    if _ISO_DATE.fullmatch(text):
        return text.replace("-", "")
    if not (found := _ISO_DATE_TIME.fullmatch(text)):
        return None
    date, time = _from_iso(found["date"], "DA"), _from_iso(found["time"], "TM")
    zone = (found["zone"] or "").replace("Z", "+0000").replace(":", "")
    return None if date is None or time is None else date + time + zone


def from_dicom(value: str, vr: str, form: str | None, like: str) -> str:
    """Write a DICOM value the way the table does.

    Parameters
    ----------
    value : str
        What the rules made of the cell.
    vr : str
        Value representation.
    form : str or None
        ``Format`` of the column.
    like : str
        The cell as it was: decides between DICOM and ISO 8601 where there is no format.

    Returns
    -------
    str
    """
    if not value:
        return ""
    if form is not None:
        head, zone = (value[:-5], value[-5:]) if vr == "DT" and value[-5:-4] in ("+", "-") else (value, "")
        whole, _, fraction = head.partition(".")
        pattern = _STRICT[vr] + (".%f" if fraction else "") + ("%z" if zone else "")
        moment = datetime.strptime(whole + (f".{fraction}" if fraction else "") + zone, pattern)  # noqa: DTZ007 - see above
        # strftime does not pad years before 1000 on every system.
        return moment.strftime(form.replace("%Y", f"{moment.year:04}"))
    if vr == "AS" and _YEARS.fullmatch(like):
        return str(int(value[:3])) if _AGE.fullmatch(value) else value
    if vr == "DA" and "-" in like:
        return f"{value[:4]}-{value[4:6]}-{value[6:8]}"
    if vr == "TM" and ":" in like:
        return _iso_time(value)
    if vr == "DT" and (found := _ISO_DATE_TIME.fullmatch(like)):
        zone = value[-5:] if value[-5:-4] in ("+", "-") else ""
        head = value.removesuffix(zone)
        shown = {"Z": "Z"}.get(found["zone"] or "", f"{zone[:3]}:{zone[3:]}" if ":" in (found["zone"] or "") else zone)
        return from_dicom(head[:8], "DA", None, "-") + found["between"] + _iso_time(head[8:]) + shown
    if vr == "DT" and _ISO_DATE.fullmatch(like):
        return from_dicom(value, "DA", None, "-")
    return value


def _iso_time(value: str) -> str:
    parts = [value[:2], value[2:4], value[4:]]
    return ":".join(part for part in parts if part)
