"""QIDO-RS (PS3.18 section 10.6): search studies, series and instances, within what the visitor may see."""

from __future__ import annotations

import difflib
import hashlib
from collections import OrderedDict
from dataclasses import dataclass, field

from pydicom.datadict import keyword_for_tag

import dicom_query
from dicom_query import Node, TagPath
from rpacs_hub.gateway._exchange import ApiError, Call, Reply
from rpacs_hub.gateway.dicomweb.accept import wants_json
from rpacs_hub.gateway.dicomweb.attributes import EVERY, MADE_HERE, RETURNED, can_be_column, dicom_json, is_count
from rpacs_hub.gateway.dicomweb.found import not_found, scope, wanted
from rpacs_hub.gateway.dicomweb.matching import equals, matching
from rpacs_hub.index import MAX_COLUMNS, MAX_LIMIT, Level, Page, Search
from rpacs_hub.permissions import Action, Collection

__all__ = ["Asked", "Positions", "read_parameters", "search_instances", "search_series", "search_studies"]

_RESERVED = (
    "accept",
    "emptyvaluematching",
    "fuzzymatching",
    "includefield",
    "limit",
    "multiplevaluematching",
    "offset",
)
_LONGEST_WALK = 20_000
_AGENT = "rpacs"
_ABOVE: dict[Level, tuple[Level, ...]] = {
    Level.STUDY: (),
    Level.SERIES: (Level.STUDY,),
    Level.INSTANCE: (Level.STUDY, Level.SERIES),
}
_STUDY_LISTS = {"ModalitiesInStudy": "Modality", "SOPClassesInStudy": "SOPClassUID"}


@dataclass
class Asked:
    """What the parameters of a search say.

    Attributes
    ----------
    conditions
        One for each key that does not match everything.
    fields
        Keywords to answer with beside the level's own.
    limit, offset
        Rows to answer with, and rows to leave out before them.
    warnings
        What was asked for and is not done, in words.
    """

    conditions: list[Node] = field(default_factory=list)
    fields: list[str] = field(default_factory=list)
    limit: int = MAX_LIMIT
    offset: int = 0
    warnings: list[str] = field(default_factory=list)


class Positions:
    """Where the pages of recent searches ended, so that the next page of an ``offset`` need not start at the top.

    A position grants nothing: every page applies the permissions anew.
    """

    def __init__(self, most: int = 2000):
        self._known: OrderedDict[tuple[bytes, int], str] = OrderedDict()
        self._most = most

    def put(self, search: bytes, offset: int, cursor: str) -> None:
        """Remember the cursor of the row at `offset`."""
        self._known[search, offset] = cursor
        self._known.move_to_end((search, offset))
        while len(self._known) > self._most:
            self._known.popitem(last=False)

    def before(self, search: bytes, offset: int) -> tuple[int, str | None]:
        """Return the last known position that is not behind `offset`."""
        known = [at for which, at in self._known if which == search and at <= offset]
        return (max(known), self._known[search, max(known)]) if known else (0, None)


def read_parameters(arguments: dict[str, list[str]], level: Level) -> Asked:
    """Read the parameters of a search (PS3.18 section 8.3.4).

    Raises
    ------
    ApiError
        400 for an unknown key or a value that cannot be served. Ignoring a key would show more than was asked for.
    """
    asked = Asked()
    reserved = {name.lower(): values for name, values in arguments.items() if name.lower() in _RESERVED}
    asked.limit = min(_whole(reserved, "limit", MAX_LIMIT), MAX_LIMIT)
    asked.offset = _whole(reserved, "offset", 0)
    if _flag(reserved, "fuzzymatching"):
        asked.warnings.append("The fuzzymatching parameter is not supported. Only literal matching has been performed.")
    empty_values = _flag(reserved, "emptyvaluematching")
    for name, values in arguments.items():
        if name.lower() in _RESERVED:
            continue
        if len(values) > 1:
            raise ApiError(400, "request_invalid", f"{name[:64]!a} is given more than once.", "Separate with commas.")
        condition = _condition(_path(name), values[0], level, empty_values)
        if condition is not None:
            asked.conditions.append(condition)
        _include(asked, _path(name), level)
    for value in ",".join(reserved.get("includefield", ())).split(","):
        if value.strip().lower() == "all":
            asked.fields += [keyword for each in (*_ABOVE[level], level) for keyword in EVERY[each]]
        elif value.strip():
            _include(asked, _path(value.strip()), level)
    asked.fields = list(dict.fromkeys(asked.fields))
    return asked


def _path(name: str) -> TagPath:
    try:
        return TagPath.parse(name)
    except dicom_query.DicomQueryError as error:
        near = difflib.get_close_matches(name.lower(), _RESERVED, 1)
        hint = f"Did you mean {near[0]}?" if near else error.hint or "Keys are DICOM keywords or 8 hexadecimal digits."
        raise ApiError(400, "request_invalid", f"The request has an unknown key {name[:64]!a}.", hint) from None


def _include(asked: Asked, path: TagPath, level: Level) -> None:
    keyword = keyword_for_tag(path.steps[0].tag)
    if len(path.steps) == 1 and keyword in MADE_HERE:
        return
    if len(path.steps) == 1 and can_be_column(keyword, level):
        asked.fields.append(keyword)
    else:
        asked.warnings.append(f"{path} cannot be part of the answer; retrieve the metadata to see it.")


