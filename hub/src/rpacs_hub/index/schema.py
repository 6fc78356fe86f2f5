"""Tables of the index, in schema ``pacs``.

A patient is known by PatientID (0010,0020) *and* IssuerOfPatientID (0010,0021): the same number from two issuers is two
people.

Most attributes are equal in all instances of a series, and most of their values occur in many series. So the instances
of a series are kept in **blocks** of up to `BLOCK_SIZE`:

``pacs.path``
    Every tag path that occurs, without item numbers: ``00400275.00080100``.
``pacs.value``
    The dictionary: every distinct content that a path has in some block, see `rpacs_hub.index._content`.
``pacs.pathset``
    Which paths a block has: those with one content in all its instances (``paths``, ascending), those that vary
    (``varying``), and of the latter those that some instance lacks (``partial``). Few are distinct.
``pacs.block``
    ``vals[k]`` is the content of the pathset's ``paths[k]``; behind them stands ``-path_id`` for each varying path, so
    that one GIN index finds blocks by a content or by what may hold it. Instances whose ``subject`` columns differ are
    never in the same block, so that results sort by these without a look at anything else.
``pacs.vary``
    One row for each path that varies in a block, by the instances' places (``instance.ord``, from 1, without gaps).
    Either ``ids``, contents from the dictionary (0 = absent), where few are distinct; or ``contents``, a JSON array
    (null = absent). There ``nums`` are all numbers among the values, ascending, and ``ords`` the places they belong to
    (null = 1, 2, 3 ...), or ``nums`` is null where some number does not fit a double exactly; ``several`` says that a
    place occurs more than once. In either case ``least`` and ``most`` are the first and last of these numbers (null
    where ``nums`` would be null or empty), and ``whole`` says that every place has one.
``pacs.instance``
    Which files there are. Paths named ``=00080018`` in a pathset say that the SOPInstanceUID of this row is all that
    the tag holds.
"""

from __future__ import annotations

__all__ = ["BLOCK_SIZE", "DDL", "DDL_LOCK", "DROP_DOCUMENTS", "SERVICE_LOCK", "SWEEP_LOCK"]

BLOCK_SIZE = 512
"""Most instances of a block: bounds what one more instance makes the indexer write again."""

DDL_LOCK = 0x7061_6373
"""Advisory lock under which the tables are made."""

SERVICE_LOCK = 0x7061_6374
"""Advisory lock that the one indexer that follows the feed holds."""

SWEEP_LOCK = 0x7061_6375
"""Advisory lock: shared while something is written, exclusive while unused contents are removed."""

DROP_DOCUMENTS = "DROP TABLE IF EXISTS pacs.instance, pacs.series, pacs.study, pacs.patient CASCADE"
"""Removes the tables of the earlier index, which kept one document for each instance."""

