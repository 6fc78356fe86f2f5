"""Tag paths, tag path patterns and the query language of the research PACS.

Text becomes a tree with :func:`parse`; a tree is asked of a dataset with :func:`evaluate`, of an indexed document with
:func:`evaluate_document`, or becomes SQL with :func:`compile_sql`. All three give the same answer. Nothing here does
any input or output.
"""

from .complete import ValueSlot, complete, value_slot, word_start
from .document import Document, evaluate_document, index_document
from .errors import DicomQueryError, QueryError, QueryTooLargeError, TagPathError, TagPatternError
from .evaluate import evaluate
from .explain import explain
from .literals import Number, PartialDate, TextPattern
from .nodes import EVERYTHING, And, Condition, Node, Not, Operator, Or, all_of, conditions_of
from .patterns import Anchor, PatternLevel, PatternSet, TagPattern
from .query import parse, to_text, value_text
from .sql import Sql, compile_sql, text_test
from .tags import (
    ElementPath,
    PathStep,
    TagPath,
    TagStep,
    keyword_of,
    known_keywords,
    nearest,
    nearest_keyword,
    parse_tag,
    path_text,
    tag_text,
)
from .unmet import Unmet, unmet

__all__ = [
    "EVERYTHING",
    "Anchor",
    "And",
    "Condition",
    "DicomQueryError",
    "Document",
    "ElementPath",
    "Node",
    "Not",
    "Number",
    "Operator",
    "Or",
    "PartialDate",
    "PathStep",
    "PatternLevel",
    "PatternSet",
    "QueryError",
    "QueryTooLargeError",
    "Sql",
    "TagPath",
    "TagPathError",
    "TagPattern",
    "TagPatternError",
    "TagStep",
    "TextPattern",
    "Unmet",
    "ValueSlot",
    "all_of",
    "compile_sql",
    "complete",
    "conditions_of",
    "evaluate",
    "evaluate_document",
    "explain",
    "index_document",
    "keyword_of",
    "known_keywords",
    "nearest",
    "nearest_keyword",
    "parse",
    "parse_tag",
    "path_text",
    "tag_text",
    "text_test",
    "to_text",
    "unmet",
    "value_slot",
    "value_text",
    "word_start",
]
