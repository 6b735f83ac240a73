"""Defines the interfaces to the outside world. Each docstring is a promise that every adapter keeps.

Every method ends within a bounded time and may raise the TransientError of its port: StoreUnavailable,
QueueUnavailable, SchedulerUnavailable or CacheUnavailable. It raises no exception of the library behind it. Messages
and tasks are delivered at least once, in any order, and may be repeated at any time.
"""

from shared.ports.cache import ResultCache
from shared.ports.clock import Clock
from shared.ports.directory import Directory, ModelCatalogue, UserRecords
from shared.ports.identity import CachedVerifier, EndedSessions, Identity, SessionIssuer, TokenVerifier
from shared.ports.llm import DurationStore, LlmProvider
from shared.ports.messages import DeadLetters, RecheckScheduler, RunQueue
from shared.ports.reports import Accepted, BreakerState, CircuitBreakers, RunReports
from shared.ports.runs import RunFeed, RunFilter, RunPage, RunPosition, RunStore, RunWatcher, UsageSums
from shared.ports.webhooks import DeliveryPosition, WebhookScheduler, WebhookSender, WebhookSigner, WebhookStore

__all__ = [
    "Accepted",
    "BreakerState",
    "CachedVerifier",
    "CircuitBreakers",
    "Clock",
    "DeadLetters",
    "DeliveryPosition",
    "Directory",
    "DurationStore",
    "EndedSessions",
    "Identity",
    "LlmProvider",
    "ModelCatalogue",
    "RecheckScheduler",
    "ResultCache",
    "RunFeed",
    "RunFilter",
    "RunPage",
    "RunPosition",
    "RunQueue",
    "RunReports",
    "RunStore",
    "RunWatcher",
    "SessionIssuer",
    "TokenVerifier",
    "UsageSums",
    "UserRecords",
    "WebhookScheduler",
    "WebhookSender",
    "WebhookSigner",
    "WebhookStore",
]
