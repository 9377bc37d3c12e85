"""What `python app.py` can be told."""

from dataclasses import dataclass
from pathlib import Path

from workbench.config import check_range, setting
from workbench.errors import ConfigError


@dataclass(frozen=True)
class AppSettings:
    """Flags of `app.py`."""

    host: str = setting("127.0.0.1", "address to listen on; 0.0.0.0 lets other computers in")
    port: int = setting(7860, "port to listen on")
    share: bool = setting(False, "also open a public address through Gradio's relay")
    root: str = setting(".", "folder under which weights and training runs may be opened; nothing outside it is")
    jobs_at_once: int = setting(1, "jobs that run beside each other; others wait for their turn")
    disk_gb: float = setting(8.0, "disk for results, 10^9 bytes; beyond it the oldest are removed")
    max_upload_mb: int = setting(500, "largest file that may be uploaded, in megabytes")
    device: str | None = setting(
        None, "device chosen at first: cuda, cuda:1 or cpu; by default the GPU if there is one"
    )

    def __post_init__(self) -> None:
        check_range("port", self.port, 1, 65535)
        check_range("jobs_at_once", self.jobs_at_once, 1)
        check_range("disk_gb", self.disk_gb, 0.1)
        check_range("max_upload_mb", self.max_upload_mb, 1)

    @property
    def root_folder(self) -> Path:
        """The absolute folder that `root` names.

        Raises:
            ConfigError: it is not a folder.
        """
        folder = Path(self.root).expanduser().resolve()
        if not folder.is_dir():
            raise ConfigError(f"`root`: {self.root!r} is not a folder")
        return folder
