"""What was lost: metrics per frame, on tensors, never on re-compressed previews.

Every metric is a function f(x, y, data_range) of two clips (T, 3, H, W) in a file of its own. Nothing here is heavy to
import: networks are loaded when first used.
"""
