"""Exports or deletes all that is stored of one user.

    python -m infra.forget_user USER_ID                       counts what there is, and changes nothing
    python -m infra.forget_user USER_ID --export runs.jsonl   writes each run with its input and result, and sums
    python -m infra.forget_user USER_ID --delete              cancels, deletes, and writes a receipt

It reads the same settings as the functions: BACKEND=gcp and GOOGLE_CLOUD_PROJECT for a project in the cloud, where it
works with the caller's own credentials (gcloud auth application-default login).
"""

import argparse
import asyncio
import json
import sys
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from msgspec.structs import asdict

from shared import wiring
from shared.domain import views
from shared.errors import ServiceError
from shared.usecases.forget import ForgetUser, Forgotten


async def export(forget: ForgetUser, user_id: str, path: Path) -> tuple[int, int]:
    """Writes one line {run, input, webhook?, deliveries?} for each run, then {usage} for each sum of usage.

    Returns how many runs and sums there are. An existing file is never replaced.
    """
    written = 0
    with path.open("x", encoding="utf-8") as file:
        async for run, content in forget.export(user_id):
            line = {"run": views.run_object(run, content), "input": content, **await forget.export_webhooks(run)}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
            written += 1
        sums = await forget.export_usage(user_id)
        file.writelines(json.dumps({"usage": one}) + "\n" for one in sums)
    return written, len(sums)


def receipt(user_id: str, forgotten: Forgotten) -> str:
    """Returns what was deleted and when, as JSON. It proves the deletion without naming the user."""
    user_hash = sha256(user_id.encode()).hexdigest()
    return json.dumps({"user_sha256": user_hash, "at": datetime.now(UTC).isoformat(), **asdict(forgotten)}, indent=2)


def summary(forgotten: Forgotten) -> str:
    runs = ", ".join(f"{count} {status}" for status, count in sorted(forgotten.runs.items())) or "none"
    unreadable = f"; {len(forgotten.unreadable)} that this release cannot read" if forgotten.unreadable else ""
    return f"runs: {runs}{unreadable}; profile: {'yes' if forgotten.profile else 'no'}"


async def forget_user(user_id: str, *, export_to: Path | None, is_deleted: bool, receipts: Path) -> str:
    """Returns the sentences to print. Raises ServiceError, and FileExistsError for a file that is there already."""
    forget = wiring.services().forget
    if export_to is not None:
        runs, sums = await export(forget, user_id, export_to)
        return f"{runs} runs and {sums} sums of usage written to {export_to}"
    if not is_deleted:
        return f"{summary(await forget.count(user_id))}\nNothing was changed; --delete deletes it all."
    forgotten = await forget(user_id)
    path = receipts / f"forgotten-{datetime.now(UTC):%Y%m%dT%H%M%S%f}.json"
    path.write_text(receipt(user_id, forgotten))
    sentence = f"deleted: {summary(forgotten)}\nThe receipt is {path}."
    if forgotten.unreadable:
        sentence += "\nSome documents are left: repeat it with the release that wrote them."
    return f"{sentence}\nFunctions may know the user for another minute: repeat it then, and delete the sign-in too."


def main() -> int:
    parser = argparse.ArgumentParser(description="Exports or deletes all that is stored of one user.")
    parser.add_argument("user_id")
    parser.add_argument("--export", type=Path, metavar="FILE", help="write the user's runs and usage to this new file")
    parser.add_argument("--delete", action="store_true", help="delete the user's runs and profile")
    parser.add_argument("--receipts", type=Path, default=Path(), metavar="FOLDER", help="where receipts are written")
    options = parser.parse_args()
    work = forget_user(options.user_id, export_to=options.export, is_deleted=options.delete, receipts=options.receipts)
    try:
        print(asyncio.run(work))
    except (ServiceError, OSError) as error:
        print(f"not done: {error.message if isinstance(error, ServiceError) else error}", file=sys.stderr)
        return 1
    finally:
        wiring.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
