"""infra/gcloud.sh with the real gcloud, whose parser accepts every command, on a stand-in for Google's APIs."""

import copy
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from infra.cloud import ALARMS, CLOUD, INDEXES
from tests.infra.google_apis import PROJECT, PROJECT_NUMBER, GoogleApis, serving
from tests.needs import need

ROOT = Path(__file__).parents[2]
REGION = "europe-west1"
GIVEN = {
    "PROJECT": PROJECT,
    "REGION": REGION,
    "ALERT_EMAIL": "oncall@example.com",
    "LLM_DEPLOYMENTS": '{"default": "https://llm.example.com"}',
    "SECRETS": "OPENAI_API_KEY=3 NEW_KEY=",
    "SETTINGS": "MAX_ATTEMPTS=2 TRACE_EXPORT=cloud_trace",
}
APIS = (
    "artifactregistry", "cloudbuild", "cloudfunctions", "cloudresourcemanager", "cloudscheduler", "cloudtasks",
    "firestore", "iam", "logging", "monitoring", "pubsub", "run", "secretmanager", "serviceusage", "storage",
)  # fmt: skip
CHANGES_BEFORE_THE_BREAK = 60


@contextmanager
def gcloud_server(folder: Path, environment: dict[str, str]) -> Iterator[None]:
    """Puts a command `gcloud` into the folder; see gcloud_server.py."""
    found = subprocess.check_output(
        ["gcloud", "info", "--format=value(installation.sdk_root,basic.python_location)"], text=True
    )
    sdk, python = found.split()
    address, here = folder / "socket", Path(__file__).parent
    words = shlex.join([sys.executable, "-S", "-E", str(here / "gcloud_shim.py"), str(address)])
    (folder / "gcloud").write_text(
        f'#!/bin/sh\n[ "$1 $2" = "auth print-access-token" ] && exec echo token\nexec {words} "$@"\n'
    )
    (folder / "gcloud").chmod(0o755)
    server = subprocess.Popen([python, str(here / "gcloud_server.py"), sdk, str(address)], env=environment)
    try:
        while not address.exists() and server.poll() is None:
            time.sleep(0.05)
        yield
    finally:
        server.kill()
        server.wait()


