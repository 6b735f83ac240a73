"""Defines the settings and reads them from the environment, as the only module. infra/README.md describes each one."""

import json
import os
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from shared.domain.frozen import repr_without
from shared.domain.limits import Limits
from shared.domain.status import LlmApi
from shared.settings_reader import SettingsReader

BACKENDS = ("embedded", "gcp")
TRACE_EXPORTS = ("none", "otlp", "cloud_trace")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
REGIONS = ("europe", "tokyo", "default")
VENDORS = ("openai", "anthropic", "gemini")
OPENAI_APIS = (LlmApi.OPENAI_RESPONSES, LlmApi.OPENAI_CHAT)


class Settings(Struct, frozen=True, kw_only=True):
    """The settings of one process. infra/README.md describes them under the names of the environment variables."""

    backend: str = "embedded"
    port: int = 8080
    data_dir: Path = Path(".data")
    project: str | None = None
    firestore_database: str = "(default)"
    firestore_emulator: str | None = None
    pubsub_emulator: str | None = None
    tasks_emulator: str | None = None
    runs_topic: str = "llm-runs"
    tasks_location: str = "us-central1"
    tasks_queue: str = "rechecks"
    recheck_url: str | None = None
    internal_audience: str | None = None
    invoker_service_account: str | None = None
    firebase_project: str | None = None
    oidc_audiences: tuple[str, ...] = ()
    oidc_emails: tuple[str, ...] = ()
    allowed_origins: frozenset[str] = frozenset()
    streams_url: str | None = None
    """Where clients find streams when the address that they called cannot pass them on."""
    log_level: str = "INFO"
    trace_export: str = "none"
    trace_endpoint: str = "http://127.0.0.1:4318"
    trace_sample_ratio: float = 0.1
    service: str = "llm-runs"
    deployments: Mapping[str, str] = field(default_factory=dict)
    """{name: base URL} of the regional LLM deployments."""
    own_llm: bool = False
    """True when LLM_DEPLOYMENTS is set: the local hosts then start no simulator."""
    sim_port: int = 8090
    sim_seconds: float = 2.0
    vendor_keys: frozenset[str] = frozenset()
    """The vendors of LLMs whose key is set, of VENDORS; the keys themselves are read when they are needed."""
    vendor_base_urls: Mapping[str, str] = field(default_factory=dict)
    """{vendor: base URL} where it is not the vendor's own."""
    openai_api: str = OPENAI_APIS[0]
    openai_model: str | None = None
    """The one model of the OpenAI-compatible server at the base URL of `openai`."""
    chat_seconds: float = 300.0
    """Maximum duration of a synchronous LLM call."""
    llm_threads: int = 32
    max_attempts: int = 3
    """How many attempts of a run may be billed; a model's record may say otherwise."""
    translation_repairs: int = 1
    """How often a chat model is asked to repair a translation in which checks failed."""
    long_runs_topic: str = "llm-runs-long"
    long_tasks_queue: str = "rechecks-long"
    webhooks_queue: str = "webhooks"
    deliver_webhook_url: str | None = None
    webhook_allowed_hosts: frozenset[str] = frozenset()
    """"host:port" of webhook receivers that may be private and without https, on one machine only."""
    deadlines: Mapping[str, timedelta] = field(default_factory=lambda: {"default": timedelta(hours=1)})
    """{job type, kind or "default": time from acceptance until an unfinished run fails}"""
    limits: Limits = Limits()
    retention: timedelta = timedelta(days=30)
    max_input_bytes: int = 1024 * 1024
    redis_url: str | None = None
    """May contain a password, so that `repr` must not show it."""
    pending_grace: timedelta = timedelta(seconds=15)
    sweep_interval: timedelta = timedelta(seconds=5)

    def __repr__(self) -> str:
        return repr_without(self, "redis_url")

    @property
    def on_emulators(self) -> bool:
        """Returns True when all three of Google's services are emulated."""
        return None not in (self.firestore_emulator, self.pubsub_emulator, self.tasks_emulator)

    @property
    def is_local(self) -> bool:
        """Returns True when everything runs on one machine, where the tokens of `make token` are accepted."""
        return self.backend == "embedded" or self.on_emulators

    @property
    def vendors_with_models(self) -> frozenset[str]:
        """Returns the vendors whose models are offered. A server that is set up with OPENAI_MODEL has that one only."""
        is_one_model = self.openai_model is not None and "openai" in self.vendor_base_urls
        return self.vendor_keys - {"openai"} if is_one_model else self.vendor_keys

    def as_environment(self) -> dict[str, str]:
        """Returns the environment variables with which another process runs on the same emulators and directory."""
        variables = {
            "BACKEND": self.backend,
            "DATA_DIR": str(self.data_dir.resolve()),
            "GOOGLE_CLOUD_PROJECT": self.project,
            "FIRESTORE_EMULATOR_HOST": self.firestore_emulator,
            "PUBSUB_EMULATOR_HOST": self.pubsub_emulator,
            "CLOUD_TASKS_EMULATOR_HOST": self.tasks_emulator,
            "RECHECK_URL": self.recheck_url,
            "DELIVER_WEBHOOK_URL": self.deliver_webhook_url,
            "WEBHOOK_ALLOWED_HOSTS": ",".join(sorted(self.webhook_allowed_hosts)) or None,
            "LLM_DEPLOYMENTS": json.dumps(dict(self.deployments)),
            "PENDING_GRACE_SECONDS": str(self.pending_grace.total_seconds()),
            "SUBMITS_PER_MINUTE": str(self.limits.submits_a_minute or 0),
            "MAX_OPEN_RUNS": str(self.limits.open_runs or 0),
            "MAX_ATTEMPTS": str(self.max_attempts),
            "TRANSLATION_REPAIRS": str(self.translation_repairs),
            "SWEEP_SECONDS": str(self.sweep_interval.total_seconds()),
        }
        return {name: value for name, value in variables.items() if value is not None}


