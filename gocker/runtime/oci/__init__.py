"""The OCI runtime command line: ``gocker-oci``, also ``gocker oci``. Imports nothing of the front."""
