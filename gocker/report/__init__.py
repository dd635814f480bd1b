"""FRONT: summary table and reports."""
