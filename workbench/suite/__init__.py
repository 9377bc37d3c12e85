"""Synthetic clips whose right answer is known, and the figures that show what users meet in autoencoders."""
