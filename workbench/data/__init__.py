"""Training data: the index of a folder, buckets of clips of one shape, and a loader that can be resumed."""

from workbench.data.buckets import BucketConfig, check_bucket_config
from workbench.data.index import Clip, Index, read_index
from workbench.data.indexing import IndexReport, build_index
from workbench.data.loader import Batch, ClipLoader, DataConfig

__all__ = [
    "Batch",
    "BucketConfig",
    "Clip",
    "ClipLoader",
    "DataConfig",
    "Index",
    "IndexReport",
    "build_index",
    "check_bucket_config",
    "read_index",
]
