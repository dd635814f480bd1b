"""BACK: launcher, container life cycle and the init steps."""
