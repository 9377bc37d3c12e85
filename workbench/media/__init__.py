"""Video and image files: what they hold, their frames as tensors, and writing them. All colours are 8-bit RGB."""
