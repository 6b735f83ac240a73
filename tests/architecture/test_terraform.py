"""infra/terraform keeps its rules: nobody may do more than they need, and no default of Google's bites."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from functions import read_runs, submit_run
from infra.local import broker, pacing
from infra.local.routing import FUNCTIONS, ROUTES, function_for
from shared.settings import Settings
from shared.wiring.assembly import SAVING
from tests.infra.terraform import FOLDER, configuration
from tests.openapi import operations

ROOT = Path(__file__).parents[2]
CLOUD = json.loads((ROOT / "infra/cloud.json").read_text())
ALARMS = json.loads((ROOT / "infra/alarms.json").read_text())
OF_ONE_MACHINE = {
    "ANTHROPIC_BASE_URL", "CLOUD_TASKS_EMULATOR_HOST", "DATA_DIR", "FIRESTORE_EMULATOR_HOST", "GEMINI_BASE_URL",
    "LLM_SIM_PORT", "LLM_SIM_SECONDS", "OPENAI_API", "OPENAI_BASE_URL", "OPENAI_MODEL", "PORT", "PUBSUB_EMULATOR_HOST",
    "WEBHOOK_ALLOWED_HOSTS",
}  # fmt: skip
"""Settings that deployed functions do not need or refuse."""
OF_CLOUD_RUN = {"K_SERVICE"}
SECRETS = {"ANTHROPIC_API_KEY", "GEMINI_API_KEY", "OPENAI_API_KEY", "REDIS_URL"}
PROJECT_ROLES = {
    "google_project_iam_member.build": CLOUD["build_roles"],
    "google_project_iam_member.firestore": ["roles/datastore.user"],
    "google_project_iam_member.traces": ["${local.cloud.traces.role}"],
    "google_project_iam_member.sessions": ["${google_project_iam_custom_role.sessions.id}"],
}
"""All roles on the whole project: Google has no narrower place for them."""


def members() -> Iterator[tuple[str, dict[str, Any]]]:
    for (kind, name), body in configuration().resources.items():
        if "_iam_" in kind and kind != "google_project_iam_custom_role":
            assert kind.endswith("_iam_member"), "a binding or a policy would take the roles of others away"
            yield f"{kind}.{name}", body


def test_everybody_may_call_the_functions_that_check_tokens_themselves_and_nothing_else() -> None:
    public = [name for name, body in members() if body["member"] in ("allUsers", "allAuthenticatedUsers")]
    assert public == ["google_cloud_run_service_iam_member.tokens_are_checked_by_the_function"]
    source = (FOLDER / "functions.tf").read_text()
    assert re.search(
        r"# Cloud Run's own check would remove .*\n(#.*\n)*resource " + '"google_cloud_run_service', source
    )
    assert "that check removes the signature" in " ".join((ROOT / "infra/README.md").read_text().split())


def test_internal_functions_are_reached_by_google_only() -> None:
    [function] = configuration().of_type("google_cloudfunctions2_function").values()
    ingress = function["service_config"][0]["ingress_settings"]
    assert ingress.startswith('${!each.value.public ? "ALLOW_INTERNAL_ONLY" :')
    public = {name for name, made in CLOUD["functions"].items() if made["public"]}
    assert public == set(ROUTES.values())


def test_every_function_has_an_account_of_its_own() -> None:
    assert set(CLOUD["functions"]) == set(FUNCTIONS)
    accounts = configuration().of_type("google_service_account")
    assert accounts["functions"]["for_each"] == "${local.services}"
    [function] = configuration().of_type("google_cloudfunctions2_function").values()
    assert function["for_each"] == "${local.functions}"
    used = function["service_config"][0]["service_account_email"]
    assert used == "${google_service_account.functions[each.key].email}"
    names = [f"llm-{name.replace('_', '-')}" for name in FUNCTIONS] + list(CLOUD["accounts"].values())
    assert len(set(names)) == len(FUNCTIONS) + 2 and all(6 <= len(name) <= 30 for name in names)


def test_no_account_has_a_basic_role_or_an_unlisted_one_on_the_whole_project() -> None:
    found = {}
    for name, body in members():
        roles = CLOUD["build_roles"] if body["role"] == "${each.value}" else [body["role"]]
        assert not {"roles/owner", "roles/editor", "roles/viewer"} & set(roles), name
        if name.startswith("google_project_iam"):
            found[name] = roles
    assert found == PROJECT_ROLES


def test_every_subscription_keeps_dead_letters_backs_off_and_never_expires() -> None:
    [subscription] = configuration().of_type("google_pubsub_subscription").values()
    assert subscription["for_each"] == "${local.cloud.subscriptions}"
    assert subscription["expiration_policy"] == [{"ttl": ""}]
    assert set(subscription["retry_policy"][0]) == {"minimum_backoff", "maximum_backoff"}
    assert set(subscription["dead_letter_policy"][0]) == {"dead_letter_topic", "max_delivery_attempts"}
    assert subscription["push_config"][0]["oidc_token"][0]["audience"] == "${local.audience}"
    without = [name for name, made in CLOUD["subscriptions"].items() if made["dead_letter_topic"] is None]
    assert [CLOUD["subscriptions"][name]["topic"] for name in without] == ["llm-runs-dead-letters"], (
        "only the dead letters' own subscription goes on until Pub/Sub deletes the message"
    )
    assert {made["dead_letter_topic"] for made in CLOUD["subscriptions"].values()} - {None} <= set(CLOUD["topics"])
    assert {made["topic"] for made in CLOUD["subscriptions"].values()} == set(CLOUD["topics"])


def test_pubsub_may_move_dead_letters() -> None:
    roles = {body["role"] for _, body in members() if body["member"] == "${local.pubsub_agent}"}
    assert roles == {"roles/pubsub.publisher", "roles/pubsub.subscriber", "roles/iam.serviceAccountTokenCreator"}


def test_every_queue_has_both_limits_of_retries_and_keeps_tasks_as_long_as_a_run_may_last() -> None:
    [queue] = configuration().of_type("google_cloud_tasks_queue").values()
    assert queue["for_each"] == "${local.cloud.queues}"
    assert {"max_attempts", "max_retry_duration"} <= set(queue["retry_config"][0])
    assert set(queue["rate_limits"][0]) == {"max_dispatches_per_second", "max_concurrent_dispatches"}
    assert CLOUD["queue_retry"]["max_attempts"] >= broker.MAX_TASK_DELIVERIES
    assert CLOUD["queue_retry"]["max_retry_seconds"] >= 86400, "DEADLINE_SECONDS is at most a day"


def test_one_machine_delivers_as_the_cloud_does() -> None:
    delivery = CLOUD["delivery"]
    assert delivery["max_deliveries"] == broker.MAX_DELIVERIES
    assert delivery["max_backoff_seconds"] == pacing.MAX_BACKOFF_SECONDS
    assert delivery["ack_deadline_seconds"] == broker.ACK_DEADLINE_SECONDS


def test_topics_and_queues_have_the_names_that_the_settings_have_by_default() -> None:
    named = {made["setting"]: name for kind in ("topics", "queues") for name, made in CLOUD[kind].items()}
    settings = Settings()
    assert named.pop(None) == "llm-runs-dead-letters"
    assert named == {
        "RUNS_TOPIC": settings.runs_topic,
        "LONG_RUNS_TOPIC": settings.long_runs_topic,
        "TASKS_QUEUE": settings.tasks_queue,
        "LONG_TASKS_QUEUE": settings.long_tasks_queue,
        "WEBHOOKS_QUEUE": settings.webhooks_queue,
    }


def test_functions_have_the_time_that_their_work_takes() -> None:
    seconds = {name: made["timeout_seconds"] for name, made in CLOUD["functions"].items()}
    assert seconds["submit_run"] == seconds["read_runs"] == 3600, "they stream"
    longest_call = 500 + SAVING.total_seconds()
    assert longest_call < seconds["process_run"] == seconds["recheck_run"] == CLOUD["delivery"]["ack_deadline_seconds"]
    assert (
        seconds["sweep_runs"] == CLOUD["sweep"]["attempt_seconds"]
        and CLOUD["functions"]["sweep_runs"]["max_instances"] == 1
    )


def names_of_settings() -> set[str]:
    return set(re.findall(r'reader\.\w+\(\s*"([A-Z_]+)"', (ROOT / "shared/settings.py").read_text()))


def test_every_setting_is_given_to_the_functions_that_read_it() -> None:
    given = set(re.findall(r"^    ([A-Z_]+) += ", (FOLDER / "functions.tf").read_text(), re.MULTILINE))
    named = {made["setting"] for kind in ("topics", "queues") for made in CLOUD[kind].values()} - {None}
    assert (
        "local.names" in configuration().locals["environment"]
        and "var.settings" in configuration().locals["environment"]
    )
    groups = [given, named, set(CLOUD["settings"]), SECRETS, OF_ONE_MACHINE, OF_CLOUD_RUN]
    assert set().union(*groups) == names_of_settings()
    assert sum(map(len, groups)) == len(names_of_settings()), "each is given in one way"


def test_no_secret_stands_in_a_plain_variable_or_in_the_state() -> None:
    plain = set(re.findall(r"^    ([A-Z_]+) += ", (FOLDER / "functions.tf").read_text(), re.MULTILINE))
    plain |= set(CLOUD["settings"])
    assert not plain & SECRETS and not [name for name in plain if re.search("KEY|PASSWORD|SECRET|TOKEN", name)]
    for version in configuration().of_type("google_secret_manager_secret_version").values():
        assert "secret_data" not in version and "secret_data_wo" in version
    assert "is a number or empty" in configuration().variables["secrets"]["validation"][0]["error_message"]


def test_functions_read_the_secrets_that_their_work_needs() -> None:
    calls = {name for name, made in CLOUD["functions"].items() if made["calls_llm"]}
    assert calls == {"process_run", "recheck_run"}
    caches = {name for name, made in CLOUD["functions"].items() if made["caches"]}
    assert caches == set(FUNCTIONS) - {"submit_run", "bury_run", "deliver_webhook"}


def test_firestore_is_protected_and_every_index_and_exemption_is_made() -> None:
    [database] = configuration().of_type("google_firestore_database").values()
    assert database["type"] == "FIRESTORE_NATIVE"
    assert database["point_in_time_recovery_enablement"] == "POINT_IN_TIME_RECOVERY_ENABLED"
    assert database["delete_protection_state"] == "DELETE_PROTECTION_ENABLED"
    assert configuration().of_type("google_firestore_backup_schedule")["daily"]["daily_recurrence"] == [{}]
    assert (
        "for index in local.firestore.indexes"
        in configuration().of_type("google_firestore_index")["queries"]["for_each"]
    )
    fields = configuration().of_type("google_firestore_field")["exemptions"]
    assert "for field in local.firestore.fieldOverrides" in fields["for_each"]
    assert fields["index_config"] == [{}] and fields["ttl_config"] == [{}]
    for name in ("firestore.rules", "firestore.indexes.json"):
        assert f'file("${{path.module}}/../{name}")' in sources()


def sources() -> str:
    return "".join(path.read_text() for path in sorted(FOLDER.glob("*.tf")))


def test_every_path_of_the_api_leads_to_the_function_that_answers_it() -> None:
    for name, table in (("submit_run", submit_run.ROUTES), ("read_runs", read_runs.ROUTES)):
        for route in table.routes:
            if route.path not in ("", "/health", "/healthz"):
                assert path_map(re.sub(r"\{\w+\}", "x", route.path)) == name, route.path
    assert path_map("/health") == "read_runs"
    paths = [re.sub(r"\{\w+\}", "x", operation.path) for operation in operations()]
    for path in {*paths, *(f"{path.rstrip('/')}/" for path in paths)}:
        assert path_map(path) == function_for(path), path


def path_map(path: str) -> str:
    """The rule of domain.tf: whole paths first, then the longest beginning."""
    if path.rstrip("/") in ROUTES:
        return ROUTES[path.rstrip("/")]
    return ROUTES[max((prefix for prefix in ROUTES if prefix.endswith("/") and path.startswith(prefix)), key=len)]


def test_firebase_hosting_has_the_same_path_map() -> None:
    hosting = json.loads((ROOT / "infra/hosting/firebase.json").read_text())["hosting"]
    rules = [(rule["source"], rule["function"]["functionId"]) for rule in hosting["rewrites"]]
    whole = {path: name for path, name in ROUTES.items() if not path.endswith("/")}
    expected = [(f"{path}{slash}", name) for path, name in whole.items() for slash in ("", "/")]
    below = sorted((path for path in ROUTES if path.endswith("/")), key=len, reverse=True)
    assert sorted(rules[: len(expected)]) == sorted(expected)
    assert rules[len(expected) :] == [(f"{path}**", ROUTES[path]) for path in below]
    assert len({rule["function"]["region"] for rule in hosting["rewrites"]}) == 1


def test_the_load_balancer_has_the_path_map_and_lets_streams_pass() -> None:
    assert configuration().locals["routes"] == '${jsondecode(file("${path.module}/../routes.json"))}'
    paths = configuration().of_type("google_compute_url_map")["front"]["path_matcher"][0]
    assert [set(rule) for rule in paths["route_rules"]] == [{"priority", "service", "match_rules"}]
    [backend] = configuration().of_type("google_compute_backend_service").values()
    assert backend["compression_mode"] == "DISABLED" and backend["enable_cdn"] is False
    assert backend["security_policy"] == "${google_compute_security_policy.front[0].id}"


def test_alarms_watch_what_the_code_logs() -> None:
    code = "".join(path.read_text() for path in (ROOT / "shared").rglob("*.py"))
    for metric in ALARMS["metrics"]:
        [message] = re.findall(r'jsonPayload\.message="([^"]+)"', metric["filter"])
        assert re.search(rf'log\.\w+\(\s*"{message}"', code), message
        for name in re.findall(r"jsonPayload\.(\w+)>", metric["filter"]):
            assert re.search(rf"^    {name}: int = 0", code, re.MULTILINE), name


def test_every_metric_has_an_alarm_and_a_place_on_the_dashboard() -> None:
    watched, shown = json.dumps(ALARMS["policies"]), json.dumps(ALARMS["dashboard"])
    for metric in ALARMS["metrics"]:
        assert f"user/{metric['name']}\\" in watched and f"user/{metric['name']}\\" in shown
    used = set(re.findall(r"googleapis\.com/user/([\w-]+)", watched + shown))
    assert used == {metric["name"] for metric in ALARMS["metrics"]}
    for policy in ALARMS["policies"]:
        assert policy["documentation"]["content"], "an alarm says what to do"


def test_there_are_alarms_about_what_operators_must_know() -> None:
    needed = {"overdue runs", "dead letters", "error rate", "lag of short runs", "lag of long runs", "breakers open"}
    alarms = {policy["displayName"].removeprefix("LLM Runs: ") for policy in ALARMS["policies"]}
    assert needed | {"sweeper silent", "not reachable"} <= alarms
    assert {"google_billing_budget", "google_monitoring_uptime_check_config"} <= {
        kind for kind, _ in configuration().resources
    }


def test_alarms_about_services_name_those_that_exist() -> None:
    services = {name.replace("_", "-") for name in FUNCTIONS}
    text = json.dumps(ALARMS)
    for names in re.findall(r"service_name=(?:one_of\()?((?:\\\"[\w-]+\\\",?)+)", text):
        assert set(re.findall(r"[\w-]+", names)) <= services
    assert set(re.findall(r'subscription_id=\\\\?\\?"([\w-]+)', text)) <= set(CLOUD["subscriptions"])


def test_every_variable_and_output_says_what_it_is() -> None:
    for name, variable in configuration().variables.items():
        assert variable["description"].endswith("."), name
        assert variable.get("validation") or variable["type"] == "${bool}" or name in {
            "firestore_location", "hosting_site", "network",
        }, f"{name} takes anything"  # fmt: skip
    for name, output in configuration().outputs.items():
        assert output["description"], name


def test_the_example_names_variables_that_exist_and_every_one_that_must_be_given() -> None:
    example = set(re.findall(r"^(?:# )?(\w+) += ", (FOLDER / "terraform.tfvars.example").read_text(), re.MULTILINE))
    needed = {name for name, variable in configuration().variables.items() if "default" not in variable}
    assert needed - {"project", "region", "package"} <= example <= set(configuration().variables)
