"""Reading text in pictures: what an engine is, and the two that there are.

``local`` (:mod:`deid_service.pixels.ocr.local`) reads on this machine and needs no network. ``rekognition``
(:mod:`deid_service.pixels.ocr.rekognition`) sends the pictures to Amazon Rekognition: only a rules file that names it
makes that happen.
"""

from __future__ import annotations

from deid_service.pixels.ocr.engine import ENGINES, Engine, OcrError, Word, engine

__all__ = ["ENGINES", "Engine", "OcrError", "Word", "engine"]
