"""What can go wrong with an export, in words for the researcher who asked for it.

::

    ExportError (a HubError)    code, message, hint; safe to show to the user who asked
    |-- ExportRefused           the request cannot be taken as it is
    |-- ExportNotFound          no export of that name belongs to this user
    |-- ExportConflict          the export is not in a state that allows this
    |-- DestinationFailed       the S3 side stops the whole export (keys, bucket, permission, not reachable)
    |-- SourceFailed            the research Orthanc stops the whole export
    `-- InstanceFailed          one instance cannot be exported; the others go on

None of them ever holds a credential, or text that came out of a DICOM file.
"""

from __future__ import annotations

from rpacs_hub.errors import HubError

__all__ = [
    "DestinationFailed",
    "ExportConflict",
    "ExportError",
    "ExportNotFound",
    "ExportRefused",
    "InstanceFailed",
    "SourceFailed",
]


class ExportError(HubError):
    """Base of all errors of this package.

    Parameters
    ----------
    code
        Machine-readable name, such as ``destination_invalid``.
    message
        What happened, in one sentence.
    hint
        What the user can do about it; may be empty.
    """

    def __init__(self, code: str, message: str, hint: str = ""):
        super().__init__(message, hint)
        self.code = code


class ExportRefused(ExportError):  # noqa: N818 - says what happened
    """The request cannot be taken as it is: nothing was started."""


class ExportNotFound(ExportError):  # noqa: N818 - says what happened
    """There is no such export, or it belongs to somebody else; the two look the same on purpose."""

    def __init__(self) -> None:
        super().__init__("export_not_found", "There is no such export.", "GET exports lists yours.")


class ExportConflict(ExportError):  # noqa: N818 - says what happened
    """The export exists but its state does not allow what was asked."""


class DestinationFailed(ExportError):  # noqa: N818 - says what happened
    """S3 refuses or cannot be reached, so that no further object would get through."""


class SourceFailed(ExportError):  # noqa: N818 - says what happened
    """The research Orthanc does not hand out files any more."""


class InstanceFailed(ExportError):  # noqa: N818 - says what happened
    """One instance could not be exported; `code` is the reason that is recorded with it."""
