"""Pictures of DICOM frames, decoded in Python, and frames as they are stored."""

from rpacs_hub.rendering.cache import Renderer
from rpacs_hub.rendering.picture import MAX_SIZE, PictureFormat, Viewport, render
from rpacs_hub.rendering.pixels import decode_frame, frame_count, read_dataset
from rpacs_hub.rendering.stored import can_be_native, native_frame, stored_frame, transfer_syntax_of

__all__ = [
    "MAX_SIZE",
    "PictureFormat",
    "Renderer",
    "Viewport",
    "can_be_native",
    "decode_frame",
    "frame_count",
    "native_frame",
    "read_dataset",
    "render",
    "stored_frame",
    "transfer_syntax_of",
]
