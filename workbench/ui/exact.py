"""What the player's script asks the server for: frames and slices as pictures without loss."""

from collections.abc import Callable
from typing import Any

from workbench.compare.pictures import picture, png_url
from workbench.errors import WorkbenchError
from workbench.jobs.exact import read_pair, read_slices
from workbench.jobs.folders import JobFolders

_EXPIRED = "These results are no longer on the server: run the job again."


def server_functions(folders: JobFolders) -> list[Callable[[dict], dict]]:
    """What the player's script may ask for; a job is named by its folder, which nobody can guess."""

    def frame_pair(request: dict[str, Any]) -> dict[str, str]:
        """{job, frame} to {original, output}, PNG data addresses; {error} where there is none."""
        return _pictures(folders, request, "frame", read_pair)

    def row_slices(request: dict[str, Any]) -> dict[str, str]:
        """{job, row} to {original, output}, PNG data addresses; {error} where there is none."""
        return _pictures(folders, request, "row", read_slices)

    return [frame_pair, row_slices]


def _pictures(folders: JobFolders, request: dict[str, Any], what: str, read: Callable) -> dict[str, str]:
    folder = folders.find(str(request.get("job")))
    index = request.get(what)
    if folder is None or not isinstance(index, int):
        return {"error": _EXPIRED}
    try:
        original, output = read(folder, index)
    except WorkbenchError:  # removed in the meantime; frames beyond the end are not asked for
        return {"error": _EXPIRED}
    urls = (png_url(picture(frame), compress_level=1) for frame in (original, output))
    return dict(zip(("original", "output"), urls, strict=True))
