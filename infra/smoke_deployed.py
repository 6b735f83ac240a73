"""Tries what was deployed with infra/smoke.py. `make deploy` ends with it, and `make smoke` repeats it.

    (cd infra/terraform && terraform output -json) | python -m infra.smoke_deployed [TOKEN [MODEL]]

The token is that of a user in the group `users`. Without one, the token of gcloud's account is used if the system
accepts it. Otherwise nothing is tried, and a sentence says what is missing; the exit code is then 0.
"""

import json
import subprocess
import sys
from typing import Any

import requests

from infra.smoke import Smoke, try_all

NO_TOKEN = (
    "The deployed system was not tried: run make smoke TOKEN=…, with a bearer token of a user in the group `users`, or "
    "let gcloud's account be one (OIDC_EMAILS, and its record in `users`)."
)
MODEL = "demo-model"


def smoke_of(outputs: dict[str, Any], token: str, model: str) -> Smoke:
    """Returns the checks for the addresses that Terraform prints as JSON, {name: {"value": …}}."""
    submit, read = (f"{outputs[name]['value']}/" for name in ("submit_url", "url"))
    return Smoke(url=submit, reads=read, token=token, model=model, project=outputs["project"]["value"])


def token_of_gcloud() -> str | None:
    try:
        done = subprocess.run(["gcloud", "auth", "print-identity-token"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def is_accepted(url: str, token: str) -> bool:
    try:
        answer = requests.get(f"{url}api/llm/jobs/", headers={"Authorization": f"Bearer {token}"}, timeout=60)
    except requests.RequestException:
        return False
    return answer.status_code == 200


def main() -> int:
    given, model = (*sys.argv[1:], "", "")[:2]
    token = given or token_of_gcloud() or ""
    smoke = smoke_of(json.load(sys.stdin), token, model or MODEL)
    if not given and not (token and is_accepted(smoke.reads, token)):
        print(NO_TOKEN)
        return 0
    return try_all(smoke)


if __name__ == "__main__":
    sys.exit(main())
