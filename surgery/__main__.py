"""`python -m surgery`."""

from surgery.cli.main import main

main()
