"""FRONT: one module per command; the only code that prints or exits."""
