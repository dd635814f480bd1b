"""gocker: batches of containers from one YAML file.

Importing this package loads nothing else, so that the launcher and the container's
first process stay small (see docs/architecture.md, "Three processes"). The Python API
(`load`, `up` and their types, see `gocker.api`) is loaded when it is first asked for.
"""

__version__ = "0.1.0"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker import errors as errors
    from gocker.api import Completed as Completed
    from gocker.api import Run as Run
    from gocker.api import Service as Service
    from gocker.api import Spec as Spec
    from gocker.api import load as load
    from gocker.api import up as up

_API = ("Completed", "Run", "Service", "Spec", "load", "up")


def __getattr__(name: str) -> object:
    """Load the Python API (PEP 562)."""
    if name == "errors":
        import gocker.errors

        return gocker.errors
    if name in _API:
        import gocker.api

        return getattr(gocker.api, name)
    raise AttributeError(f"module 'gocker' has no attribute {name!r}")
