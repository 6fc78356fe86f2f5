"""What others may see of the service, and ask of it, through the database: views and one function, nothing else.

The admin pages run elsewhere, under the role ``rpacs_gateway``, which must not come near a patient's data. It is given
the views and the function of this module and no right on any table. None of them holds patient data: counts, times,
reason codes, the service's own messages (which by rule quote nothing of an instance), and of an instance in quarantine
a number, its modality, SOP class and size. Orthanc's ids are left out: they are digests of the patient's identifiers.

=====================  ================================================================================================
name                   holds
=====================  ================================================================================================
``shown_version``      ``version`` of this interface
``shown_queue``        ``queued``, ``oldest`` (when the oldest of them was queued)
``shown_count``        ``outcome``, ``instances``: ever
``shown_minute``       ``minute``, ``outcome``, ``instances``: of the last day
``shown_process``      ``host``, ``pid``, ``started``, ``seen``, ``alive``, ``feeding``, ``rules_digest``,
                       ``rules_error``, ``troubles``
``shown_rules``        ``since``, ``source``, ``digest``: which rules were put in force when
``shown_reason``       ``reason``, ``meaning``, ``remedy``
``shown_quarantine``   ``number``, ``reason``, ``message``, ``modality``, ``sop_class``, ``bytes``, ``rules_digest``,
                       ``attempts``, ``first_seen``, ``last_seen``, ``retrying``
``shown_request``      ``id``, ``made``, ``action``, ``asked_by``, ``why``, ``entries``, ``state``, ``instances``,
                       ``outcome``, ``finished``
``ask_quarantine()``   asks for a retry or a discard, which the service carries out; see `requests`
=====================  ================================================================================================

Outcomes are ``arrived``, ``done``, ``discarded``, ``quarantined``, ``gone`` and ``discarded_by_hand``.
Columns are added at the end, and nothing is renamed or taken away, without a new ``version``.
"""

from __future__ import annotations

import hashlib

import psycopg
from psycopg import sql

from deid_service.pipeline.reasons import REASONS, REMEDIES

__all__ = ["READER", "VIEWS", "publish"]

READER = "rpacs_gateway"
"""The role that may look."""

VIEWS = (
    "shown_version",
    "shown_queue",
    "shown_count",
    "shown_minute",
    "shown_process",
    "shown_rules",
    "shown_reason",
    "shown_quarantine",
    "shown_request",
)
"""All that it may read."""

_FUNCTION = "ask_quarantine(text, text, text, bigint[])"

# A view reads with the rights of its owner, and so does the function: that is what makes them the only openings.
_DEFINITION = """
CREATE VIEW shown_version AS SELECT 1 AS version;
CREATE VIEW shown_queue AS
    SELECT count(*) AS queued, min(queued_at) AS oldest FROM inbox WHERE state = 'queued';
CREATE VIEW shown_count AS SELECT outcome, instances FROM counter;
CREATE VIEW shown_minute AS SELECT minute, outcome, instances FROM minute;
CREATE VIEW shown_process AS
    SELECT host, pid, started, seen, seen > now() - interval '5 seconds' AS alive, feeding,
        rules_digest, rules_error, troubles
    FROM process;
CREATE VIEW shown_rules AS SELECT since, source, digest FROM rules;
CREATE VIEW shown_quarantine AS
    SELECT number, reason, message, modality, sop_class, bytes, rules_digest, attempts, first_seen, last_seen,
        EXISTS (SELECT FROM inbox WHERE inbox.orthanc_id = quarantine.orthanc_id) AS retrying
    FROM quarantine;
CREATE VIEW shown_request AS
    SELECT id, made, action, asked_by, why, cardinality(numbers) AS entries, state, instances, outcome, finished
    FROM request;
CREATE FUNCTION ask_quarantine(wanted_action text, asked_by text, why text, entries bigint[]) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, deid, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    there bigint[];
    given bigint;
BEGIN
    IF wanted_action IS NULL OR wanted_action NOT IN ('retry', 'discard') THEN
        RAISE EXCEPTION 'what can be asked for is retry or discard' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF length(trim(coalesce(asked_by, ''))) NOT BETWEEN 1 AND 200
            OR length(trim(coalesce(why, ''))) NOT BETWEEN 1 AND 500 THEN
        RAISE EXCEPTION 'who asks, and why, must be said in up to 200 and 500 characters'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF coalesce(cardinality(entries), 0) NOT BETWEEN 1 AND 1000000 THEN
        RAISE EXCEPTION 'a request names between 1 and 1000000 entries' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF (SELECT count(*) FROM request WHERE state = 'waiting') >= 1000 THEN
        RAISE EXCEPTION 'a thousand requests wait already' USING ERRCODE = 'configuration_limit_exceeded';
    END IF;
    SELECT array_agg(number ORDER BY number) INTO there FROM quarantine WHERE number = ANY (entries);
    IF there IS NULL THEN
        RETURN NULL;
    END IF;
    INSERT INTO request (action, asked_by, why, numbers)
        VALUES (wanted_action, trim(asked_by), trim(why), there) RETURNING id INTO given;
    RETURN given;
END $$;
"""


