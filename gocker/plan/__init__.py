"""FRONT: Project to a graph and one OCI config per container; pure."""
