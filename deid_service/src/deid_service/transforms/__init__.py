"""The transformations, one module each: how a rule of each kind is read, and what it does to a value."""

from deid_service.transforms.add_tags import AddTags
from deid_service.transforms.delete_tags import DeleteTags
from deid_service.transforms.randomize_text import RandomizeText
from deid_service.transforms.randomize_uid import RandomizeUID
from deid_service.transforms.reuse import Identity, ReuseMapping
from deid_service.transforms.shift_date_time import ShiftDateTime

__all__ = ["AddTags", "DeleteTags", "Identity", "RandomizeText", "RandomizeUID", "ReuseMapping", "ShiftDateTime"]