DDL = """
CREATE TABLE IF NOT EXISTS pacs.patient (
    patient_pk int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    patient_id text NOT NULL,
    issuer     text NOT NULL,
    UNIQUE (patient_id, issuer)
);
CREATE TABLE IF NOT EXISTS pacs.study (
    study_pk   int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    patient_pk int NOT NULL REFERENCES pacs.patient,
    study_uid  text NOT NULL,
    UNIQUE (study_uid, patient_pk)
);
CREATE INDEX IF NOT EXISTS study_patient ON pacs.study (patient_pk);
CREATE TABLE IF NOT EXISTS pacs.series (
    series_pk  int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    study_pk   int NOT NULL REFERENCES pacs.study,
    series_uid text NOT NULL,
    UNIQUE (series_uid, study_pk)
);
CREATE INDEX IF NOT EXISTS series_study ON pacs.series (study_pk);
CREATE TABLE IF NOT EXISTS pacs.path (
    path_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    path    text COLLATE "C" NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS path_path ON pacs.path (md5(path));
CREATE TABLE IF NOT EXISTS pacs.value (
    value_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    path_id  int NOT NULL,
    digest   uuid NOT NULL UNIQUE,
    num      float8,
    t        text COLLATE "C",
    content  text
);
CREATE INDEX IF NOT EXISTS value_text ON pacs.value (path_id, left(t, 100)) WHERE t IS NOT NULL;
CREATE INDEX IF NOT EXISTS value_num ON pacs.value (path_id, num) WHERE num IS NOT NULL;
CREATE INDEX IF NOT EXISTS value_several ON pacs.value (path_id) WHERE t IS NULL;
CREATE TABLE IF NOT EXISTS pacs.pathset (
    pathset_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    digest     uuid NOT NULL UNIQUE,
    paths      int[] NOT NULL,
    varying    int[] NOT NULL,
    partial    int[] NOT NULL
);
CREATE TABLE IF NOT EXISTS pacs.block (
    block_pk      int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    series_pk     int NOT NULL REFERENCES pacs.series,
    study_pk      int NOT NULL,
    patient_pk    int NOT NULL,
    pathset_id    int NOT NULL,
    n             int NOT NULL,
    vals          int[] NOT NULL,
    series_number float8,
    modality      text,
    patient_id    text COLLATE "C",
    study_date    text COLLATE "C",
    study_uid     text COLLATE "C",
    series_uid    text COLLATE "C"
) WITH (fillfactor = 90);
CREATE INDEX IF NOT EXISTS block_series ON pacs.block (series_pk);
CREATE INDEX IF NOT EXISTS block_study ON pacs.block (study_pk);
CREATE INDEX IF NOT EXISTS block_patient ON pacs.block (patient_pk);
-- What the first pages of results are sorted by: blocks are read in that order until there are enough.
CREATE INDEX IF NOT EXISTS block_date ON pacs.block (study_date DESC NULLS LAST);
CREATE INDEX IF NOT EXISTS block_study_uid ON pacs.block (study_uid);
CREATE INDEX IF NOT EXISTS block_patient_id ON pacs.block (patient_id);
CREATE INDEX IF NOT EXISTS block_vals ON pacs.block USING gin (vals pg_catalog.array_ops) WITH (fastupdate = off);
CREATE TABLE IF NOT EXISTS pacs.vary (
    block_pk int NOT NULL,
    path_id  int NOT NULL,
    several  boolean NOT NULL,
    ids      int[],
    nums     float8[],
    ords     int[],
    contents text,
    PRIMARY KEY (block_pk, path_id)
);
ALTER TABLE pacs.vary ADD COLUMN IF NOT EXISTS whole boolean NOT NULL DEFAULT false,
    ADD COLUMN IF NOT EXISTS least float8, ADD COLUMN IF NOT EXISTS most float8;
CREATE INDEX IF NOT EXISTS vary_range ON pacs.vary (path_id, block_pk) INCLUDE (whole, least, most)
    WHERE least IS NOT NULL;
CREATE TABLE IF NOT EXISTS pacs.instance (
    block_pk   int NOT NULL REFERENCES pacs.block,
    ord        int NOT NULL,
    bytes      bigint NOT NULL,
    orthanc_id bytea NOT NULL PRIMARY KEY,
    file_uuid  bytea NOT NULL,
    sop_uid    text COLLATE "C" NOT NULL
);
CREATE INDEX IF NOT EXISTS instance_block ON pacs.instance (block_pk);
CREATE INDEX IF NOT EXISTS instance_sop_uid ON pacs.instance USING hash (sop_uid);
-- What Orthanc holds but the index cannot read: kept apart so that it never holds up the feed, and is not forgotten.
CREATE TABLE IF NOT EXISTS pacs.unreadable (
    orthanc_id text PRIMARY KEY,
    file_uuid  text NOT NULL,
    reason     text NOT NULL,
    noted_at   timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE IF NOT EXISTS pacs.feed (
    only_row      boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    position      bigint NOT NULL DEFAULT 0,
    newest        bigint NOT NULL DEFAULT 0,
    moved_at      timestamptz,
    reconciled_at timestamptz,
    verified_at   timestamptz,
    seen_at       timestamptz
);
ALTER TABLE pacs.feed ADD COLUMN IF NOT EXISTS sweeps bigint NOT NULL DEFAULT 0;
ALTER TABLE pacs.feed ADD COLUMN IF NOT EXISTS trouble text;
INSERT INTO pacs.feed DEFAULT VALUES ON CONFLICT DO NOTHING;
-- What a rebuild still has to read: whoever rebuilds takes a part, and it is gone when the part is written.
CREATE TABLE IF NOT EXISTS pacs.rebuild_part (
    part_no     int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    orthanc_ids bytea[] NOT NULL
);
"""
