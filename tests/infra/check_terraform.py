"""infra/terraform against the schema of Google's provider: read by Python, and applied by Terraform to a stand-in."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from infra.local.routing import FUNCTIONS, function_for
from infra.smoke_deployed import smoke_of
from infra.url_map import url_map
from shared.settings import from_environment
from tests.infra.provider import PROJECT_NUMBER, Provider, serving
from tests.infra.provider_schema import Block, ProviderSchema
from tests.infra.terraform import configuration
from tests.needs import need

ROOT = Path(__file__).parents[2]
META = {"count", "depends_on", "for_each", "lifecycle", "provider", "provisioner", "connection"}
GIVEN = {
    "project": "demo-deploy",
    "region": "europe-west1",
    "package": "llm-runs-0123456789ab.zip",
    "llm_deployments": {"default": "https://llm.example.com"},
    "alert_email": "oncall@example.com",
    "secrets": {"OPENAI_API_KEY": "3", "NEW_KEY": ""},
    "settings": {"MAX_ATTEMPTS": "2"},
}
DOMAIN = {
    "settings": {"MAX_ATTEMPTS": "2", "TRACE_EXPORT": "cloud_trace"},
    "front": "domain",
    "domain": "runs.example.com",
    "memorystore": True,
    "billing_account": "012345-6789AB-CDEF01",
}
FRONTS: dict[str, dict[str, Any]] = {"plain": {}, "domain": DOMAIN, "hosting": {"front": "hosting"}}


def problems(block: Block, body: dict[str, Any], where: str) -> Iterator[str]:
    given = set(body)
    yield from (f"{where}: {name} is unknown" for name in given - set(block.types) - set(block.blocks))
    yield from (f"{where}: {name} is set by Google" for name in given & block.computed)
    yield from (f"{where}: {name} is missing" for name in block.required - given)
    for name in given & set(block.blocks):
        for inner in body[name]:
            yield from problems(block.blocks[name], inner, f"{where}.{name}")


def test_the_provider_knows_every_name_and_misses_no_argument(schema: ProviderSchema) -> None:
    found = []
    sides = [("", configuration().resources, schema.resource), ("data.", configuration().data, schema.data_source)]
    for prefix, parts, look_up in sides:
        for (kind, name), body in parts.items():
            block, own = look_up(kind), {key: value for key, value in body.items() if key not in META}
            where = f"{prefix}{kind}.{name}"
            found += list(problems(block, own, where)) if block else [f"{where} is unknown"]
    assert found == []


def test_wrong_names_would_be_noticed(schema: ProviderSchema) -> None:
    block = schema.resource("google_pubsub_subscription")
    assert block is not None and schema.resource("google_pubsub_subscriptions") is None
    body = {"name": "n", "topics": "t", "push_config": [{"oidc_tokens": [{}]}], "effective_labels": {}}
    assert set(problems(block, body, "s")) == {
        "s: topics is unknown",
        "s: topic is missing",
        "s: effective_labels is set by Google",
        "s.push_config: oidc_tokens is unknown",
        "s.push_config: push_endpoint is missing",
    }


def test_the_provider_of_the_schema_is_the_one_that_is_required(schema: ProviderSchema) -> None:
    required = re.search(r'version = "~> (\d+\.\d+)"', (ROOT / "infra/terraform/versions.tf").read_text())
    assert required is not None and schema.version.startswith(f"{required[1]}.")


@dataclass
class Terraform:
    """Runs the real command in a copy of infra/, on the stand-in for the provider."""

    folder: Path
    environment: dict[str, str]

    def run(self, *words: str, **variables: Any) -> subprocess.CompletedProcess[str]:
        given = [
            f"-var={name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in variables.items()
        ]
        quiet = {"TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1", "TF_INPUT": "0", "TF_CLI_CONFIG_FILE": "/dev/null"}
        return subprocess.run(
            ["terraform", words[0], "-no-color", *words[1:], *given],
            cwd=self.folder / "terraform",
            env={**os.environ, **quiet, **self.environment},
            capture_output=True,
            text=True,
        )

    def show(self) -> "Applied":
        state = json.loads(self.run("show", "-json").stdout)["values"]
        resources = [(item["address"], item["values"]) for item in state["root_module"]["resources"]]
        return Applied(dict(resources), {name: item.get("value") for name, item in state["outputs"].items()})


@dataclass
class Applied:
    """What Terraform has made: {address: arguments} and {output: value}."""

    resources: dict[str, dict[str, Any]]
    outputs: dict[str, Any]

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        return [values for address, values in self.resources.items() if re.match(rf"(data\.)?{kind}\.", address)]


def need_terraform() -> None:
    missing = shutil.which("terraform") is None
    need("terraform is missing; install it: developer.hashicorp.com/terraform/install" if missing else None)


@pytest.fixture(scope="module")
def provider(schema: ProviderSchema) -> Iterator[dict[str, str]]:
    need_terraform()
    kinds = ({kind for kind, _ in configuration().resources}, {kind for kind, _ in configuration().data})
    with serving(Provider(schema, resources=kinds[0], data_sources=kinds[1])) as environment:
        yield environment


@pytest.fixture(scope="module")
def terraform(provider: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Terraform]:
    """Makes a copy in which `terraform init` has run, for each that asks."""
    initialised = tmp_path_factory.mktemp("initialised")
    ignored = shutil.ignore_patterns(".terraform", "*.tfstate*", "*.tfvars")
    shutil.copytree(ROOT / "infra/terraform", initialised / "terraform", ignore=ignored)
    for path in [*(ROOT / "infra").glob("*.json"), ROOT / "infra/firestore.rules"]:
        shutil.copy(path, initialised)
    done = Terraform(initialised, provider).run("init")
    assert done.returncode == 0, done.stderr

    def copied() -> Terraform:
        folder = tmp_path_factory.mktemp("infra") / "copy"
        shutil.copytree(initialised, folder)
        return Terraform(folder, provider)

    return copied


@pytest.fixture(scope="module")
def applied(terraform: Callable[[], Terraform]) -> dict[str, Applied]:
    """{front: what Terraform has made}, each from nothing; a second run then finds nothing to do."""
    found = {}
    for front, variables in FRONTS.items():
        made = terraform()
        (made.folder / "terraform" / str(GIVEN["package"])).write_bytes(b"")
        done = made.run("apply", "-auto-approve", **{**GIVEN, **variables})
        assert done.returncode == 0, done.stderr
        again = made.run("plan", "-detailed-exitcode", **{**GIVEN, **variables})
        assert again.returncode == 0, again.stdout + again.stderr
        found[front] = made.show()
    return found


def test_the_lock_file_has_the_version_of_the_schema_and_a_checksum_for_each_machine(schema: ProviderSchema) -> None:
    lock = (ROOT / "infra/terraform/.terraform.lock.hcl").read_text()
    [provider] = re.findall(r'provider "([^"]+)" \{', lock)
    assert provider == "registry.terraform.io/hashicorp/google"
    assert f'version     = "{schema.version}"' in lock
    required = re.search(r' version = "(~>[^"]+)"', (ROOT / "infra/terraform/versions.tf").read_text())
    assert required is not None and f'constraints = "{required[1]}"' in lock
    assert len(set(re.findall(r'"zh:[0-9a-f]{64}"', lock))) == 12, "eleven kinds of machine, and the manifest"


def test_terraform_finds_the_files_valid_without_any_variable(terraform: Callable[[], Terraform]) -> None:
    done = terraform().run("validate")
    assert done.returncode == 0 and "The configuration is valid" in done.stdout, done.stderr


def test_the_files_are_formatted() -> None:
    need_terraform()
    done = subprocess.run(
        ["terraform", "fmt", "-check", "-recursive", "infra/terraform"], cwd=ROOT, capture_output=True
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("front", FRONTS)
def test_terraform_makes_everything_and_a_second_run_finds_nothing_to_do(
    applied: dict[str, Applied], front: str
) -> None:
    made = applied[front]
    assert len(made.of_type("google_cloudfunctions2_function")) == len(FUNCTIONS)
    assert len(made.of_type("google_firestore_index")) == len(indexes()["indexes"])
    assert len(made.of_type("google_firestore_field")) == len(indexes()["fieldOverrides"])
    assert made.outputs["secrets_to_fill"] == ["NEW_KEY"]


def indexes() -> Any:
    return json.loads((ROOT / "infra/firestore.indexes.json").read_text())


@pytest.mark.parametrize("front", FRONTS)
def test_the_functions_start_with_what_terraform_gives_them(
    applied: dict[str, Applied], front: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for function in applied[front].of_type("google_cloudfunctions2_function"):
        config = function["service_config"][0]
        monkeypatch.setenv("K_SERVICE", function["name"])
        for name, value in config["environment_variables"].items():
            monkeypatch.setenv(name, value)
        settings = from_environment()
        assert (settings.backend, settings.project, settings.max_attempts) == ("gcp", "demo-deploy", 2)
        assert settings.recheck_url == f"https://recheck-run-{PROJECT_NUMBER}.europe-west1.run.app"
        assert settings.invoker_service_account == "llm-runs-invoker@demo-deploy.iam.gserviceaccount.com"
        assert "https://demo-deploy.web.app" in settings.allowed_origins
        assert ("https://runs.example.com" in settings.allowed_origins) == (front == "domain")
        assert (settings.streams_url is not None) == (front == "hosting")


@pytest.mark.parametrize("front", FRONTS)
def test_everything_that_calls_an_internal_function_shows_a_token_that_it_accepts(
    applied: dict[str, Applied], front: str
) -> None:
    made = applied[front]
    pushes = [push["push_config"][0] for push in made.of_type("google_pubsub_subscription")]
    [job] = [job["http_target"][0] for job in made.of_type("google_cloud_scheduler_job")]
    [function, *_] = made.of_type("google_cloudfunctions2_function")
    environment = function["service_config"][0]["environment_variables"]
    for target in [*pushes, job]:
        [token] = target["oidc_token"]
        assert token["audience"] == environment["INTERNAL_AUDIENCE"]
        assert token["service_account_email"] == environment["INVOKER_SERVICE_ACCOUNT"]
    urls = {push["push_endpoint"] for push in pushes} | {job["uri"]}
    names = {
        name: url
        for name, url in made.outputs["functions"].items()
        if name in ("process_run", "bury_run", "sweep_runs")
    }
    assert urls == set(names.values())


@pytest.mark.parametrize("front", FRONTS)
def test_the_outputs_have_the_addresses_at_which_a_deployment_is_tried(applied: dict[str, Applied], front: str) -> None:
    outputs = applied[front].outputs
    smoke = smoke_of({name: {"value": value} for name, value in outputs.items()}, "token", "model")
    own, site, domain = outputs["functions"], "https://demo-deploy.web.app", "https://runs.example.com"
    wanted = {"plain": (own["submit_run"], own["read_runs"]), "domain": (domain, domain), "hosting": (site, site)}[
        front
    ]
    assert (smoke.url, smoke.reads) == (f"{wanted[0]}/", f"{wanted[1]}/")
    assert smoke.project == "demo-deploy"


def test_secrets_are_mounted_where_they_are_read_and_only_with_a_version(applied: dict[str, Applied]) -> None:
    mounted = {
        front: {
            function["name"]: {
                secret["key"] for secret in function["service_config"][0]["secret_environment_variables"]
            }
            for function in made.of_type("google_cloudfunctions2_function")
        }
        for front, made in applied.items()
    }
    nothing: dict[str, set[str]] = {name: set() for name in mounted["plain"]}
    assert mounted["plain"] == {**nothing, "process_run": {"OPENAI_API_KEY"}, "recheck_run": {"OPENAI_API_KEY"}}
    with_redis = {name for name, keys in mounted["domain"].items() if "REDIS_URL" in keys}
    assert with_redis == {"process_run", "recheck_run", "read_runs", "sweep_runs"}


def test_functions_may_write_traces_only_when_they_export_them(applied: dict[str, Applied]) -> None:
    writers = {
        front: [
            member for member in made.of_type("google_project_iam_member") if member["role"] == "roles/cloudtrace.agent"
        ]
        for front, made in applied.items()
    }
    assert {front: len(found) for front, found in writers.items()} == {
        "plain": 0,
        "domain": len(FUNCTIONS),
        "hosting": 0,
    }


def test_the_load_balancer_sends_every_path_to_its_function(applied: dict[str, Applied]) -> None:
    [front] = [item for item in applied["domain"].of_type("google_compute_url_map") if item["name"] == "llm-runs"]
    rules = sorted(front["path_matcher"][0]["route_rules"], key=lambda rule: int(rule["priority"]))
    rules_of_gcloud = url_map("demo-deploy", "runs.example.com")["pathMatchers"][0]["routeRules"]
    assert [rule["priority"] for rule in rules_of_gcloud] == [int(rule["priority"]) for rule in rules]
    paths = json.loads(json.dumps(list(openapi_paths())))
    for path in [*paths, "/", "/health", "/somewhere", "/submit_run", "/read_runs/"]:
        [service, *_] = [
            rule["service"] for rule in rules if any(matches(match, path) for match in rule["match_rules"])
        ]
        assert service.rpartition("/llm-runs-")[2].replace("-", "_") == function_for(path), path
        [same, *_] = [
            rule["service"] for rule in rules_of_gcloud if any(matches(match, path) for match in rule["matchRules"])
        ]
        assert same.rpartition("/")[2] == service.rpartition("/")[2], path


def matches(rule: dict[str, Any], path: str) -> bool:
    """Takes a rule with the names of Terraform or those of Google's API."""
    if whole := rule.get("full_path_match", rule.get("fullPathMatch")):
        return bool(path == whole)
    return path.startswith(rule.get("prefix_match") or rule["prefixMatch"])


