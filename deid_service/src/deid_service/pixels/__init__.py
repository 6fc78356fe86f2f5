"""What the pixels may show, and the codecs that read and write them."""

from deid_service.pixels.triage import triage

__all__ = ["triage"]
