"""The de-identifier as the hub sees it: its state, the rules in force, its quarantine; nothing that names a patient.

Everything is read from database views that the de-identifier makes and grants (``deid.shown_*``); a retry or a discard
is a request that it carries out with its own rights. There is no other way from here to the clinical side.

``state`` rates, queue, workers · ``rules`` which rules are in force · ``quarantine`` what is held back, and requests ·
``cli`` the commands
"""

from rpacs_hub.pipeline.quarantine import (
    Entry,
    Held,
    Request,
    ask,
    entries,
    entry,
    held_by_reason,
    modalities,
    numbers,
    request,
    requests,
)
from rpacs_hub.pipeline.rules import Rules, rules_in_force
from rpacs_hub.pipeline.state import OUTCOMES, Hour, PipelineState, Worker, read_state

__all__ = [
    "OUTCOMES",
    "Entry",
    "Held",
    "Hour",
    "PipelineState",
    "Request",
    "Rules",
    "Worker",
    "ask",
    "entries",
    "entry",
    "held_by_reason",
    "modalities",
    "numbers",
    "read_state",
    "request",
    "requests",
    "rules_in_force",
]
