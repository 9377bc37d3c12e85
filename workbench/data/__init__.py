"""Training data: the index of a folder, buckets of clips of one shape, and a loader that can be resumed."""
