"""The OCI runtime command line, ``gocker-oci``. Imports nothing of the front."""
