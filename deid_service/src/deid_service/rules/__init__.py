"""Rules files: a closed YAML schema, read into decisions."""

from deid_service.rules.compile import Action, Decision, Plan
from deid_service.rules.document import Rules, default_rules_path, load_rules

__all__ = ["Action", "Decision", "Plan", "Rules", "default_rules_path", "load_rules"]
