"""Invented patients, whose identifiers are words that occur nowhere else."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import date, timedelta

_CONSONANTS = "bdfgklmnprstvz"
_VOWELS = "aeiou"


@dataclass(frozen=True)
class Patient:
    """Who an instance is of, and everybody else in its header.

    Attributes
    ----------
    number
        Which patient; the same number is the same patient.
    family, given, other
        Words of the patient's names.
    physician, operator
        Words of other people's names.
    mrn, accession, visit
        Numbers.
    born, seen
        Date of birth, and of the study.
    """

    number: int
    family: str
    given: str
    other: str
    physician: str
    operator: str
    mrn: str
    accession: str
    visit: str
    street: str
    phone: str
    born: date
    seen: date

    def token(self, place: str) -> str:
        """Return a word that stands for an identifier in one place only."""
        return _word(random.Random(f"{self.number}/{place}"), 4).capitalize()


def patient(number: int) -> Patient:
    """Invent a patient; the same number gives the same patient."""
    draw = random.Random(f"patient {number}")
    seen = date(2012, 1, 1) + timedelta(days=draw.randrange(4000))
    return Patient(
        number,
        _word(draw, 3).capitalize() + ("ü" if number % 3 == 1 else ""),
        _word(draw, 3).capitalize(),
        _word(draw, 3).capitalize(),
        _word(draw, 4).capitalize(),
        _word(draw, 4).capitalize(),
        f"M{draw.randrange(10**6, 10**7)}-{draw.randrange(10, 99)}",
        f"A{draw.randrange(10**7, 10**8)}",
        f"V{draw.randrange(10**6, 10**7)}",
        _word(draw, 4).capitalize(),
        f"0{draw.randrange(10**8, 10**9)}",
        seen - timedelta(days=7000 + draw.randrange(22000)),
        seen,
    )


def _word(draw: random.Random, syllables: int) -> str:
    return "".join(draw.choice(_CONSONANTS) + draw.choice(_VOWELS) + draw.choice("nrslx") for _ in range(syllables))