def from_environment() -> Settings:
    """Reads and checks all settings. Raises ConfigurationError with all problems in one message."""
    reader = SettingsReader(os.environ)
    sim_port = reader.number("LLM_SIM_PORT", 8090, minimum=0, maximum=65535)
    embedded = reader.text("BACKEND") in (None, "embedded")
    settings = Settings(
        backend=reader.choice("BACKEND", BACKENDS),
        **_google(reader),
        **_callers(reader),
        port=reader.number("PORT", 8080, minimum=0, maximum=65535),
        data_dir=Path(reader.text("DATA_DIR") or ".data"),
        log_level=reader.choice("LOG_LEVEL", LOG_LEVELS, default="INFO"),
        trace_export=reader.choice("TRACE_EXPORT", TRACE_EXPORTS),
        trace_endpoint=reader.url("OTEL_EXPORTER_OTLP_ENDPOINT") or "http://127.0.0.1:4318",
        trace_sample_ratio=reader.decimal("TRACE_SAMPLE_RATIO", 0.1, minimum=0, maximum=1),
        service=reader.text("K_SERVICE") or "llm-runs",
        deployments=reader.urls("LLM_DEPLOYMENTS") or {name: f"http://127.0.0.1:{sim_port}/{name}" for name in REGIONS},
        own_llm=reader.text("LLM_DEPLOYMENTS") is not None,
        sim_port=sim_port,
        sim_seconds=reader.decimal("LLM_SIM_SECONDS", 2.0, minimum=0, maximum=86400),
        **_vendors(reader),
        chat_seconds=reader.decimal("LLM_CALL_SECONDS", 300.0, minimum=1, maximum=500),
        llm_threads=reader.number("LLM_THREADS", 32, minimum=1, maximum=1000),
        max_attempts=reader.number("MAX_ATTEMPTS", 3, minimum=1, maximum=10),
        translation_repairs=reader.number("TRANSLATION_REPAIRS", 1, minimum=0, maximum=1),
        deadlines=reader.deadlines("DEADLINE_SECONDS"),
        limits=Limits(
            submits_a_minute=reader.number("SUBMITS_PER_MINUTE", 60, minimum=0, maximum=10_000) or None,
            open_runs=reader.number("MAX_OPEN_RUNS", 1000, minimum=0, maximum=10_000) or None,
        ),
        retention=timedelta(days=reader.number("RETENTION_DAYS", 30, minimum=1, maximum=3650)),
        max_input_bytes=reader.number("MAX_INPUT_BYTES", 1024 * 1024, minimum=1024, maximum=8 * 1024 * 1024),
        redis_url=reader.redis_url("REDIS_URL"),
        webhook_allowed_hosts=frozenset(
            reader.items("WEBHOOK_ALLOWED_HOSTS", r"([a-z0-9.-]+|[0-9a-f:]+):\d{1,5}", "host:port")
        ),
        pending_grace=timedelta(
            seconds=reader.decimal("PENDING_GRACE_SECONDS", 15 if embedded else 60, minimum=1, maximum=3600)
        ),
        sweep_interval=timedelta(
            seconds=reader.decimal("SWEEP_SECONDS", 5 if embedded else 60, minimum=0.1, maximum=3600)
        ),
    )
    _check_place(reader, settings, on_cloud_run=reader.text("K_SERVICE") is not None)
    reader.raise_if_invalid()
    return settings


