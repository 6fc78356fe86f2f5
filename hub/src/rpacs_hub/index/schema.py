"""Tables of the index, in schema ``pacs``.

A patient is known by PatientID (0010,0020) *and* IssuerOfPatientID (0010,0021): the same number from two issuers is two
people. Keys survive a rebuild, because rows are brought up to date instead of being dropped.
"""

from __future__ import annotations

__all__ = ["DDL", "DDL_LOCK", "SERVICE_LOCK"]

DDL_LOCK = 0x7061_6373
"""Advisory lock under which the tables are made."""

SERVICE_LOCK = 0x7061_6374
"""Advisory lock that the one working indexer holds."""

DDL = """
CREATE TABLE IF NOT EXISTS pacs.patient (
    patient_pk bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    patient_id text NOT NULL,
    issuer     text NOT NULL,
    UNIQUE (patient_id, issuer)
);
CREATE TABLE IF NOT EXISTS pacs.study (
    study_pk   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    patient_pk bigint NOT NULL REFERENCES pacs.patient,
    study_uid  text NOT NULL,
    UNIQUE (patient_pk, study_uid)
);
CREATE TABLE IF NOT EXISTS pacs.series (
    series_pk  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    study_pk   bigint NOT NULL REFERENCES pacs.study,
    series_uid text NOT NULL,
    UNIQUE (study_pk, series_uid)
);
CREATE TABLE IF NOT EXISTS pacs.instance (
    instance_pk bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    series_pk   bigint NOT NULL REFERENCES pacs.series,
    study_pk    bigint NOT NULL REFERENCES pacs.study,
    patient_pk  bigint NOT NULL REFERENCES pacs.patient,
    sop_uid     text NOT NULL,
    orthanc_id  text NOT NULL UNIQUE,
    file_uuid   text NOT NULL,
    bytes       bigint NOT NULL,
    tags        jsonb NOT NULL,
    document    jsonb NOT NULL,
    indexed_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS instance_sop_uid ON pacs.instance (sop_uid);
CREATE INDEX IF NOT EXISTS instance_series ON pacs.instance (series_pk);
CREATE INDEX IF NOT EXISTS instance_study ON pacs.instance (study_pk);
CREATE INDEX IF NOT EXISTS instance_patient ON pacs.instance (patient_pk);
CREATE INDEX IF NOT EXISTS instance_document ON pacs.instance USING gin (document jsonb_path_ops);
CREATE INDEX IF NOT EXISTS series_uid ON pacs.series (series_uid);
CREATE INDEX IF NOT EXISTS study_uid ON pacs.study (study_uid);
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
INSERT INTO pacs.feed DEFAULT VALUES ON CONFLICT DO NOTHING;
"""
