"""The audit: one line for every request, written before any data leaves, chained so that none can go unnoticed.

``event`` what a line says · ``chain`` how it holds the one before · ``schema`` the table · ``file`` the log ·
``writer`` writes both · ``refusals`` bounds what strangers can fill · ``search`` and ``verify`` read ·
``verification`` checks beside the gateway and keeps the result · ``terminal`` lines of commands.
"""

from rpacs_hub.audit.chain import Head
from rpacs_hub.audit.event import AuditEvent
from rpacs_hub.audit.refusals import Refusals
from rpacs_hub.audit.search import AuditFilter
from rpacs_hub.audit.verification import Verifier
from rpacs_hub.audit.verify import Finding, Verification, verify_audit
from rpacs_hub.audit.writer import AuditWriter

__all__ = [
    "AuditEvent",
    "AuditFilter",
    "AuditWriter",
    "Finding",
    "Head",
    "Refusals",
    "Verification",
    "Verifier",
    "verify_audit",
]
