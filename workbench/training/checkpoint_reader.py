"""Reading torch's distributed checkpoints without running code from them.

Their tensors are read with `weights_only=True`, but `.metadata` is a pickle that torch opens without restriction, and
it may declare entries that are pickles too. Here it may name only the classes that describe tensors and files.
"""

import io
import pickle
from pathlib import Path, PosixPath
from typing import Any

import torch
from torch.distributed.checkpoint import FileSystemReader, Metadata
from torch.distributed.checkpoint.filesystem import _StorageInfo
from torch.distributed.checkpoint.metadata import (
    _MEM_FORMAT_ENCODING,
    ChunkStorageMetadata,
    MetadataIndex,
    StorageMeta,
    TensorProperties,
    TensorStorageMetadata,
)
from torch.serialization import _get_layout

_METADATA = ".metadata"
_ALLOWED: dict[tuple[str, str], Any] = {
    (kind.__module__, kind.__qualname__): kind
    for kind in (
        Metadata,
        MetadataIndex,
        StorageMeta,
        TensorStorageMetadata,
        ChunkStorageMetadata,
        TensorProperties,
        _MEM_FORMAT_ENCODING,
        _StorageInfo,
        _get_layout,
        torch.Size,
        PosixPath,
    )
}
_ALLOWED |= {("torch", str(kind).removeprefix("torch.")): kind for kind in (torch.float32, torch.int64, torch.uint8)}


class TensorReader(FileSystemReader):
    """A reader for `torch.distributed.checkpoint.load` of checkpoints that hold tensors alone."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        """What the checkpoint holds.

        Raises:
            pickle.UnpicklingError: it names something else than tensors, which is not looked up.
        """
        metadata = _Unpickler(io.BytesIO((Path(self.path) / _METADATA).read_bytes())).load()
        if not isinstance(metadata, Metadata):
            raise pickle.UnpicklingError(f"{_METADATA} holds no description of a checkpoint")
        metadata.storage_meta = metadata.storage_meta or StorageMeta()
        metadata.storage_meta.load_id = self.load_id
        return metadata


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"{_METADATA} names {module}.{name}, which is no part of a tensor; not run")
        return _ALLOWED[module, name]
