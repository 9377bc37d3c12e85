"""Latents of data sets: their statistics, and folders of them to train generators on, and back to video."""
