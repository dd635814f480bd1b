"""gocker: batches of containers from one YAML file.

Importing this package loads nothing else, so that the launcher and the container's
first process stay small (see docs/architecture.md, "Three processes").
"""

__version__ = "0.1.0"
