"""Cleaning and sending what lies somewhere: in the ingest Orthanc, on S3, or in files.

=================  ====================================================================================
module             holds
=================  ====================================================================================
`sources`          where originals come from
`destinations`     where clean copies go, and how each is confirmed
`transfer`         from the one to the other, with a log
`cli`              ``rpacs-deid send``
=================  ====================================================================================
"""

from deid_service.sending.destinations import DestinationError, open_destination
from deid_service.sending.sources import SourceError, open_source
from deid_service.sending.transfer import Record, transfer

__all__ = ["DestinationError", "Record", "SourceError", "open_destination", "open_source", "transfer"]
