"""A clip in, its reconstruction and what was lost out."""
