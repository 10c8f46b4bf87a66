"""`python -m mainspring`: the same as `mainspring`, for a debugger or an editor that starts modules."""

from mainspring.cli import main

main()
