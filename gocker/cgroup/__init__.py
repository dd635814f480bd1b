"""BACK: one cgroup interface, drivers v1 and v2."""