def _condition(path: TagPath, value: str, level: Level, empty_values: bool) -> Node | None:
    keyword = keyword_for_tag(path.steps[0].tag)
    if len(path.steps) > 1 or value in ("", "*"):
        return matching(path, value, empty_values=empty_values)
    if keyword in _STUDY_LISTS:
        if level is not Level.STUDY:
            hint = f"Match {_STUDY_LISTS[keyword]}, or search studies."
            raise ApiError(400, "matching_invalid", f"{keyword} is matched by a search of studies only.", hint)
        return matching(TagPath.parse(_STUDY_LISTS[keyword]), value, empty_values=empty_values)
    if keyword in MADE_HERE or is_count(keyword):
        raise ApiError(400, "matching_invalid", f"{keyword} cannot be matched.", "It can only be part of the answer.")
    return matching(path, value, empty_values=empty_values)


def _whole(values: dict[str, list[str]], name: str, default: int) -> int:
    text = values.get(name, [""])[-1]
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise ApiError(400, "limit_invalid", f"{name} must be a whole number.", "Such as 100.")
    return int(text)


def _flag(values: dict[str, list[str]], name: str) -> bool:
    text = values.get(name, ["false"])[-1].lower()
    if text not in ("true", "false"):
        raise ApiError(400, "request_invalid", f"{name} is neither true nor false.")
    return text == "true"


async def _search(call: Call, level: Level) -> Reply:
    content_type = wants_json(wanted(call))
    asked = read_parameters({name: list(values) for name, values in call.all_arguments.items()}, level)
    above = [
        equals(f"{name.capitalize()}InstanceUID", call.path[name]) for name in ("study", "series") if name in call.path
    ]
    query = dicom_query.all_of([*above, *asked.conditions, *scope(call)])
    call.event.query, call.event.level = dicom_query.to_text(query), level
    call.event.identifiers = [call.path[name][:128] for name in ("study", "series") if name in call.path]
    call.decide(Action.SEARCH, Collection())
    # A search above what the address names tells of all that is above a row, as it stands on its own.
    levels = [each for each in (*_ABOVE[level], level) if each is level or each.value not in call.path]
    required = list(
        dict.fromkeys(keyword for each in levels for keyword in RETURNED[each] if can_be_column(keyword, level))
    )
    columns = tuple(dict.fromkeys([*required, *asked.fields]))
    if len(columns) > MAX_COLUMNS:
        asked.warnings.append(f"An answer has at most {MAX_COLUMNS} attributes; the last ones asked for are left out.")
    page = await _page(call, query, level, columns[:MAX_COLUMNS], asked)
    if page.total == 0 and above and not await _is_there(call, above):
        call.event.decision, call.event.why = "denied", ["It does not exist, or none of it may be seen."]
        raise not_found("series" if "series" in call.path else "study")
    remaining = max(0, page.total - asked.offset - len(page.rows))
    if remaining:
        asked.warnings.append(f"There are {remaining} additional results that can be requested.")
    call.event.count = len(page.rows)
    headers = {"X-Total-Count": str(page.total)}
    if asked.warnings:
        headers["Warning"] = ", ".join(f'299 {_AGENT} "{words}"' for words in dict.fromkeys(asked.warnings))
    if not page.rows:
        return Reply(204, body=b"", headers=headers)
    found = [dicom_json(row, required, _retrieve_url(call, row, level)) for row in page.rows]
    return Reply(json=found, content_type=content_type, headers=headers)


def _retrieve_url(call: Call, row: dict[str, object], level: Level) -> str:
    url = f"{call.base}dicom-web/studies/{row['StudyInstanceUID']}"
    if level is not Level.STUDY:
        url += f"/series/{row['SeriesInstanceUID']}"
    return f"{url}/instances/{row['SOPInstanceUID']}" if level is Level.INSTANCE else url


async def _is_there(call: Call, above: list[Node]) -> bool:
    query = dicom_query.all_of([*above, *scope(call)])
    return await call.services.index.count(query, Level.INSTANCE, call.visible()) > 0


async def _page(call: Call, query: Node, level: Level, columns: tuple[str, ...], asked: Asked) -> Page:
    """Return the rows from `offset` on. The index pages by cursor: it is walked there from the last known position."""
    index, visible, positions = call.services.index, call.visible(), call.services.positions
    who = [call.actor.name, *sorted(call.actor.groups), call.services.permissions.current.digest]
    parts = [*who, level, dicom_query.to_text(query)]
    which = hashlib.sha256("\0".join(parts).encode()).digest()
    at, cursor = positions.before(which, asked.offset)
    if asked.offset - at > _LONGEST_WALK:
        raise ApiError(
            400, "offset_too_large", f"The offset is more than {_LONGEST_WALK} rows ahead.", "Narrow the search down."
        )
    while at < asked.offset:
        step = min(MAX_LIMIT, asked.offset - at)
        page = await index.search(Search(query, level, columns[:1], limit=step, cursor=cursor), visible)
        at, cursor = at + len(page.rows), page.next
        if cursor is None:
            return Page(level, columns, [], page.total, None)
        positions.put(which, at, cursor)
    page = await index.search(Search(query, level, columns, limit=asked.limit, cursor=cursor), visible)
    if page.next is not None:
        positions.put(which, at + len(page.rows), page.next)
    return page


async def search_studies(call: Call) -> Reply:
    """Search studies."""
    return await _search(call, Level.STUDY)


async def search_series(call: Call) -> Reply:
    """Search series: all, or those of a study."""
    return await _search(call, Level.SERIES)


async def search_instances(call: Call) -> Reply:
    """Search instances: all, or those of a study or series."""
    return await _search(call, Level.INSTANCE)
