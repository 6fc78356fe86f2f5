"""Devices that are known to write into their images, and where.

A table of the package (`data/catalogue.tsv`, made by `tools/build_pixel_catalogue.py`): each row a list of tests on the
header and the boxes in which images that pass them hold text. Several rows may fit one image; their boxes add up. An
image that no row fits is not free of text: the table knows some devices, with some of their versions, and no others.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from pydicom.datadict import tag_for_keyword

from deid_service.pixels.boxes import Box
from deid_service.pixels.header import COLUMNS, ROWS, Header
from deid_service.profiles.table import read_table

__all__ = ["Catalogue", "Signature", "load_catalogue"]


@dataclass(frozen=True, slots=True)
class Test:
    """One test on the header.

    Attributes
    ----------
    tag : int
        32-bit tag of a top-level element.
    sign : str
        ``=`` is, ``^`` starts with, ``~`` contains; case does not count.
    values : tuple of str
        In lower case; one of them must fit.
    """

    tag: int
    sign: str
    values: tuple[str, ...]

    def holds(self, header: Header) -> bool:
        """Tell whether an instance passes."""
        have = header[self.tag]
        match self.sign:
            case "=":
                return have in self.values
            case "^":
                return have.startswith(self.values)
            case _:
                return any(value in have for value in self.values)


@dataclass(frozen=True, slots=True)
class Signature:
    """One row.

    Attributes
    ----------
    number : int
        Of the row, from 1.
    tests : tuple of Test
        All must hold.
    boxes : tuple of Box
        Where the text is; may reach beyond an image.
    """

    number: int
    tests: tuple[Test, ...]
    boxes: tuple[Box, ...]


class Catalogue:
    """The table.

    Attributes
    ----------
    edition : str
        When it was made, as year and month.
    digest : str
        SHA-256 of the rows, in hexadecimal digits; checked when it is read.
    signatures : tuple of Signature
        Its rows.
    """

    def __init__(self, edition: str, digest: str, signatures: tuple[Signature, ...]) -> None:
        self.edition = edition
        self.digest = digest
        self.signatures = signatures
        # Most rows hold for one size of image only.
        self._by_size: dict[tuple[str, str], list[Signature]] = {}
        for signature in signatures:
            sizes = {test.tag: test.values[0] for test in signature.tests if len(test.values) == 1}
            self._by_size.setdefault((sizes.get(ROWS, ""), sizes.get(COLUMNS, "")), []).append(signature)

    def find(self, header: Header) -> tuple[Signature, ...]:
        """Return the rows that fit an instance.

        Parameters
        ----------
        header : Header
            Of the original.

        Returns
        -------
        tuple of Signature
            In the order of the table.
        """
        rows, columns = header[ROWS], header[COLUMNS]
        candidates = (
            signature
            for size in ((rows, columns), (rows, ""), ("", columns), ("", ""))
            for signature in self._by_size.get(size, ())
        )
        found = [signature for signature in candidates if all(test.holds(header) for test in signature.tests)]
        return tuple(sorted(found, key=lambda signature: signature.number))


@lru_cache(maxsize=1)
def load_catalogue() -> Catalogue:
    """Return the catalogue; read once.

    Returns
    -------
    Catalogue

    Raises
    ------
    RuntimeError
        If the table was edited or cut.
    """
    facts, rows = read_table("catalogue.tsv", "deid_service.pixels")
    signatures = tuple(
        Signature(number, tuple(map(_test, tests.split(" & "))), tuple(map(_box, boxes.split("; "))))
        for number, (tests, boxes, _) in enumerate(rows, 1)
    )
    return Catalogue(facts["edition"], facts["sha256"], signatures)


def _test(text: str) -> Test:
    place = next(index for index, sign in enumerate(text) if sign in "=^~")
    tag = tag_for_keyword(text[:place])
    assert tag is not None
    return Test(tag, text[place], tuple(text[place + 1 :].split("|")))


def _box(text: str) -> Box:
    left, top, right, bottom = (int(number) for number in text.split(","))
    return Box(left, top, right, bottom)
