"""FRONT: what ps, logs and down read; survives a crash."""
