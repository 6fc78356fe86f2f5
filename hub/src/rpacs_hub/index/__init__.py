"""The index of the research Orthanc's images: how it is kept and how it is searched.

Whoever reads the index uses `Index` and nothing below it. Every method takes ``visible``, what the user may see, which
comes from the permissions (`rpacs_hub.permissions.visible_to`) as a `Visible` and is only passed on.

==========================================================  ===========================================================
``await index.search(Search(...), visible)``                one `Page`: rows, exact total, cursor of the next page
``await index.count(query, level, visible)``                the total alone
``await index.overlap(before, after)``                       what a change of permissions adds and removes
``await index.select(visible, query=..., level=...)``       the instances below what matches, as `IndexedInstance`
``await index.select(visible, entities=[Entity(...)])``     the instances below named patients, studies, series
``await index.visible_ids(orthanc_ids, visible)``           which of these instances may be seen
``await index.instances(sop_uid)``                          instances with their documents, for `decide`; not filtered
==========================================================  ===========================================================

A query is a parsed tree (`dicom_query.parse`) or None for everything. What cannot be served raises `SearchRefused`
(its fault is in the request), `SearchTooSlow` (the time limit) or `DatabaseUnavailable`. The tables behind it are no
interface: nothing outside this package reads them, except ``pacs.instance.sop_uid`` and the row counts, which
operators and tests may look at.
"""

from rpacs_hub.index._columns import DEFAULT_COLUMNS, DEFAULT_SORT, Level, SortKey, parse_level
from rpacs_hub.index.answers import MAX_COLUMNS, MAX_LIMIT, Entity, IndexedInstance, Page, Search
from rpacs_hub.index.facets import MAX_FACETS, Facets, find_facets
from rpacs_hub.index.indexer import Indexer, Progress
from rpacs_hub.index.search import Index
from rpacs_hub.index.status import read_status
from rpacs_hub.index.visible import Overlap, Seen, Visible

__all__ = [
    "DEFAULT_COLUMNS",
    "DEFAULT_SORT",
    "MAX_COLUMNS",
    "MAX_FACETS",
    "MAX_LIMIT",
    "Entity",
    "Facets",
    "Index",
    "IndexedInstance",
    "Indexer",
    "Level",
    "Overlap",
    "Page",
    "Progress",
    "Search",
    "Seen",
    "SortKey",
    "Visible",
    "find_facets",
    "parse_level",
    "read_status",
]
