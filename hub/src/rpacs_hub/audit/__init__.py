"""The audit: one line for every request, written before any data leaves."""

from rpacs_hub.audit.event import AuditEvent
from rpacs_hub.audit.writer import AuditWriter

__all__ = ["AuditEvent", "AuditWriter"]
