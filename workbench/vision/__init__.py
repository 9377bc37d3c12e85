"""Frozen vision networks: what a frame shows, as features of its patches."""
