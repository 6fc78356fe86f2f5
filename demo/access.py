"""Addresses and keys of a stack's servers, for whoever tests or measures it."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["OrthancAccess", "S3Access"]


@dataclass(frozen=True)
class S3Access:
    """The S3 server, and the demo researcher's keys of it."""

    endpoint_url: str
    bucket: str
    forbidden_bucket: str
    access_key: str
    secret_key: str = field(repr=False)


@dataclass(frozen=True)
class OrthancAccess:
    """An Orthanc of the stack.

    Attributes
    ----------
    url
        Address with user name and password.
    aet, dicom_port
        Where to send by C-STORE; the research Orthanc does not listen there.
    """

    url: str = field(repr=False)
    aet: str
    dicom_port: int
