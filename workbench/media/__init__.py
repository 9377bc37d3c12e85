"""Video and image files: what they hold, their frames as tensors, and writing them. All colours are 8-bit RGB."""

from workbench.media.files import MEDIA_EXTENSIONS, list_media
from workbench.media.image import write_image
from workbench.media.info import DEFAULT_FPS, MediaInfo, frame_interval
from workbench.media.reader import DEFAULT_MAX_BYTES, count_frames, probe, read_video
from workbench.media.stream import FrameStream, open_stream
from workbench.media.video import Video, to_float, to_uint8
from workbench.media.writer import VideoWriter, write_video

__all__ = [
    "DEFAULT_FPS",
    "DEFAULT_MAX_BYTES",
    "MEDIA_EXTENSIONS",
    "FrameStream",
    "MediaInfo",
    "Video",
    "VideoWriter",
    "count_frames",
    "frame_interval",
    "list_media",
    "open_stream",
    "probe",
    "read_video",
    "to_float",
    "to_uint8",
    "write_image",
    "write_video",
]
