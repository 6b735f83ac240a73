"""Defines the closed sets of values that classify runs."""

from enum import StrEnum

JOB_TYPES = ("trainer_question_analysis", "review_colab", "general_llm_request")


class LlmApi(StrEnum):
    """The protocols in which LLMs are called."""

    OPENAI_CHAT = "openai_chat"
    """OpenAI's chat completions: one synchronous call returns the answer."""
    ANTHROPIC_MESSAGES = "anthropic_messages"
    """Anthropic's messages: one synchronous call returns the answer."""
    OPENAI_RESPONSES = "openai_responses"
    """OpenAI's responses in background mode: a call creates a response, and checks retrieve it until it is complete."""
    OPENAI_BATCH = "openai_batch"
    """OpenAI's batch API, with one request in each batch; checks ask for the batch until it has an answer."""
    ANTHROPIC_BATCH = "anthropic_batch"
    """Anthropic's message batches, with one request in each batch."""
    LLM_JOBS = "llm_jobs"
    """The job API: a submit returns a job id, and checks ask for the job's status until it has a result."""


class Status(StrEnum):
    """A run goes pending → processing → completed, failed or cancelled, and never back."""

    PENDING = "pending"
    """Accepted; no worker has claimed it."""
    PROCESSING = "processing"
    """A worker has claimed it, or the LLM works on it."""
    COMPLETED = "completed"
    """It has a result."""
    FAILED = "failed"
    """It has an error."""
    CANCELLED = "cancelled"
    """Its owner stopped it."""


class Kind(StrEnum):
    """The family of routes by which the run was submitted."""

    ADMIN_RUN = "admin_run"
    """POST /llm_user_runs_admin."""
    USER_RUN = "user_run"
    """POST /llm_user_runs."""
    JOB = "job"
    """POST /api/llm/…"""


class Service(StrEnum):
    """Says how soon the LLM works on a run, and at which price."""

    STANDARD = "standard"
    """At once."""
    BATCH = "batch"
    """Within a day, through the batch API of the model's vendor, usually at half the price."""


class Lane(StrEnum):
    """Which queue carries a run, so that calls of minutes do not hold up steps of a second."""

    SHORT = "short"
    """The LLM is asked and answers at once; its work is polled."""
    LONG = "long"
    """The LLM is asked and the worker waits for the answer."""


class Wait(StrEnum):
    """Why an open run waits although nothing went wrong; a run that waits out an error has its ErrorCode instead."""

    ROOM = "room"
    """Every thread that may call the run's LLM is busy."""
    WORKER = "worker"
    """The sweeper has sent the run to any worker, and none has taken it yet."""


TERMINAL = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED})
USER_RUN_KINDS = (Kind.ADMIN_RUN, Kind.USER_RUN)
SYNCHRONOUS_APIS = frozenset({LlmApi.OPENAI_CHAT, LlmApi.ANTHROPIC_MESSAGES})
"""Protocols whose call lasts as long as the LLM works."""
IDEMPOTENT_APIS = frozenset({LlmApi.LLM_JOBS, LlmApi.OPENAI_BATCH})
"""Protocols that return the same provider job for the same idempotency key, or that find the job by it."""
