"""A DICOM file, read: its elements and where each stands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from deid_service._buffers import Data
from deid_service.wire.encoding import Encoding

if TYPE_CHECKING:
    from deid_service.wire.runs import PlacedRun

__all__ = ["PIXEL_TAGS", "Element", "Item", "Source", "describe"]

PIXEL_TAGS: Final = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
"""Float, double float and integer pixel data."""


def describe(tag: int) -> str:
    """Write a tag as ``(gggg,eeee)``."""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


class Element:
    """One data element and where it stands in the source.

    Attributes
    ----------
    tag : int
        32-bit tag.
    vr : str
        Value representation as encoded; in implicit encodings that of the dictionary, or ``UN``.
    start, value_start, value_end, end : int
        Byte positions of the element, of its value, and after its last byte (delimiters included).
    items : list of Item or None
        For sequences, also for those encoded as UN: the items. None for every other element.
    undefined : bool
        Whether the length was undefined.
    item_encoding : Encoding
        How the items are laid out; differs from the data set's own only inside UN (PS3.5 6.2.2).
    creator : str or None
        For elements of a private block: the private creator, if there is one (PS3.5 7.8).
    """

    __slots__ = (
        "creator",
        "end",
        "item_encoding",
        "items",
        "start",
        "tag",
        "undefined",
        "value_end",
        "value_start",
        "vr",
    )

    def __init__(self, tag: int, vr: str, start: int, value_start: int, value_end: int, encoding: Encoding) -> None:
        self.tag = tag
        self.vr = vr
        self.start = start
        self.value_start = value_start
        self.value_end = value_end
        self.end = value_end
        self.items: list[Item] | None = None
        self.undefined = False
        self.item_encoding = encoding
        self.creator: str | None = None

    def __repr__(self) -> str:
        return f"Element({describe(self.tag)} {self.vr}, {self.value_end - self.value_start} bytes)"


@dataclass(slots=True)
class Item:
    """One item of a sequence.

    Attributes
    ----------
    elements : list of Element
        In ascending order of tag.
    undefined : bool
        Whether the item's length was undefined.
    """

    elements: list[Element]
    undefined: bool


@dataclass(slots=True)
class Source:
    """A DICOM file, read.

    Attributes
    ----------
    data : bytes or mmap
        What the positions of `elements` point into: the file, or the inflated data set. Slices are bytes.
    meta : dict of int to bytes
        Group 0002, values without padding.
    transfer_syntax : str
        Transfer syntax UID.
    encoding : Encoding
        Layout of the data set.
    elements : list of Element
        Top level of the data set, in ascending order of tag. Shared with other instances: nobody may change one.
    segments : list of Element or PlacedRun or None
        The same as runs that earlier instances held too, and what stands between them; None if it was not read so. A
        source that is made from another one has none.
    """

    data: Data
    meta: dict[int, bytes]
    transfer_syntax: str
    encoding: Encoding
    elements: list[Element]
    segments: list[Element | PlacedRun] | None = field(default=None, init=False, repr=False, compare=False)

    def value(self, element: Element) -> bytes:
        """Return the bytes of an element's value."""
        return self.data[element.value_start : element.value_end]

    def select(self, choose: Callable[[Element], bool]) -> list[Element]:
        """Return some elements of the top level.

        Parameters
        ----------
        choose : callable
            A function of a module: what it said of the elements of a run is remembered. Looks at nothing but the
            element itself.

        Returns
        -------
        list of Element
            Those of which it is true, in ascending order of tag.
        """
        if self.segments is None:
            return [element for element in self.elements if choose(element)]
        chosen: list[Element] = []
        for segment in self.segments:
            if isinstance(segment, Element):
                if choose(segment):
                    chosen.append(segment)
            else:
                chosen += segment.derived(choose, lambda elements: [one for one in elements if choose(one)])
        return chosen
