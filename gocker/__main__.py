"""``python -m gocker``."""

from gocker.cli.main import main

main()
