"""What there is to look at before anything is computed: results of a shipped clip that are shipped too.

`python -m workbench.ui.shipped` makes them anew; a test holds them against the models.
"""

import json
import shutil
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from workbench.files import write_json
from workbench.jobs.choices import Choices
from workbench.media.files import EXAMPLES
from workbench.models.ref import ModelRef
from workbench.steps import drain
from workbench.ui.cards import card_result

SHIPPED = Path(__file__).parent / "assets" / "shipped"
CLIP = EXAMPLES / "bunny.mp4"
MODELS = ("dct", "tiny")
NOTE = "A shipped result: videos without exact frames. Run the model for pixel values and the difference."

_PREFIX = "shipped-"


def shipped_cards() -> list[dict[str, Any]]:
    """Cards as of `card_state`, which nobody removes."""
    common = {"state": "done", "version": 1, "share": 0.0, "text": "", "clip": CLIP.name, "is_shipped": True}
    return [{"id": _PREFIX + model, "label": model, **common} for model in MODELS]


@cache
def shipped_result(card: str) -> dict[str, Any] | None:
    """All of one, as of `card_result`; None for another card."""
    model = card.removeprefix(_PREFIX)
    if model not in MODELS or card == model:
        return None
    record = json.loads((SHIPPED / f"{model}.json").read_text("utf-8"))
    files = {name: str(SHIPPED / record[name]) for name in ("output", "thumbnail")}
    return record | files | {"original": str(CLIP), "is_shipped": True}


def write_shipped() -> None:
    """Run the models, with LPIPS, and write what is shipped of it."""
    from workbench.jobs.finish import finish_job
    from workbench.jobs.reconstruct import reconstruct_job

    for model in MODELS:
        with TemporaryDirectory() as temporary:
            entry, chosen = ModelRef(model), Choices(str(CLIP))
            steps = reconstruct_job(chosen, entry, entry.load("cpu"), Path(temporary))
            result = drain(finish_job(drain(steps), "cpu"))
            record = card_result(result) | {"is_exact": False, "downloads": [], "notes": [NOTE]}
            for name, suffix in (("output", ".mp4"), ("thumbnail", ".jpg")):
                shutil.copy(record[name], SHIPPED / f"{model}{suffix}")
                record[name] = f"{model}{suffix}"
            del record["original"]
            record |= {"times_s": None, "subject": "shipped"}
            write_json(SHIPPED / f"{model}.json", record)


if __name__ == "__main__":
    from workbench.allocator import keep_large_blocks

    keep_large_blocks()  # as the app does: the seconds are those that its visitors see
    write_shipped()
