"""``EncapsulatedDocuments`` and ``SuspectedPixels``: what is held back unless a rule says otherwise."""

from __future__ import annotations

from enum import Enum

from yaml.nodes import Node

from deid_service.rules.schema import Problems

__all__ = ["Documents", "read_documents", "read_suspected_pixels"]


class Documents(Enum):
    """What becomes of a document inside an instance (PDF, CDA, a mesh), by its name in a rules file."""

    QUARANTINE = "Quarantine"
    STRIP = "Strip"
    ALLOW = "Allow"


def read_documents(node: Node | None, problems: Problems) -> Documents | None:
    """Read ``EncapsulatedDocuments``; None if absent or wrong."""
    word = problems.read_choice(node, "EncapsulatedDocuments", tuple(choice.value for choice in Documents))
    return None if word is None else Documents(word)


def read_suspected_pixels(node: Node | None, problems: Problems) -> bool | None:
    """Read ``SuspectedPixels``: whether they pass unchecked; None if absent or wrong."""
    word = problems.read_choice(node, "SuspectedPixels", ("Quarantine", "PassUnchecked"))
    return None if word is None else word == "PassUnchecked"
