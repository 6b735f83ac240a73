"""Prints a bearer token of the embedded mode, and nothing else: python -m infra.local.token USER"""

import sys

from infra.local.env_file import read_env_file
from shared import wiring
from shared.errors import ConfigurationError


def main(user_id: str) -> int:
    """Prints a token of the user, which need not exist; returns the exit status."""
    try:
        read_env_file()
        print(wiring.embedded_tokens().mint(user_id))
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
