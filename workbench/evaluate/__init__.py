"""Comparing autoencoders on equal terms: the same frames for all, resumable, over any number of ranks."""
