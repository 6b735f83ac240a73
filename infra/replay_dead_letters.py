"""Lists the messages that could not be handled, and sends their runs to a worker again.

    python -m infra.replay_dead_letters             lists them with what each needs, and changes nothing
    python -m infra.replay_dead_letters --replay    publishes each open run, and removes letters that are done with

It reads the same settings as the functions, like infra/forget_user.py. Repeating it does no harm. A letter that names
no run stays.
"""

import argparse
import asyncio
import sys
from collections import Counter

from shared import wiring
from shared.errors import ServiceError


async def replay(*, is_replayed: bool) -> Counter[str]:
    """Prints a line for each letter and returns {what its run needs: number of letters}. Raises ServiceError."""
    replaying, found = wiring.services().replay, Counter[str]()
    async for letter in replaying.letters():
        needed = await (replaying(letter) if is_replayed else replaying.look_at(letter))
        found[needed] += 1
        print(f"{letter.kept_at:%Y-%m-%d %H:%M:%S}  {letter.source}  {letter.reason}  {letter.run_id or '-'}  {needed}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="Lists dead letters, and sends their runs to a worker again.")
    parser.add_argument("--replay", action="store_true", help="publish the open runs, and remove what is done with")
    options = parser.parse_args()
    try:
        found = asyncio.run(replay(is_replayed=options.replay))
    except ServiceError as error:
        print(f"not done: {error.message}", file=sys.stderr)
        return 1
    finally:
        wiring.close()
    print(", ".join(f"{count} × {needed}" for needed, count in sorted(found.items())) or "no dead letters")
    if found and not options.replay:
        print("Nothing was changed; --replay does it.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
