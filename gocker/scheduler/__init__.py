"""FRONT: a pure state machine and one small I/O loop."""
