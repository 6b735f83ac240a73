"""Submits, follows and lists runs from a terminal.

    python -m infra.cli login http://127.0.0.1:8080 --user demo      or --gcloud, or a token on stdin
    python -m infra.cli submit "Hello world" --from en --to de       translates (A); without languages as a user run (B)
    python -m infra.cli submit review.ipynb --model demo-model       a job (C): a text, a notebook, or - for stdin
    python -m infra.cli submit --each lines.txt --out results.jsonl  each line a run; repeat it after a break
    python -m infra.cli watch RUN_UUID | show RUN_UUID | cancel RUN_UUID | list [--jobs] [--status failed] [--cursor …]

Updates and errors go to the standard error, results to the standard output; `--json` prints the answers of the API. The
exit status is 0 when all runs completed, 1 when not, 2 for a request that was refused.
"""

import argparse
import getpass
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Any, TextIO
from urllib.parse import urlencode

from infra.api_client import Api, Refused

LOGIN = Path.home() / ".config" / "llm-runs" / "login.json"
GCLOUD = ("gcloud", "auth", "print-identity-token")


def submission(text: str, options: argparse.Namespace, *, is_notebook: bool = False) -> tuple[str, dict[str, Any]]:
    """Returns the path and the body of a submit: a job with `--model`, A with languages, else B."""
    if options.model is not None:
        job_type = "review_colab" if is_notebook else options.job_type
        content = {"notebook": json.loads(text)} if is_notebook else {"full_input": text}
        instructions = "instructions" if job_type == "review_colab" else "system_message"
        content |= {instructions: options.instructions} if options.instructions else {}
        body = {"job_type": job_type, "model_id": options.model, "input_data": content, "service": options.service}
        return "/api/llm/jobs/submit/", body
    if is_notebook:
        raise Refused("a notebook needs --model")
    if options.source and options.target:
        return "/llm_user_runs_admin", {"text": text, "source_lang": options.source, "target_lang": options.target}
    return "/llm_user_runs", {"input_text": text}


def submit(api: Api, options: argparse.Namespace) -> bool:
    if options.each is not None:
        return Bulk(api, options).run()
    path = Path(options.text or "-")
    is_file = options.text is not None and len(options.text) < 255 and path.is_file()
    text = sys.stdin.read() if options.text in (None, "-") else path.read_text() if is_file else options.text
    target, body = submission(text, options, is_notebook=path.suffix == ".ipynb")
    run_id = str(api.request("POST", target, body=body)["job_id"])
    if options.detach:
        print(run_id)
        return True
    return watch_run(api, run_id, as_json=options.json)


def watch_run(api: Api, run_id: str, *, as_json: bool) -> bool:
    """Shows the updates as one live line, then prints the result; returns whether the run completed."""
    began = time.monotonic()
    for update in api.updates(run_id):
        detail = update.get("detail") or {}
        progress = f"{detail['progress']:.0%}" if detail.get("progress") is not None else detail.get("reason", "")
        _live(f"{time.monotonic() - began:7.1f} s  {run_id}  {update['type'].removeprefix('run.'):<10} {progress}")
    _live("", end="\n")
    return show_run(api.request("GET", f"/llm_user_runs/{run_id}"), as_json=as_json)


def show_run(run: dict[str, Any], *, as_json: bool) -> bool:
    if as_json:
        print(json.dumps(run, ensure_ascii=False, indent=2))
    elif run["status"] == "completed":
        print((run.get("result") or {}).get("text") or "")
    else:
        error = run.get("error") or {}
        waits = f", waits for {run['waiting_for']}" if run.get("waiting_for") else ""
        print(f"{run['run_uuid']} {run['status']}{waits} {error.get('message', '')}".rstrip(), file=sys.stderr)
    return bool(run["status"] == "completed")


