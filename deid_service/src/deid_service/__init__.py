"""De-identify DICOM by rules: a clean copy, or quarantine, never a third way."""

from deid_service.comparison import Comparison, compare
from deid_service.engine import Deidentifier
from deid_service.errors import REFUSAL_REASONS, DeidError, KeyFileError, OutputError, Problem, Refused, RulesError
from deid_service.outcomes import Change, Cleaned, Discarded, Mapping
from deid_service.pixels.shown import PixelsShown, show_pixels
from deid_service.pseudonyms import PseudonymKey
from deid_service.rules import Rules, default_rules_path, load_rules

__all__ = [
    "REFUSAL_REASONS",
    "Change",
    "Cleaned",
    "Comparison",
    "DeidError",
    "Deidentifier",
    "Discarded",
    "KeyFileError",
    "Mapping",
    "OutputError",
    "PixelsShown",
    "Problem",
    "PseudonymKey",
    "Refused",
    "Rules",
    "RulesError",
    "compare",
    "default_rules_path",
    "load_rules",
    "show_pixels",
]
