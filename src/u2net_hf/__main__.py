"""`python -m u2net_hf`, which launchers of several processes can start: the command `u2net-hf`."""

from .cli.app import main

main()
