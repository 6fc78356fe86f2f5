"""The Basic Application Level Confidentiality Profile and its options (DICOM PS3.15 Annex E)."""

import deid_service.rules  # noqa: F401 - first: rules and profiles know each other
from deid_service.profiles.policy import Do, Mode, Policy, Verdict
from deid_service.profiles.table import Option, Row, Table, load_table

__all__ = ["Do", "Mode", "Option", "Policy", "Row", "Table", "Verdict", "load_table"]