def of_project(project: str) -> Settings:
    """Returns settings with which a program of the operators reaches the records of a project, and nothing else.

    Raises ConfigurationError.
    """
    reader = SettingsReader(os.environ)
    google = {**_google(reader), "project": project}
    settings = Settings(backend="gcp", **google, **_vendors(reader))
    reader.raise_if_invalid()
    return settings


def _google(reader: SettingsReader) -> dict[str, Any]:
    return {
        "project": reader.text("GOOGLE_CLOUD_PROJECT"),
        "firestore_database": reader.text("FIRESTORE_DATABASE") or "(default)",
        "firestore_emulator": reader.text("FIRESTORE_EMULATOR_HOST"),
        "pubsub_emulator": reader.text("PUBSUB_EMULATOR_HOST"),
        "tasks_emulator": reader.text("CLOUD_TASKS_EMULATOR_HOST"),
        "runs_topic": reader.text("RUNS_TOPIC") or "llm-runs",
        "tasks_location": reader.text("TASKS_LOCATION") or "us-central1",
        "tasks_queue": reader.text("TASKS_QUEUE") or "rechecks",
        "long_runs_topic": reader.text("LONG_RUNS_TOPIC") or "llm-runs-long",
        "long_tasks_queue": reader.text("LONG_TASKS_QUEUE") or "rechecks-long",
        "recheck_url": reader.url("RECHECK_URL"),
        "webhooks_queue": reader.text("WEBHOOKS_QUEUE") or "webhooks",
        "deliver_webhook_url": reader.url("DELIVER_WEBHOOK_URL"),
        "internal_audience": reader.text("INTERNAL_AUDIENCE"),
        "invoker_service_account": reader.text("INVOKER_SERVICE_ACCOUNT"),
    }


def _callers(reader: SettingsReader) -> dict[str, Any]:
    return {
        "firebase_project": reader.text("FIREBASE_PROJECT"),
        "streams_url": reader.url("STREAMS_URL"),
        "oidc_audiences": reader.items("OIDC_AUDIENCES", r"\S+", "an audience"),
        "oidc_emails": reader.items("OIDC_EMAILS", r"[^@\s]+@[^@\s]+", "an e-mail address"),
        "allowed_origins": frozenset(
            reader.items("ALLOWED_ORIGINS", r"https?://([a-z0-9.-]+|\[[0-9a-f:]+\])(:\d{1,5})?", "an origin")
        ),
    }


