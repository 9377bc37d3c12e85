"""The app: python app.py, then open the address that it prints."""

from workbench.cli import Command, main
from workbench.ui.settings import AppSettings

SUMMARY = "Open the app: drop a clip and see what an autoencoder loses."


def run(settings: AppSettings) -> None:
    """Start the server; returns when it is stopped."""
    from workbench.ui.launch import launch

    launch(settings)


if __name__ == "__main__":
    main("app.py", Command(SUMMARY, AppSettings(), run))
