"""Everything this package raises.

::

    DeidError
    ├── RulesError         a rules file that must not be used: every problem, with line, column and hint
    ├── RulesSourceError   a rules file that cannot be fetched from S3 just now
    ├── KeyFileError       a pseudonym key that is missing, malformed or readable by others
    ├── InputError         a folder of originals that cannot be looked into
    ├── OutputError        a clean copy or report that cannot be written
    ├── TableError         a clinical table that is not written, with every reason (`deid_service.tables`)
    ├── BadRowError        one row of it that cannot be cleaned
    ├── SourceError        a location that does not exist or cannot be read (`deid_service.sending`)
    ├── DestinationError   a destination that cannot be used
    ├── ServiceError       the service's own: see `deid_service.pipeline.errors`
    ├── CleaningStoppedError   somebody asked to stop while an instance was under way: nothing is known of it
    └── Refused            one instance that cannot be cleaned: quarantine it, never forward it

No message of :class:`Refused` holds a value of the instance: it may be logged, stored and shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deid_service.outcomes import PixelReport

__all__ = [
    "REFUSAL_REASONS",
    "CleaningStoppedError",
    "DeidError",
    "InputError",
    "KeyFileError",
    "OutputError",
    "Problem",
    "Refused",
    "RulesError",
    "RulesSourceError",
]

REFUSAL_REASONS: dict[str, str] = {
    "not_dicom": "the bytes are not a DICOM file with preamble, prefix and file meta information",
    "dicomdir": "a DICOMDIR holds byte offsets and names of other files; send the instances instead",
    "malformed": "the structure is broken: truncated, trailing bytes, lengths that disagree, unknown VR",
    "unknown_transfer_syntax": "the transfer syntax is not one of the standard's",
    "too_deep": "sequences are nested deeper than any real object",
    "too_large": "a deflated data set grows beyond the limit",
    "missing_uid": "a UID that every instance must have is missing or empty",
    "registered_uid": "the study, series or instance UID lies under DICOM's own root and cannot be replaced",
    "burned_in_text_possible": "the pixels may show the patient's identity and no rule cleans them",
    "video": "a video: nothing here can look at its frames or clean them",
    "sound": "a recording of sound: a voice may name the patient, and nothing here can hear it",
    "pixels_elsewhere": "the instance holds an address instead of pixels; fetch them and send the instance with them",
    "text_left_in_pixels": "after everything was blacked out that was found, the pixels still show text",
    "ocr_failed": "the pixels could not be searched for text",
    "encapsulated_document": "a document inside the instance (PDF, CDA, mesh) cannot be cleaned",
    "pixels_not_decodable": "the pixels are stored in a form that cannot be read, or not as the header says",
    "pixels_not_maskable": "no value of these pixels is shown as black",
    "not_transcodable": "the pixels cannot be decoded, or not be written in the transfer syntax that the rules ask for",
    "value_not_encodable": "a value that the rules add cannot be written in the instance's character set",
    "identifier_left": "the clean copy still held an identifier that the rules replaced elsewhere",
    "verification_failed": "the clean copy did not read back as what was meant to be written",
    "internal_error": "an unexpected failure; the log names the place",
}
"""Reason codes of :class:`Refused`, and what each means."""


class DeidError(Exception):
    """Base of every error of the de-identifier."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in a rules file.

    Attributes
    ----------
    line, column : int
        Where it is, both counted from 1; 0 if it is about the file as such.
    message : str
        What is wrong.
    hint : str
        How to put it right; may be empty.
    """

    line: int
    column: int
    message: str
    hint: str = ""

    def __str__(self) -> str:
        hint = f" ({self.hint})" if self.hint else ""
        place = f"line {self.line}, column {self.column}: " if self.line else ""
        return f"{place}{self.message}{hint}"


class RulesError(DeidError):
    """A rules file that must not be used.

    Parameters
    ----------
    problems : sequence of Problem
        Everything that is wrong, in the order of the file.
    source : str, optional
        Name of the file, for the message.
    """

    def __init__(self, problems: Sequence[Problem], source: str = "rules") -> None:
        self.problems = sorted(problems, key=lambda problem: (problem.line, problem.column))
        self.source = source
        super().__init__(source, *problems)

    def __str__(self) -> str:
        count = len(self.problems)
        head = f"{self.source}: {count} problem{'' if count == 1 else 's'}"
        return "\n".join([head, *(f"  {problem}" for problem in self.problems)])


class RulesSourceError(DeidError):
    """A rules file cannot be fetched from S3. Its message names the remedy and no credential.

    Only what follows a file's changes meets it: `deid_service.load_rules` makes a `RulesError` of it.
    """


class KeyFileError(DeidError):
    """A pseudonym key file that is missing, malformed, in the way, or readable by others."""


class InputError(DeidError):
    """A folder of originals that cannot be looked into."""


class CleaningStoppedError(DeidError):
    """Somebody asked to stop while an instance was under way: nothing is known of it, and it is to be done again."""


class OutputError(DeidError):
    """A file that cannot be written: no space, no right, no such place."""


class Refused(DeidError):  # noqa: N818 - it is an outcome, and reads as one
    """One instance that cannot be cleaned and must be quarantined.

    Parameters
    ----------
    reason_code : str
        One of :data:`REFUSAL_REASONS`.
    message : str, optional
        What was found, free of the instance's values. The default is the reason's description.
    pixels : PixelReport, optional
        What was found out about its pixels before.
    """

    def __init__(self, reason_code: str, message: str = "", pixels: PixelReport | None = None) -> None:
        self.reason_code = reason_code
        self.message = message or REFUSAL_REASONS[reason_code]
        self.pixels = pixels
        super().__init__(reason_code, self.message)

    def __str__(self) -> str:
        return f"{self.reason_code}: {self.message}"
