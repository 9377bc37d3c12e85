"""Losses that make latents easier to generate, one a file; all off by default."""
