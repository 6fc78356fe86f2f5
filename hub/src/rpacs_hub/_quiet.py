"""Keeps pydicom from quoting values of files in logs and warnings, and from checking what was checked before."""

from __future__ import annotations

import logging
import warnings

from pydicom import config

__all__ = ["quiet_pydicom"]


def quiet_pydicom() -> None:
    """Read what there is without validating it; services call this once, before the first file.

    pydicom's warnings name the offending value, which may be a patient's.
    """
    config.settings.reading_validation_mode = config.IGNORE
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module=r"pydicom(\.|$)")
