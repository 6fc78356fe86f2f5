"""Exports: jobs in the gateway that send what a user selected to her S3 bucket, and outlive her kernel.

The order of reading: `request` (what users send), `records` (what they see), `exporter` (turns, runs, endings), and for
one run ``_transfer``, which uses `s3`. Progress is in PostgreSQL (`schema`); keys are in memory only.

Objects are named ``{prefix}/{StudyInstanceUID}/{SeriesInstanceUID}/{SOPInstanceUID}`` with ``.dcm`` (the bytes of the
research Orthanc, unchanged), or ``.png`` (``-0001.png`` and on for several frames). An export writes nothing else to
the bucket, no manifest and no marker: what lies under a fresh prefix is exactly what was exported, and the record of
the export says how much that is.
"""

from rpacs_hub.exports.errors import (
    DestinationFailed,
    ExportConflict,
    ExportError,
    ExportNotFound,
    ExportRefused,
    InstanceFailed,
    SourceFailed,
)
from rpacs_hub.exports.everyones import EveryonesExports
from rpacs_hub.exports.exporter import Exporter
from rpacs_hub.exports.records import Export, ExportFormat, ExportState, FailedInstance, InstanceRef
from rpacs_hub.exports.request import (
    Credentials,
    Destination,
    ExportRequest,
    Selection,
    parse_credentials,
    parse_destination,
    parse_endpoint,
    parse_request,
)

__all__ = [
    "Credentials",
    "Destination",
    "DestinationFailed",
    "EveryonesExports",
    "Export",
    "ExportConflict",
    "ExportError",
    "ExportFormat",
    "ExportNotFound",
    "ExportRefused",
    "ExportRequest",
    "ExportState",
    "Exporter",
    "FailedInstance",
    "InstanceFailed",
    "InstanceRef",
    "Selection",
    "SourceFailed",
    "parse_credentials",
    "parse_destination",
    "parse_endpoint",
    "parse_request",
]