def _live(line: str, *, end: str = "") -> None:
    """Replaces the last line of the terminal; writes a line of its own where there is no terminal."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{line}", end=end, file=sys.stderr, flush=True)
    elif line:
        print(line, file=sys.stderr, flush=True)


class Bulk:
    """Submits each line of a file as a run, a bounded number at once, and writes a line of JSON for each that ended.

    A repeated call leaves out the lines whose results are in the output. The idempotency key of a line is made of its
    number and text, so that a line whose submit was accepted before a break is not paid for again within a day.
    """

    def __init__(self, api: Api, options: argparse.Namespace) -> None:
        self._api = api
        self._options = options
        lines = options.each.read_text().splitlines()
        self._lines = {number: line for number, line in enumerate(lines, start=1) if line.strip()}
        self._lock = Lock()
        self._done: dict[int, bool] = {}
        """{number of a line: whether its run completed}"""

    def run(self) -> bool:
        out: Path = self._options.out
        with out.open("a+", encoding="utf-8") as file, ThreadPoolExecutor(self._options.at_once) as pool:
            file.seek(0)
            self._read_earlier(file.read().splitlines())
            left = [number for number in self._lines if number not in self._done]
            file.write("\n" if left and file.tell() else "")  # ends a line that a break has cut short
            for _ in pool.map(lambda number: self._finish(number, file), left):
                pass
        failed = sum(not completed for completed in self._done.values())
        _live(f"{len(self._done)} of {len(self._lines)} lines done, {failed} failed; results in {out}", end="\n")
        return failed == 0

    def _read_earlier(self, results: list[str]) -> None:
        """Reads the results of an earlier call. A line that was cut short does not count."""
        for result in results:
            try:
                earlier = json.loads(result)
            except ValueError:
                continue
            if self._lines.get(earlier["line"]) == earlier["text"]:
                self._done[earlier["line"]] = earlier["status"] == "completed"

    def _finish(self, number: int, file: TextIO) -> None:
        """Submits one line, waits for its end and writes the result at once."""
        text = self._lines[number]
        try:
            path, body = submission(text, self._options)
            key = sha256(f"{number} {json.dumps(body, sort_keys=True)}".encode()).hexdigest()
            run_id = str(self._api.request("POST", path, key=key, body=body)["job_id"])
            for _ in self._api.updates(run_id):
                pass
            run = self._api.request("GET", f"/llm_user_runs/{run_id}")
            shown = {name: run.get(name) for name in ("run_uuid", "status", "result", "error")}
        except Refused as error:
            shown = {"run_uuid": None, "status": "refused", "result": None, "error": {"message": str(error)}}
        with self._lock:
            file.write(json.dumps({"line": number, "text": text, **shown}, ensure_ascii=False) + "\n")
            file.flush()
            self._done[number] = shown["status"] == "completed"
            bar = "█" * (20 * len(self._done) // len(self._lines))
            _live(f"{bar:<20} {len(self._done)} of {len(self._lines)}")


def list_runs(api: Api, options: argparse.Namespace) -> bool:
    family = "/api/llm/jobs/" if options.jobs else "/llm_user_runs"
    query = {"limit": options.limit, "status": options.status, "cursor": options.cursor}
    page = api.request("GET", f"{family}?{urlencode({name: value for name, value in query.items() if value})}")
    if options.json:
        print(json.dumps(page, ensure_ascii=False, indent=2))
        return True
    for run in page["jobs" if options.jobs else "runs"]:
        seconds = run.get("processing_time")
        took = f"{seconds:8.1f} s" if seconds is not None else " " * 10
        print(f"{run.get('run_uuid') or run.get('job_id')}  {run['status']:<10} {run['created_at']} {took}")
    total = f"{page['total']:,}{'+' if page['total_is_at_least'] else ''}"
    following = f"; older ones: --cursor {page['next_cursor']}" if page["next_cursor"] else ""
    print(f"of {total}{following}", file=sys.stderr)
    return True


def login(options: argparse.Namespace) -> bool:
    """Keeps the address and the token, or how to get one, in a file that only its owner can read."""
    if options.user is not None:
        command = [sys.executable, "-m", "infra.local.token", options.user]
    else:
        command = list(GCLOUD) if options.gcloud else []
    token = "" if command else (getpass.getpass("token: ") if sys.stdin.isatty() else sys.stdin.read().strip())
    known = {"url": options.url, "command": command, "token": token}
    Api(options.url, _token(known)).request("GET", "/llm_user_runs?limit=1")
    options.login.parent.mkdir(parents=True, exist_ok=True)
    options.login.touch(mode=0o600)
    options.login.chmod(0o600)
    options.login.write_text(json.dumps(known))
    print(f"logged in at {options.url}", file=sys.stderr)
    return True


def _token(known: dict[str, Any]) -> str:
    """Returns the kept token, or a new one of the command that prints it."""
    if not known["command"]:
        return str(known["token"])
    printed = subprocess.run(known["command"], capture_output=True, text=True, check=False)
    if printed.returncode != 0:
        raise Refused(f"{' '.join(known['command'])} failed: {printed.stderr.strip()}")
    return printed.stdout.strip()


def parse_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="llm-runs", description="Submits, follows and lists runs.")
    parser.add_argument("--login", type=Path, default=LOGIN, help="the file that `login` writes and the others read")
    commands = parser.add_subparsers(dest="command", required=True)
    new = commands.add_parser("submit", help="submit a text, a file, a notebook, or each line of a file")
    new.add_argument("text", nargs="?", help="a text, the name of a file, or - for the standard input")
    new.add_argument("--from", dest="source", help="language of the text, such as en")
    new.add_argument("--to", dest="target", help="language of the translation")
    new.add_argument("--model", help="submit a job for this model")
    new.add_argument("--job-type", default="general_llm_request", help="type of the job")
    new.add_argument("--instructions", help="what the model is to do with the text")
    new.add_argument("--service", choices=("standard", "batch"), default="standard")
    new.add_argument("--detach", action="store_true", help="print the id and do not wait")
    new.add_argument("--each", type=Path, metavar="FILE", help="submit each line of this file")
    new.add_argument("--out", type=Path, default=Path("results.jsonl"), help="results of --each")
    new.add_argument("--at-once", type=int, default=10, help="runs of --each that are open at once")
    for name in ("watch", "show", "cancel"):
        commands.add_parser(name).add_argument("run_id")
    listing = commands.add_parser("list", help="list your runs, newest first")
    listing.add_argument("--jobs", action="store_true", help="list jobs (C) instead of A and B")
    listing.add_argument("--status")
    listing.add_argument("--limit", type=int, default=20)
    listing.add_argument("--cursor", help="where an earlier list ended")
    for command in (new, listing, *(commands.choices[name] for name in ("watch", "show", "cancel"))):
        command.add_argument("--json", action="store_true", help="print the answer of the API")
    entry = commands.add_parser("login", help="keep the address and a token")
    entry.add_argument("url", nargs="?", default="http://127.0.0.1:8080")
    entry.add_argument("--user", help="a user of the local system, such as demo")
    entry.add_argument("--gcloud", action="store_true", help="take the token of gcloud's account each time")
    return parser.parse_args(arguments)


def run_command(options: argparse.Namespace) -> bool:
    """Returns whether all went well. Raises Refused."""
    if options.command == "login":
        return login(options)
    if not options.login.exists():
        raise Refused("no address and token yet: python -m infra.cli login URL")
    known = json.loads(options.login.read_text())
    api = Api(known["url"], _token(known))
    match options.command:
        case "submit":
            return submit(api, options)
        case "watch":
            return watch_run(api, options.run_id, as_json=options.json)
        case "cancel":
            run = api.request("POST", f"/api/llm/jobs/{options.run_id}/cancel/")
            print(json.dumps(run, indent=2) if options.json else run["status"])
            return True
        case "show":
            show_run(api.request("GET", f"/llm_user_runs/{options.run_id}"), as_json=options.json)
            return True
    return list_runs(api, options)


def main() -> int:
    try:
        return 0 if run_command(parse_options()) else 1
    except (Refused, OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
