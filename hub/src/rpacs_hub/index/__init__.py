"""The index of the research Orthanc's images: how it is kept and how it is searched."""

from rpacs_hub.index._columns import DEFAULT_COLUMNS, DEFAULT_SORT, Level, SortKey, parse_level
from rpacs_hub.index.indexer import Indexer, Progress
from rpacs_hub.index.search import MAX_COLUMNS, MAX_LIMIT, Entity, Index, IndexedInstance, Page, Search
from rpacs_hub.index.status import read_status

__all__ = [
    "DEFAULT_COLUMNS",
    "DEFAULT_SORT",
    "MAX_COLUMNS",
    "MAX_LIMIT",
    "Entity",
    "Index",
    "IndexedInstance",
    "Indexer",
    "Level",
    "Page",
    "Progress",
    "Search",
    "SortKey",
    "parse_level",
    "read_status",
]
