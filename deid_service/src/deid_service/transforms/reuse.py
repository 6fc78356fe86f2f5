"""``ReuseMapping``: for whom a replacement stays the same."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from yaml.nodes import Node

from deid_service.rules.schema import Problems

__all__ = ["Identity", "ReuseMapping", "read_reuse"]


class ReuseMapping(Enum):
    """Within what the same original gets the same replacement."""

    SAME_INSTANCE = "SameInstance"
    SAME_SERIES = "SameSeries"
    SAME_STUDY = "SameStudy"
    SAME_PATIENT = "SamePatient"
    ALWAYS = "Always"


def read_reuse(node: Node | None, problems: Problems) -> ReuseMapping:
    """Read ``ReuseMapping``; absent means each instance on its own."""
    if node is None:
        return ReuseMapping.SAME_INSTANCE
    choice = problems.read_choice(node, "ReuseMapping", [reuse.value for reuse in ReuseMapping])
    return ReuseMapping(choice) if choice else ReuseMapping.SAME_INSTANCE


@dataclass(frozen=True, slots=True)
class Identity:
    """Who and what an instance is, before it is cleaned.

    Attributes
    ----------
    patient_id, issuer : str
        (0010,0020) and (0010,0021): the same number from two issuers is two patients.
    study, series, instance : str
        Study, Series and SOP Instance UID.
    """

    patient_id: str
    issuer: str
    study: str
    series: str
    instance: str

    def scope(self, reuse: ReuseMapping) -> tuple[str, ...]:
        """Name the scope of a replacement.

        Parameters
        ----------
        reuse : ReuseMapping
            For whom it stays the same.

        Returns
        -------
        tuple of str
            Without a Patient ID the study stands for the patient: two unknown patients are not one.
        """
        match reuse:
            case ReuseMapping.ALWAYS:
                return ("always",)
            case ReuseMapping.SAME_PATIENT if self.patient_id:
                return ("patient", self.patient_id, self.issuer)
            case ReuseMapping.SAME_PATIENT | ReuseMapping.SAME_STUDY:
                return ("study", self.study)
            case ReuseMapping.SAME_SERIES:
                return ("series", self.series)
            case ReuseMapping.SAME_INSTANCE:
                return ("instance", self.instance)
