"""SHA-256 without OpenSSL: ``import hashlib`` loads it and takes 9 ms of a start."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hashlib import sha256
else:
    try:
        from _sha2 import sha256  # CPython since 3.12
    except ImportError:
        try:
            from _sha256 import sha256  # CPython 3.11
        except ImportError:  # built without, as where FIPS 140 wants OpenSSL's
            from hashlib import sha256


def hexdigest(data: bytes) -> str:
    """Return the SHA-256 of `data` as 64 hexadecimal digits."""
    return sha256(data).hexdigest()
