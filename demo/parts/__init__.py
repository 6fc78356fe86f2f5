"""The outside parts of the stack (PostgreSQL, Orthanc, SeaweedFS): how to prepare a folder for each and what to run.

Both the supervised local stack and the tests build on these functions, so that what is tested is what runs.
"""

from demo.parts.orthanc import OrthancSettings, orthanc_command, prepare_orthanc
from demo.parts.ports import free_port, free_ports, port_is_open
from demo.parts.postgres import postgres_command, prepare_postgres
from demo.parts.seaweedfs import (
    S3Identity,
    SeaweedSettings,
    prepare_seaweedfs,
    remove_leftover_sockets,
    seaweedfs_command,
    seaweedfs_environment,
)

__all__ = [
    "OrthancSettings",
    "S3Identity",
    "SeaweedSettings",
    "free_port",
    "free_ports",
    "orthanc_command",
    "port_is_open",
    "postgres_command",
    "prepare_orthanc",
    "prepare_postgres",
    "prepare_seaweedfs",
    "remove_leftover_sockets",
    "seaweedfs_command",
    "seaweedfs_environment",
]
