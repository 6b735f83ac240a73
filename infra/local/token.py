"""Prints a bearer token of the embedded mode, and nothing else."""

import sys

from infra.local.env_file import read_env_file
from shared import wiring
from shared.errors import ConfigurationError


def main(user_id: str) -> int:
    try:
        read_env_file()
        print(wiring.embedded_tokens().mint(user_id))
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
