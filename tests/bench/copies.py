"""A much larger archive from one that was written: its series again, of other patients, made inside the database."""

from __future__ import annotations

import sys
import time
from typing import Any

import psycopg

_INDEXES = (
    "ALTER TABLE pacs.instance DROP CONSTRAINT instance_pkey",
    "DROP INDEX pacs.instance_block",
    "DROP INDEX pacs.instance_sop_uid",
    "DROP INDEX pacs.block_vals",
)
_NAMES = (
    "0020000D",
    "0020000E",
    "00100020",
    "00100010",
    "00200052",
    "00080050",
    "00081140.00081155",
    "00400275.00401001",
)
"""Paths whose contents are each patient's, study's or series' own."""

_KEYS = (
    "SELECT (SELECT max(patient_pk) FROM pacs.patient), (SELECT max(study_pk) FROM pacs.study), "
    "(SELECT max(series_pk) FROM pacs.series), (SELECT max(block_pk) FROM pacs.block), "
    "(SELECT max(value_id) FROM pacs.value)"
)
_COPY = """
INSERT INTO pacs.patient OVERRIDING SYSTEM VALUE
    SELECT patient_pk + {c} * {patients}, patient_id || '-{c}', issuer FROM pacs.patient WHERE patient_pk <= {patients};
INSERT INTO pacs.study OVERRIDING SYSTEM VALUE
    SELECT study_pk + {c} * {studies}, patient_pk + {c} * {patients}, study_uid || '.{c}'
    FROM pacs.study WHERE study_pk <= {studies};
INSERT INTO pacs.series OVERRIDING SYSTEM VALUE
    SELECT series_pk + {c} * {series}, study_pk + {c} * {studies}, series_uid || '.{c}'
    FROM pacs.series WHERE series_pk <= {series};
INSERT INTO pacs.value (value_id, path_id, digest, num, t, content) OVERRIDING SYSTEM VALUE
    SELECT value_id + {c} * {contents}, path_id, gen_random_uuid(), num,
        t || CASE WHEN path IN ('00100020', '00100010') THEN '-{c}' ELSE '.{c}' END,
        CASE WHEN t IS NULL THEN replace(content, '"1.2.826.0.1.', '"1.2.826.0.1.{c}')
             ELSE replace(content, t, t || '-{c}') END
    FROM own JOIN pacs.value USING (value_id);
INSERT INTO pacs.block (block_pk, series_pk, study_pk, patient_pk, pathset_id, n, vals, series_number, modality,
        patient_id, study_date, study_uid, series_uid) OVERRIDING SYSTEM VALUE
    SELECT block_pk + {c} * {blocks}, series_pk + {c} * {series}, study_pk + {c} * {studies},
        patient_pk + {c} * {patients}, pathset_id, n,
        ARRAY(SELECT u.v + CASE WHEN o.value_id IS NULL THEN 0 ELSE {c} * {contents} END
              FROM unnest(vals) WITH ORDINALITY u (v, o) LEFT JOIN own o ON o.value_id = u.v ORDER BY u.o),
        series_number, modality, patient_id || '-{c}', study_date, study_uid || '.{c}', series_uid || '.{c}'
    FROM pacs.block WHERE block_pk <= {blocks};
INSERT INTO pacs.vary (block_pk, path_id, several, ids, nums, ords, contents, whole, least, most)
    SELECT block_pk + {c} * {blocks}, path_id, several, ids, nums, ords, contents, whole, least, most
    FROM pacs.vary WHERE block_pk <= {blocks};
INSERT INTO pacs.instance (block_pk, ord, bytes, orthanc_id, file_uuid, sop_uid)
    SELECT block_pk + {c} * {blocks}, ord, bytes,
        decode(md5(orthanc_id || '{c}'::bytea), 'hex') || substr(orthanc_id, 1, 4),
        decode(md5(file_uuid || '{c}'::bytea), 'hex'), sop_uid || '.{c}'
    FROM pacs.instance WHERE block_pk <= {blocks};
"""


def add_copies(admin_url: str, copies: int) -> None:
    """Add copies of everything that the index holds.

    Identifiers differ from copy to copy; what else there is stays the same, and so does how often it occurs among all.

    Parameters
    ----------
    admin_url
        Address of the index's database as its superuser.
    copies
        How many.
    """
    with psycopg.connect(admin_url, autocommit=True) as connection:
        begun = time.perf_counter()
        definitions = [
            row[0]
            for row in connection.execute(
                "SELECT indexdef FROM pg_indexes WHERE schemaname = 'pacs' AND indexname IN "
                "('instance_block', 'instance_sop_uid', 'block_vals')"
            ).fetchall()
        ]
        # No look at foreign keys, row by row: they are right by the way the numbers are made.
        connection.execute("SET session_replication_role = replica")
        for statement in _INDEXES:
            connection.execute(statement.encode())
        patients, studies, series, blocks, contents = _row(connection, _KEYS)
        connection.execute(
            "CREATE TEMP TABLE own AS SELECT v.value_id, p.path FROM pacs.value v JOIN pacs.path p USING (path_id) "
            "WHERE p.path = ANY(%s) AND (t <> '' OR t IS NULL)",
            (list(_NAMES),),
        )
        connection.execute("ALTER TABLE own ADD PRIMARY KEY (value_id); ANALYZE own")
        for c in range(1, copies + 1):
            values = {"patients": patients, "studies": studies, "series": series, "blocks": blocks}
            connection.execute(_COPY.format(c=c, contents=contents, **values).encode())
            print(f"copy {c} of {copies}, {time.perf_counter() - begun:.0f} s", file=sys.stderr)
        connection.execute("SET maintenance_work_mem = '1GB'")
        for statement in (*definitions, "ALTER TABLE pacs.instance ADD PRIMARY KEY (orthanc_id)"):
            connection.execute(statement.encode())
        connection.execute("VACUUM (ANALYZE)")
        print(f"copied and indexed, {time.perf_counter() - begun:.0f} s", file=sys.stderr)


def _row(connection: psycopg.Connection[Any], statement: str) -> tuple[int, ...]:
    row = connection.execute(statement.encode()).fetchone()
    assert row is not None
    return tuple(int(value) for value in row)
