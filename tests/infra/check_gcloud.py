"""infra/gcloud.sh with the real gcloud, whose parser accepts every command, on a stand-in for Google's APIs."""

import copy
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from infra.cloud import ALARMS, CLOUD, INDEXES
from infra.url_map import url_map
from tests.infra.compute_api import ADDRESS
from tests.infra.gcloud_in_forks import gcloud_server
from tests.infra.google_apis import PROJECT, PROJECT_NUMBER, GoogleApis, serving
from tests.infra.recipes import VARIABLES, commands
from tests.infra.terraform import configuration
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
OPTIONS = {
    "DOMAIN": "runs.example.com",
    "REQUESTS_PER_MINUTE": "300",
    "MEMORYSTORE": "yes",
    "BILLING_ACCOUNT": "012345-6789AB-CDEF01",
}
APIS = (
    "artifactregistry", "billingbudgets", "cloudbuild", "cloudfunctions", "cloudresourcemanager", "cloudscheduler",
    "cloudtasks", "firestore", "iam", "logging", "monitoring", "pubsub", "redis", "run", "secretmanager",
    "serviceusage", "storage", "vpcaccess",
)  # fmt: skip
CHANGES_BEFORE_THE_BREAK = 60


class Walk:
    """`google` is the stand-in after the script was broken off and repeated to its end. Then options were added, and
    the script was run twice more: `extended` has the resources after that.
    """

    def __init__(self, folder: Path) -> None:
        self.google = GoogleApis()
        with serving(self.google) as url:
            self.environment = {
                **os.environ,
                **GIVEN,
                **{f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{name.upper()}": f"{url}{name}/" for name in APIS},
                "CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE": f"{url}compute/v1/",
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
                self.with_options = self._run(**OPTIONS)
                changes, state = len(self.google.changes), copy.deepcopy((self.google.resources, self.google.policies))
                self.again = self._run(**OPTIONS)
                self.changes_of_the_last = self.google.changes[changes:]
                self.changed = [
                    path
                    for before, after in zip(state, (self.google.resources, self.google.policies), strict=True)
                    for path in {*before, *after}
                    if before.get(path) != after.get(path)
                ]
                self.recipes = {command: self._try(command) for command in commands()}
        self.extended = self.google.resources
        self.google.resources, self.google.policies = self.state

    def _run(self, **options: str) -> subprocess.CompletedProcess[str]:
        environment = {**self.environment, **options}
        return subprocess.run([str(ROOT / "infra/gcloud.sh")], env=environment, capture_output=True, text=True)

    def _try(self, command: str) -> tuple[int, int, str]:
        """Returns (the exit code, how many requests were made, what was said) of a command of the documents."""
        before = self.google.requests
        environment = {**self.environment, **VARIABLES, "CLOUDSDK_CORE_PROJECT": PROJECT}
        done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True)
        return done.returncode, self.google.requests - before, done.stderr

    def of(self, api: str, kind: str, *, extended: bool = False) -> dict[str, Any]:
        """Returns {name: resource} of one kind, such as the topics of pubsub."""
        resources = self.extended if extended else self.google.resources
        return {
            path.rpartition("/")[2]: resource
            for path, resource in resources.items()
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


def test_options_can_be_added_later(walk: Walk) -> None:
    assert walk.with_options.returncode == 0, walk.with_options.stderr
    assert walk.with_options.stdout.splitlines()[-1] == (
        f"let the A record of runs.example.com be {ADDRESS}; submit to https://runs.example.com, "
        "read from https://runs.example.com"
    )


def test_a_second_run_changes_nothing(walk: Walk) -> None:
    assert walk.again.returncode == 0, walk.again.stderr
    assert walk.changed == []
    same, front = {"PATCH cloudscheduler", "PATCH cloudtasks", "PATCH pubsub"}, f"compute/projects/{PROJECT}/global"
    said_again = {f"POST {front}/securityPolicies/llm-runs/patchRule", f"POST {front}/operations/done/wait"}
    said_again |= {f"PATCH {front}/urlMaps/{name}" for name in ("llm-runs", "llm-runs-to-https")}
    changes = {change for change in walk.changes_of_the_last if change.partition("/")[0] not in same}
    assert changes <= said_again, changes - said_again


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
        assert made["buildConfig"]["environmentVariables"]["SOURCE_DATE_EPOCH"] == CLOUD["source_date_epoch"]


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
    schedulers: dict[str, tuple[str, ...]] = {"schedules": ("process-run", "recheck-run", "sweep-runs")}
    schedulers["notifies"] = (*schedulers["schedules"], "deliver-webhook", "read-runs", "submit-run")
    enqueuers = {
        (queue, "roles/cloudtasks.enqueuer", account(name))
        for queue, made in CLOUD["queues"].items()
        for name in schedulers[made["right"]]
    }
    assert walk.grants("cloudtasks") == enqueuers
    invoker = f"llm-runs-invoker@{PROJECT}.iam.gserviceaccount.com"
    acting = {(invoker, "roles/iam.serviceAccountUser", account(name)) for name in schedulers["notifies"]}
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


def test_the_load_balancer_is_terraforms(walk: Walk) -> None:
    public = [name.replace("_", "-") for name, made in CLOUD["functions"].items() if made["public"]]
    names = {f"llm-runs-{service}" for service in public}
    groups = walk.of("compute", "networkEndpointGroups", extended=True)
    assert {name: made["cloudRun"]["service"] for name, made in groups.items()} == {
        f"llm-runs-{service}": service for service in public
    }
    backends, written = walk.of("compute", "backendServices", extended=True), configuration()
    assert set(backends) == names
    [wanted] = written.of_type("google_compute_backend_service").values()
    for name, made in backends.items():
        assert made["compressionMode"] == wanted["compression_mode"] and made["enableCDN"] is wanted["enable_cdn"]
        assert made["loadBalancingScheme"] == wanted["load_balancing_scheme"]
        assert made["logConfig"]["sampleRate"] == wanted["log_config"][0]["sample_rate"]
        assert [backend["group"].rpartition("/")[2] for backend in made["backends"]] == [name]
        assert made["securityPolicy"].endswith("/securityPolicies/llm-runs")
    [policy] = walk.of("compute", "securityPolicies", extended=True).values()
    [rule] = policy["rules"]
    assert (rule["action"], rule["rateLimitOptions"]["enforceOnKey"]) == ("throttle", "IP")
    assert rule["rateLimitOptions"]["rateLimitThreshold"] == {"count": 300, "intervalSec": 60}
    rules = {
        name: (made["portRange"], made["target"].split("/")[-2])
        for name, made in walk.of("compute", "forwardingRules", extended=True).items()
    }
    assert rules == {
        "llm-runs-https": ("443", "targetHttpsProxies"),
        "llm-runs-http": ("80", "targetHttpProxies"),
    }
    [certificate] = walk.of("compute", "sslCertificates", extended=True).values()
    assert certificate["managed"]["domains"] == ["runs.example.com"]
    [proxy] = walk.of("compute", "targetHttpsProxies", extended=True).values()
    assert proxy["urlMap"].endswith("/urlMaps/llm-runs") and proxy["sslPolicy"].endswith("/sslPolicies/llm-runs")
    maps = walk.of("compute", "urlMaps", extended=True)
    assert maps["llm-runs"]["pathMatchers"] == url_map(PROJECT, "runs.example.com")["pathMatchers"]
    assert maps["llm-runs-to-https"]["defaultUrlRedirect"]["httpsRedirect"] is True


def test_behind_the_load_balancer_clients_functions_are_reached_through_it_only(walk: Walk) -> None:
    for name, made in walk.of("cloudfunctions", "functions", extended=True).items():
        wanted = "ALLOW_INTERNAL_AND_GCLB" if CLOUD["functions"][name]["public"] else "ALLOW_INTERNAL_ONLY"
        assert made["serviceConfig"]["ingressSettings"] == wanted
        origins = made["serviceConfig"]["environmentVariables"]["ALLOWED_ORIGINS"].split(",")
        assert "https://runs.example.com" in origins


def test_the_result_cache_is_reached_by_the_functions_that_use_it(walk: Walk) -> None:
    written = configuration()
    [wanted], [made] = (
        written.of_type("google_redis_instance").values(),
        walk.of("redis", "instances", extended=True).values(),
    )
    assert (made["tier"], made["memorySizeGb"], made["redisVersion"]) == (
        wanted["tier"], wanted["memory_size_gb"], wanted["redis_version"],
    )  # fmt: skip
    assert made["authEnabled"] is True and made["redisConfigs"] == wanted["redis_configs"]
    [wanted], [made] = (
        written.of_type("google_vpc_access_connector").values(),
        walk.of("vpcaccess", "connectors", extended=True).values(),
    )
    assert (made["ipCidrRange"], made["machineType"]) == (wanted["ip_cidr_range"], wanted["machine_type"])
    assert (made["minInstances"], made["maxInstances"]) == (wanted["min_instances"], wanted["max_instances"])
    assert walk.google.payloads[f"projects/{PROJECT}/secrets/REDIS_URL/versions/1"] == "redis://:a-word@10.0.0.3:6379/0"
    for name, function in walk.of("cloudfunctions", "functions", extended=True).items():
        config, caches = function["serviceConfig"], CLOUD["functions"][name]["caches"]
        secrets = [item["key"] for item in config.get("secretEnvironmentVariables", [])]
        assert ("REDIS_URL" in secrets) == caches
        assert ("vpcConnector" in config) == caches


def test_the_budget_is_the_projects_and_tells_the_channel_of_the_alarms(walk: Walk) -> None:
    [budget] = walk.of("billingbudgets", "budgets", extended=True).values()
    assert budget["displayName"] == f"LLM Runs: {PROJECT}"
    assert budget["amount"]["specifiedAmount"]["units"] == "100"
    assert budget["budgetFilter"]["projects"] == [f"projects/{PROJECT_NUMBER}"]
    assert [rule["thresholdPercent"] for rule in budget["thresholdRules"]] == [0.5, 0.9, 1.0]
    [channel] = budget["notificationsRule"]["monitoringNotificationChannels"]
    assert channel.startswith(f"projects/{PROJECT}/notificationChannels/")


def test_gcloud_accepts_every_command_of_the_documents_and_asks_google_for_it(walk: Walk) -> None:
    """The stand-in has everything that the commands name, but no services of Cloud Run: gcloud does not find those."""
    assert len(walk.recipes) > 20
    for command, (code, requests, said) in walk.recipes.items():
        is_answered = code == 0 or (command.startswith("gcloud run ") and code == 1 and "crashed" not in said)
        assert is_answered and requests > 0, f"{command}\n{said}"
