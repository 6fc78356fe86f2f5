"""Pictures of DICOM frames, decoded in Python."""

from rpacs_hub.rendering.cache import Renderer
from rpacs_hub.rendering.picture import MAX_SIZE, PictureFormat, render
from rpacs_hub.rendering.pixels import decode_frame, frame_count, read_dataset

__all__ = ["MAX_SIZE", "PictureFormat", "Renderer", "decode_frame", "frame_count", "read_dataset", "render"]
