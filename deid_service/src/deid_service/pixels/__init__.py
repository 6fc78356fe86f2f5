"""What the pixels may show."""

from deid_service.pixels.triage import triage

__all__ = ["triage"]