def _vendors(reader: SettingsReader) -> dict[str, Any]:
    keys = (reader.text("OPENAI_API_KEY"), reader.text("ANTHROPIC_API_KEY"), reader.text("GEMINI_API_KEY"))
    urls = (reader.url("OPENAI_BASE_URL"), reader.url("ANTHROPIC_BASE_URL"), reader.url("GEMINI_BASE_URL"))
    model = reader.text("OPENAI_MODEL")
    if model is not None and keys[0] is None and urls[0] is None:
        reader.problems.append("OPENAI_MODEL needs OPENAI_BASE_URL or OPENAI_API_KEY")
    return {
        "vendor_keys": frozenset(vendor for vendor, key in zip(VENDORS, keys, strict=True) if key),
        "vendor_base_urls": {vendor: url for vendor, url in zip(VENDORS, urls, strict=True) if url},
        "openai_api": reader.choice("OPENAI_API", OPENAI_APIS),
        "openai_model": model,
    }


def _check_place(reader: SettingsReader, settings: Settings, *, on_cloud_run: bool) -> None:
    """Adds the problems of settings that are valid one by one, but not together or not on this machine."""
    emulators = (settings.firestore_emulator, settings.pubsub_emulator, settings.tasks_emulator)
    if on_cloud_run and settings.backend == "embedded":
        reader.problems.append("BACKEND=embedded does not run on Cloud Run, which deletes an instance's files with it")
    if on_cloud_run and reader.has_emulator_host():
        reader.problems.append("*_EMULATOR_HOST must not be set on Cloud Run")
    if settings.backend == "gcp":
        _check_google(reader, settings, emulators)


def _check_google(reader: SettingsReader, settings: Settings, emulators: tuple[str | None, ...]) -> None:
    if any(emulators) and not all(emulators):
        reader.problems.append("FIRESTORE_, PUBSUB_ and CLOUD_TASKS_EMULATOR_HOST must be set together or not at all")
    needed = {
        "GOOGLE_CLOUD_PROJECT": settings.project,
        "RECHECK_URL": settings.recheck_url,
        "DELIVER_WEBHOOK_URL": settings.deliver_webhook_url,
    }
    for name, value in needed.items():
        if value is None:
            reader.problems.append(f"{name} is needed with BACKEND=gcp")
    names = {
        "RUNS_TOPIC": settings.runs_topic,
        "LONG_RUNS_TOPIC": settings.long_runs_topic,
        "TASKS_QUEUE": settings.tasks_queue,
        "LONG_TASKS_QUEUE": settings.long_tasks_queue,
        "WEBHOOKS_QUEUE": settings.webhooks_queue,
    }
    for name, value in names.items():
        if not re.fullmatch(r"[A-Za-z][\w.~+%-]{2,254}", value):
            reader.problems.append(f"{name} must be a name of letters, digits and hyphens")
    if not any(emulators):
        _check_production(reader, settings)


def _check_production(reader: SettingsReader, settings: Settings) -> None:
    if settings.invoker_service_account is None:
        reader.problems.append("INVOKER_SERVICE_ACCOUNT is needed with BACKEND=gcp: all other callers are refused")
    if not settings.own_llm:
        reader.problems.append("LLM_DEPLOYMENTS is needed with BACKEND=gcp: the cloud has no simulator")
    for name, url in (("RECHECK_URL", settings.recheck_url), ("DELIVER_WEBHOOK_URL", settings.deliver_webhook_url)):
        if url is not None and not url.startswith("https://"):
            reader.problems.append(f"{name} must be an https address: its requests carry an identity token")
    if settings.webhook_allowed_hosts:
        reader.problems.append("WEBHOOK_ALLOWED_HOSTS is for one machine: webhooks go to public addresses only")


def secret(name: str) -> str | None:
    """Returns the value of the environment variable that a model's record names; None when it is not set."""
    value = os.environ.get(name, "").strip() if re.fullmatch(r"[A-Z][A-Z0-9_]*", name) else ""
    return value or None
