"""A de-identifier's tables, as the de-identifier itself makes them, with what it might have written there."""

from __future__ import annotations

from deid_service.pipeline import schema
from hub.tests.support import Base

CT = "1.2.840.10008.5.1.4.1.1.2"


def write_state(base: Base) -> Base:
    """Make the tables, and write what one process that lives and one that died have left."""
    url = base.urls["rpacs_deid"]
    schema.prepare(url)
    with schema.connect(url) as connection:
        connection.execute(
            "INSERT INTO inbox (orthanc_id, queued_at)"
            " VALUES ('i1', now() - interval '90 s'), ('i2', now()), ('q3', now())"
        )
        connection.execute("INSERT INTO counter VALUES ('arrived', 100), ('done', 90), ('quarantined', 4)")
        connection.execute(
            "INSERT INTO minute VALUES (date_trunc('minute', now()) - interval '1 minute', 'done', 7),"
            " (date_trunc('minute', now()) - interval '2 hours', 'done', 13),"
            " (date_trunc('minute', now()) - interval '1 minute', 'arrived', 9)"
        )
        connection.execute(
            "INSERT INTO process (id, host, pid, seen, feeding, rules_digest, rules_error, troubles) VALUES"
            " (gen_random_uuid(), 'node', 7, now() + interval '1 hour', true,"
            " 'abc', 'line 3: no such key', '[\"research Orthanc is away\"]')"
        )
        connection.execute(
            "INSERT INTO process (id, host, pid, seen, rules_digest, troubles) VALUES"
            " (gen_random_uuid(), 'node', 6, now() - interval '10 minutes', 'old', '[\"long ago\"]')"
        )
        connection.execute(
            "INSERT INTO rules VALUES (now() - interval '1 day', '/rules.yaml', 'old'), (now(), '/rules.yaml', 'abc')"
        )
        connection.execute(
            "INSERT INTO quarantine (orthanc_id, reason, message, rules_digest, modality, sop_class, bytes) VALUES"
            f" ('q1', 'burned_in_text_possible', 'words 1', 'abc', 'CT', '{CT}', 1000),"
            f" ('q2', 'burned_in_text_possible', 'words 2', 'abc', 'US', NULL, 2000),"
            f" ('q3', 'malformed', 'words 3', 'abc', NULL, NULL, NULL),"
            f" ('q4', 'not_known_yet', 'words 4', 'abc', 'CT', '{CT}', 1)"
        )
        connection.execute("INSERT INTO journal VALUES ('x', 'text', 'all', 'DOE^JANE', 'ANON', now())")
    return base
