"""FRONT: YAML to a validated Project; the only importer of pydantic and ruamel."""
