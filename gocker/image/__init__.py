"""FRONT: root file systems: host, bins and directories."""
