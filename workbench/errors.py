"""Errors that a user can cause. Entry points print them as one line and exit with status 2.

Messages mark settings by backticks, as in "`max_frames`: 0 is out of range": every front end words them (`worded`).
"""

import re
from collections.abc import Callable

_SETTING = re.compile(r"`([a-z][a-z0-9_.]*)`")


class WorkbenchError(Exception):
    """Base of every error that a user can cause and mend. Anything else is a bug and keeps its traceback.

    Attributes:
        told_elsewhere: whether another process, of several that share a job, tells the user.
    """

    told_elsewhere = False


class ConfigError(WorkbenchError):
    """A setting is unknown, of the wrong type or out of its range."""


class DataError(WorkbenchError):
    """An index of clips, or the clips in it, cannot be used."""


class FileError(WorkbenchError):
    """A file cannot be read or written."""


class MediaError(FileError):
    """A video or image file cannot be read, or not be written as what was asked for."""


class DeviceMemoryError(WorkbenchError):
    """The memory of the device does not suffice for a piece of work."""


class NonFiniteError(WorkbenchError):
    """A loss, a gradient, latents or frames are NaN or infinite."""


class ShapeError(WorkbenchError):
    """A tensor does not have the layout that a function takes."""


class WeightsError(WorkbenchError):
    """Model weights are missing, unreadable or do not fit the model."""


def worded(message: object, call: Callable[[str], str | None]) -> str:
    """A message, or an error's, in which every marked setting is called what `call` says; None leaves it as it is."""
    return _SETTING.sub(lambda match: call(match[1]) or match[0], str(message))


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type where there is none: a reason to quote in one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
