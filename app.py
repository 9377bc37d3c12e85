"""The app: python app.py, then open the address that it prints."""

import gc

gc.disable()  # until the page is built: what is imported stays, and looking for garbage in it takes a seventh longer

from workbench.allocator import keep_large_blocks  # noqa: E402
from workbench.cli import Command, main  # noqa: E402
from workbench.ui.settings import AppSettings  # noqa: E402

SUMMARY = "Open the app: drop a clip and see what an autoencoder loses."


def run(settings: AppSettings) -> None:
    """Start the server; returns when it is stopped."""
    keep_large_blocks()
    from workbench.ui.launch import launch

    launch(settings)


if __name__ == "__main__":
    main("app.py", Command(SUMMARY, AppSettings(), run))
