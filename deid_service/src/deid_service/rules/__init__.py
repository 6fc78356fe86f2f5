"""Rules files: a closed YAML schema, read into decisions."""

from deid_service.rules.compile import Action, Decision, Plan
from deid_service.rules.document import Rules, default_rules_path, load_rules, parse_rules
from deid_service.rules.s3_file import S3Address, S3File, path_or_s3

__all__ = [
    "Action",
    "Decision",
    "Plan",
    "Rules",
    "S3Address",
    "S3File",
    "default_rules_path",
    "load_rules",
    "parse_rules",
    "path_or_s3",
]
