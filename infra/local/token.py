"""Prints a bearer token of the embedded mode, and nothing else."""

import sys

from shared import wiring

if __name__ == "__main__":
    print(wiring.embedded_tokens().mint(sys.argv[1]))