class Walk:
    """The stand-in after the script was broken off, repeated to its end, and run once more."""

    def __init__(self, folder: Path) -> None:
        self.google = GoogleApis()
        with serving(self.google) as url:
            self.environment = {
                **os.environ,
                **GIVEN,
                **{f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{name.upper()}": f"{url}{name}/" for name in APIS},
                "RULES_API": f"{url}firebaserules/",
                "CLOUDSDK_CONFIG": str(folder / "config"),
                "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
                "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "1",
                "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "1",
                "NO_PROXY": "127.0.0.1",
                "PATH": f"{folder}:{os.environ['PATH']}",
                "PYTHON": sys.executable,
            }
            with gcloud_server(folder, self.environment):
                self.google.fail_after = CHANGES_BEFORE_THE_BREAK
                self.broken_off = self._run()
                self.google.fail_after = None
                self.repeated = self._run()
                self.state = copy.deepcopy((self.google.resources, self.google.policies))
                changes = len(self.google.changes)
                self.again = self._run()
                self.changes_of_the_last = self.google.changes[changes:]

    def _run(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run([str(ROOT / "infra/gcloud.sh")], env=self.environment, capture_output=True, text=True)

    def of(self, api: str, kind: str) -> dict[str, Any]:
        """Returns {name: resource} of one kind, such as the topics of pubsub."""
        return {
            path.rpartition("/")[2]: resource
            for path, resource in self.google.resources.items()
            if path.startswith(f"{api}/") and path.split("/")[-2] == kind
        }

    def grants(self, api: str) -> set[tuple[str, str, str]]:
        """Returns {(resource, role, member)} of one API."""
        return {
            (path.rpartition("/")[2], binding["role"], member)
            for path, policy in self.google.policies.items()
            if path.startswith(f"{api}/")
            for binding in policy.get("bindings", [])
            for member in binding["members"]
        }


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Walk:
    missing = shutil.which("gcloud") is None
    need("gcloud is missing; install the Google Cloud CLI: cloud.google.com/sdk" if missing else None)
    return Walk(tmp_path_factory.mktemp("gcloud"))


def test_a_run_that_is_broken_off_says_so_and_the_next_one_goes_on_to_the_end(walk: Walk) -> None:
    assert walk.broken_off.returncode != 0 and "the script is broken off here" in walk.broken_off.stderr
    assert walk.repeated.returncode == 0, walk.repeated.stderr
    submit, read = (f"https://{name}-{PROJECT_NUMBER}.{REGION}.run.app" for name in ("submit-run", "read-runs"))
    assert walk.repeated.stdout.splitlines()[-1] == f"submit to {submit}, read from {read}"


def test_a_second_run_changes_nothing(walk: Walk) -> None:
    assert walk.again.returncode == 0, walk.again.stderr
    assert (walk.google.resources, walk.google.policies) == walk.state
    same = {"PATCH cloudscheduler", "PATCH cloudtasks", "PATCH pubsub"}
    assert {change.partition("/")[0] for change in walk.changes_of_the_last} <= same, walk.changes_of_the_last


def test_topics_subscriptions_and_queues_are_those_of_the_list(walk: Walk) -> None:
    assert set(walk.of("pubsub", "topics")) == set(CLOUD["topics"])
    subscriptions = walk.of("pubsub", "subscriptions")
    assert set(subscriptions) == set(CLOUD["subscriptions"])
    for name, made in subscriptions.items():
        assert made["expirationPolicy"] == {} and made["ackDeadlineSeconds"] == 600, "it never expires"
        assert made["retryPolicy"] == {"minimumBackoff": "1s", "maximumBackoff": "30s"}
        service = CLOUD["subscriptions"][name]["function"].replace("_", "-")
        assert made["pushConfig"]["pushEndpoint"] == f"https://{service}-{PROJECT_NUMBER}.{REGION}.run.app"
        assert ("deadLetterPolicy" in made) == (name != "bury-run")
    queues = walk.of("cloudtasks", "queues")
    assert set(queues) == set(CLOUD["queues"])
    for made in queues.values():
        assert (made["retryConfig"]["maxAttempts"], made["retryConfig"]["maxRetryDuration"]) == (100, "86400s")


def test_firestore_is_protected_and_has_every_index_and_exemption(walk: Walk) -> None:
    [database] = walk.of("firestore", "databases").values()
    assert database["pointInTimeRecoveryEnablement"] == "POINT_IN_TIME_RECOVERY_ENABLED"
    assert database["deleteProtectionState"] == "DELETE_PROTECTION_ENABLED"
    [backup] = walk.of("firestore", "backupSchedules").values()
    assert backup["retention"] == f"{CLOUD['firestore']['backup_days'] * 86400}s"
    made = [path for path in walk.google.resources if path.startswith("firestore/") and "/indexes/" in path]
    assert len(made) == len(INDEXES["indexes"])
    fields = {
        path.partition("/collectionGroups/")[2]: body
        for path, body in walk.google.resources.items()
        if "/fields/" in path
    }
    assert set(fields) == {
        f"{item['collectionGroup']}/fields/{item['fieldPath']}" for item in INDEXES["fieldOverrides"]
    }
    expiring = {path for path, body in fields.items() if "ttlConfig" in body}
    assert expiring == {
        f"{item['collectionGroup']}/fields/expires_at" for item in INDEXES["fieldOverrides"] if item.get("ttl")
    }
    [ruleset] = walk.of("firebaserules", "rulesets").values()
    assert ruleset["source"]["files"][0]["content"] == (ROOT / "infra/firestore.rules").read_text()


def test_functions_have_their_account_their_size_and_the_secrets_that_they_read(walk: Walk) -> None:
    functions = walk.of("cloudfunctions", "functions")
    assert set(functions) == set(CLOUD["functions"])
    for name, made in functions.items():
        config, wanted = made["serviceConfig"], CLOUD["functions"][name]
        assert config["serviceAccountEmail"] == f"llm-{name.replace('_', '-')}@{PROJECT}.iam.gserviceaccount.com"
        assert config["timeoutSeconds"] == wanted["timeout_seconds"]
        assert config["maxInstanceRequestConcurrency"] == wanted["concurrency"]
        assert config["ingressSettings"] == ("ALLOW_ALL" if wanted["public"] else "ALLOW_INTERNAL_ONLY")
        secrets = [item["key"] for item in config.get("secretEnvironmentVariables", [])]
        assert secrets == (["OPENAI_API_KEY"] if wanted["calls_llm"] else [])
        assert made["buildConfig"]["runtime"] == CLOUD["runtime"]


def test_nobody_may_do_more_than_terraform_allows(walk: Walk) -> None:
    def account(name: str) -> str:
        return f"serviceAccount:llm-{name}@{PROJECT}.iam.gserviceaccount.com"

    agent = f"serviceAccount:service-{PROJECT_NUMBER}@gcp-sa-pubsub.iam.gserviceaccount.com"
    services = [name.replace("_", "-") for name in CLOUD["functions"]]
    project = {(PROJECT, "roles/datastore.user", account(name)) for name in services}
    project |= {(PROJECT, role, account("runs-build")) for role in CLOUD["build_roles"]}
    project |= {(PROJECT, "roles/cloudtrace.agent", account(name)) for name in services}
    sessions = f"projects/{PROJECT}/roles/llmRunsSessions"
    project |= {(PROJECT, sessions, account(name)) for name in ("submit-run", "read-runs")}
    assert walk.grants("cloudresourcemanager") == project
    assert walk.grants("run") == {(name, "roles/run.invoker", "allUsers") for name in services}
    publishers = {
        (topic, "roles/pubsub.publisher", account(name))
        for topic in ("llm-runs", "llm-runs-long")
        for name in ("submit-run", "sweep-runs")
    }
    publishers |= {("llm-runs-dead-letters", "roles/pubsub.publisher", agent)}
    subscribers = {(name, "roles/pubsub.subscriber", agent) for name in ("process-run", "process-long-run")}
    assert walk.grants("pubsub") == publishers | subscribers
    schedulers = ("process-run", "recheck-run", "sweep-runs")
    enqueuers = {
        (queue, "roles/cloudtasks.enqueuer", account(name)) for queue in CLOUD["queues"] for name in schedulers
    }
    assert walk.grants("cloudtasks") == enqueuers
    invoker = f"llm-runs-invoker@{PROJECT}.iam.gserviceaccount.com"
    acting = {(invoker, "roles/iam.serviceAccountUser", account(name)) for name in schedulers}
    assert walk.grants("iam") == acting | {(invoker, "roles/iam.serviceAccountTokenCreator", agent)}
    readers = {
        (secret, "roles/secretmanager.secretAccessor", account(name))
        for secret in ("OPENAI_API_KEY", "NEW_KEY")
        for name in ("process-run", "recheck-run")
    }
    assert walk.grants("secretmanager") == readers


def test_alarms_metrics_and_the_dashboard_are_those_of_the_list(walk: Walk) -> None:
    assert set(walk.of("logging", "metrics")) == {metric["name"] for metric in ALARMS["metrics"]}
    policies = walk.of("monitoring", "alertPolicies").values()
    assert {made["displayName"] for made in policies} == {policy["displayName"] for policy in ALARMS["policies"]}
    assert all(made["notificationChannels"] for made in policies)
    assert len(walk.of("monitoring", "dashboards")) == len(walk.of("monitoring", "uptimeCheckConfigs")) == 1


def test_the_settings_are_those_that_terraform_gives(walk: Walk) -> None:
    functions = walk.of("cloudfunctions", "functions").values()
    [given] = {json.dumps(made["serviceConfig"]["environmentVariables"], sort_keys=True) for made in functions}
    source = (ROOT / "infra/terraform/functions.tf").read_text().partition("environment = merge(")[2].partition("})")[0]
    names = {line.split()[0] for line in source.splitlines()[1:] if line.strip()} - {"STREAMS_URL"}
    named = {made["setting"] for kind in ("topics", "queues") for made in CLOUD[kind].values()} - {None}
    assert set(json.loads(given)) - {"LOG_EXECUTION_ID"} == names | named | {"MAX_ATTEMPTS", "TRACE_EXPORT"}
    assert json.loads(json.loads(given)["LLM_DEPLOYMENTS"]) == {"default": "https://llm.example.com"}
