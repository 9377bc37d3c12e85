"""Speed and peak memory of a model on this machine."""