def openapi_paths() -> Iterator[str]:
    text = (ROOT / "infra/openapi.yaml").read_text()
    for path in re.findall(r"^  (/\S*):$", text, re.MULTILINE):
        plain = re.sub(r"\{\w+\}", "x", path).rstrip("/")
        yield from (plain, f"{plain}/")


WRONG: list[dict[str, dict[str, Any]]] = [
    {
        "project": {"project": "No"},
        "region": {"region": "europe"},
        "package": {"package": "source.zip"},
        "llm_deployments": {"llm_deployments": {"default": "http://llm.example.com"}},
        "settings": {"settings": {"OPENAI_API_KEY": "sk-1"}},
        "secrets": {"secrets": {"OPENAI_API_KEY": "sk-1"}},
        "allowed_origins": {"allowed_origins": ["https://a.example.com/"]},
        "domain": {"front": "domain"},
        "alert_email": {"alert_email": "me"},
        "min_instances": {"min_instances": {"other": 1}},
    },
    {
        "domain": {"domain": "runs.example.com"},
        "memorystore": {"memorystore": True, "secrets": {"REDIS_URL": "1"}},
    },
]
"""{variable that is refused: what is given}; Terraform names all that it refuses, so each of these is one run."""


@pytest.mark.parametrize(
    ("number", "variable"),
    [(number, variable) for number, together in enumerate(WRONG) for variable in together],
    ids=[str(given) for together in WRONG for given in together.values()],
)
def test_a_wrong_variable_is_refused(refused: list[set[str]], number: int, variable: str) -> None:
    assert variable in refused[number]


def test_no_other_variable_is_refused(refused: list[set[str]]) -> None:
    assert refused == [set(together) for together in WRONG]


@pytest.fixture(scope="module")
def refused(terraform: Callable[[], Terraform]) -> list[set[str]]:
    """The variables that Terraform refuses, of each run in WRONG."""
    found, runner = [], terraform()
    for together in WRONG:
        given = {name: value for values in together.values() for name, value in values.items()}
        done = runner.run("plan", **{**GIVEN, **given})
        assert done.returncode == 1, done.stdout
        refusals = done.stderr.split("Error: ")[1:]
        assert all(refusal.startswith("Invalid value for variable") for refusal in refusals), done.stderr
        found.append(set(re.findall(r'variable "(\w+)" \{', done.stderr)))
    return found
