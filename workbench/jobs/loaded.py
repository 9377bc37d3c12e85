"""The model that is loaded."""

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.models.catalogue import split_part
from workbench.models.ref import ModelRef

if TYPE_CHECKING:
    from workbench.models.base import Autoencoder


class LoadedModel:
    """The model used last, so that another run does not load it again. Threads may share it: inference is read-only."""

    def __init__(self) -> None:
        self._key: tuple | None = None
        self._model: Autoencoder | None = None
        self._lock = threading.Lock()

    def load(self, ref: ModelRef, device: str) -> "Autoencoder":
        """The model, or the same as last time if its weights have not changed on disk."""
        key = ref, device, _changed_ns(ref.weights), _changed_ns(ref.decoder.weights if ref.decoder else None)
        with self._lock:
            if self._model is None or key != self._key:
                self._key = self._model = None  # frees the old one before the new one needs its memory
                self._model = ref.load(device)
                self._key = key
            return self._model


def _changed_ns(weights: str | None) -> int | None:
    path = Path(split_part(weights)[0]) if weights else None
    return path.stat().st_mtime_ns if path and path.exists() else None