def publish(connection: psycopg.Connection) -> None:
    """Make views and function as this version has them, and let the reader have exactly these.

    Whatever is as it should be is left alone, so that a process that starts gets into nobody's way.

    Parameters
    ----------
    connection
        Of the schema's owner, in a transaction, with the schema first in its search path.
    """
    versions: dict[str, str] = dict(connection.execute("SELECT part, version FROM version").fetchall())
    # The queue's functions change with its version, and each new one is everybody's at first.
    given = (_DEFINITION, REASONS, REMEDIES, versions.get("queue"))
    wanted = hashlib.sha256(repr(given).encode()).hexdigest()
    if versions.get("shown") != wanted:
        connection.execute(f"DROP FUNCTION IF EXISTS {_FUNCTION}".encode())
        for view in VIEWS:
            connection.execute(sql.SQL("DROP VIEW IF EXISTS {}").format(sql.Identifier(view)))
        connection.execute(_DEFINITION.encode())
        connection.execute(_reasons())
        # To execute functions is everybody's right unless it is taken away; the queue's own are among them.
        connection.execute("REVOKE ALL ON ALL FUNCTIONS IN SCHEMA deid FROM PUBLIC")
        connection.execute(
            "INSERT INTO version VALUES ('shown', %s) ON CONFLICT (part) DO UPDATE SET version = excluded.version",
            (wanted,),
        )
    _grant(connection)


def _reasons() -> sql.Composed:
    rows = [
        sql.SQL("({})").format(sql.SQL(", ").join(map(sql.Literal, (reason, meaning, REMEDIES[reason]))))
        for reason, meaning in REASONS.items()
    ]
    return sql.SQL("CREATE VIEW shown_reason (reason, meaning, remedy) AS VALUES {}").format(sql.SQL(", ").join(rows))


def _grant(connection: psycopg.Connection) -> None:
    """Grant what is missing to the reader, where there is such a role and it is not the owner itself."""
    row = connection.execute(
        """
        SELECT has_schema_privilege(rolname, 'deid', 'USAGE') AND has_function_privilege(rolname, %s, 'EXECUTE')
            AND (SELECT bool_and(has_table_privilege(rolname, 'deid.' || name, 'SELECT')) FROM unnest(%s::text[]) name)
        FROM pg_roles WHERE rolname = %s
        """,
        (f"deid.{_FUNCTION}", list(VIEWS), READER),
    ).fetchone()
    if row is None or row[0]:
        return
    reader = sql.Identifier(READER)
    connection.execute(sql.SQL("GRANT USAGE ON SCHEMA deid TO {}").format(reader))
    for view in VIEWS:
        connection.execute(sql.SQL("GRANT SELECT ON {} TO {}").format(sql.Identifier(view), reader))
    connection.execute(sql.SQL(f"GRANT EXECUTE ON FUNCTION {_FUNCTION} TO {{}}").format(reader))
