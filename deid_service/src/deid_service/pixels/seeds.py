"""What a header says about its patient, in the forms in which it may be written into a picture."""

from __future__ import annotations

from deid_service.descriptors import PatientIdentifiers

__all__ = ["seeds_of"]


def seeds_of(identifiers: PatientIdentifiers) -> frozenset[str]:
    """Return words and numbers to look for.

    Parameters
    ----------
    identifiers : PatientIdentifiers
        Of the original: what descriptions are cleaned of and what the finished copy is searched for.

    Returns
    -------
    frozenset of str
        In lower case, without accents; dates as digits in three orders.
    """
    dates = {
        form
        for date in identifiers.dates
        for year, month, day in [(date[:4], date[4:6], date[6:])]
        for form in (date, day + month + year, month + day + year)
    }
    return identifiers.names | identifiers.people | identifiers.unspaced | identifiers.ids | identifiers.numbers | dates
