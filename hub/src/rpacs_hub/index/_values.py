"""The statement for the values of an element, and how many rows of a level have each: one look at matching blocks."""

from __future__ import annotations

import json

from dicom_query.literals import NUMBER_PATTERN
from rpacs_hub.index._columns import Level
from rpacs_hub.index._compile import Compiled
from rpacs_hub.index._content import SOP_PATHS, shown_of
from rpacs_hub.index._lookup import VALUES
from rpacs_hub.index._page import key_of

__all__ = ["shown_value", "values_statement"]


def values_statement(
    compiled: Compiled, level: Level, path: str, *, numeric: bool, prefix: str, limit: int
) -> str | None:
    """Return a SELECT of (folded text, rows that have it, a content with it), most frequent first; None = no values.

    Parameters
    ----------
    compiled
        Query and permissions, compiled with the path and what it has in `SOP_PATHS` among the extra paths. Parameters
        are added to it.
    level
        What is counted.
    path
        Tag of a top-level element.
    numeric
        Numbers that are equal are one value, whatever their digits.
    prefix
        Folded beginning of the values.
    limit
        The most values.
    """
    parameters = compiled.parameters
    at, own = compiled.position(path, "b"), compiled.position(SOP_PATHS.get(path, ""), "b")
    key = f"b.{key_of(level)}" if level is not Level.INSTANCE else "b.block_pk"
    columns = f", {own or 0} AS own, {at or 0} AS at"
    if at:
        columns += f", CASE WHEN {at} > 0 THEN b.vals[{at}] END AS content_id"
    here = "(b.hits IS NULL OR {} = ANY(b.hits))"
    parts = []
    if at:
        varying = f"b.at < 0 AND v.path_id = {compiled.path_ids[path]}"
        parts += [
            f"SELECT {key} AS key, b.content_id, NULL AS content, coalesce(icount(b.hits), b.n)::bigint AS n "  # noqa: S608 - names are ours
            "FROM found b WHERE b.at > 0",
            f"SELECT {key}, u.id, NULL, count(*) FROM found b JOIN pacs.vary v USING (block_pk) "  # noqa: S608
            f"CROSS JOIN LATERAL unnest(v.ids) WITH ORDINALITY u (id, o) WHERE {varying} AND u.id <> 0 "
            f"AND {here.format('u.o')} GROUP BY 1, 2",
            f"SELECT {key}, NULL, u.c::text, count(*) FROM found b JOIN pacs.vary v USING (block_pk) "  # noqa: S608
            "CROSS JOIN LATERAL jsonb_array_elements(v.contents::jsonb) WITH ORDINALITY u (c, o) "
            f"WHERE {varying} AND v.ids IS NULL AND u.c <> 'null' AND {here.format('u.o')} GROUP BY 1, 3",
        ]
    if own:
        parts.append(
            f"SELECT {key}, NULL::int, to_json(i.sop_uid)::text, count(*) FROM found b "  # noqa: S608
            f"JOIN pacs.instance i USING (block_pk) WHERE b.own < 0 AND {here.format('i.ord')} GROUP BY 1, 3"
        )
    if not parts:
        return None
    text = "x.t"
    if numeric:
        pattern = parameters.add(f"^({NUMBER_PATTERN})$")
        text = f"CASE WHEN x.t ~ {pattern} THEN trim_scale(x.t::numeric)::text ELSE x.t END"
    begins = f" AND starts_with(x.t, {parameters.add(prefix)}::text)" if prefix else ""

    def values(content: str) -> str:
        return (
            f"SELECT DISTINCT {text} AS t FROM (SELECT {content}::jsonb AS c OFFSET 0) e, LATERAL {VALUES} "  # noqa: S608
            f"WHERE btrim(x.t) <> ''{begins}"
        )

    counted = "sum(p.n)" if level is Level.INSTANCE else "count(DISTINCT p.key)"
    tables = [
        f"found AS MATERIALIZED ({compiled.matching(columns)})",
        f"parts (key, content_id, content, n) AS MATERIALIZED ({' UNION ALL '.join(parts)})",
        "texts AS MATERIALIZED (SELECT w.value_id, w.content, x.t FROM (SELECT w.value_id, "  # noqa: S608
        "coalesce(w.content, to_json(w.t)::text) AS content FROM pacs.value w "
        "WHERE w.value_id IN (SELECT p.content_id FROM parts p WHERE p.content_id IS NOT NULL)) w "
        f"CROSS JOIN LATERAL ({values('w.content')}) x)",
    ]
    return (
        f'{compiled.with_tables(tables)}SELECT p.t COLLATE "C", {counted}::bigint, min(p.content) FROM ('  # noqa: S608
        "SELECT p.key, p.n, x.t, x.content FROM parts p JOIN texts x ON x.value_id = p.content_id "
        "UNION ALL SELECT p.key, p.n, x.t, p.content FROM parts p "
        f"CROSS JOIN LATERAL ({values('p.content')}) x WHERE p.content_id IS NULL) p "
        f'GROUP BY p.t ORDER BY 2 DESC, p.t COLLATE "C" LIMIT {parameters.add(limit)}'
    )


def shown_value(path: str, text: str, content: str, *, numeric: bool) -> str:
    """Return a value as it is shown: ``Thorax`` for ``thorax``, if that is what a content with it holds.

    Parameters
    ----------
    path
        Tag of the element.
    text
        The value as the statement returns it.
    content
        A content of the path that has the value.
    numeric
        As for the statement.
    """
    if isinstance(parsed := json.loads(content), dict) and "s" not in parsed:
        return text
    shown = shown_of(path, content)
    for each in shown if isinstance(shown, list) else [shown]:
        one = str(each).strip()
        if one.casefold() == text.strip() or (numeric and _is_same_number(one, text)):
            return one
    return text.strip()


def _is_same_number(one: str, other: str) -> bool:
    try:
        return float(one) == float(other)
    except ValueError:
        return False
