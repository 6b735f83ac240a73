"""Defines what the functions can call: one use case per field. wiring builds it; functions pass it to web."""

from dataclasses import dataclass

from shared.ports import DeadLetters, Directory, ModelCatalogue, TokenVerifier
from shared.usecases.advance import AdvanceRun
from shared.usecases.bury import BuryMessage
from shared.usecases.cancel import CancelRun
from shared.usecases.delete import DeleteRun
from shared.usecases.deliver_webhook import DeliverWebhook
from shared.usecases.forget import ForgetUser
from shared.usecases.operations import ReadOperations
from shared.usecases.overview import ReadOverview
from shared.usecases.read import ReadRuns
from shared.usecases.recover import RecoverRuns
from shared.usecases.rendered import RenderedUpdates
from shared.usecases.replay import ReplayDeadLetters
from shared.usecases.sessions import Sessions
from shared.usecases.submit import SubmitRun
from shared.usecases.sweep import SweepRuns
from shared.usecases.usage import ReadUsage
from shared.usecases.watch import WatchChannel, WatchRun
from shared.usecases.webhooks import Webhooks


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The use cases and the few settings that a request may need."""

    tokens: TokenVerifier
    sessions: Sessions
    invoker: TokenVerifier | None
    """Verifies the callers of the internal functions; None on one machine, where every caller is accepted."""
    directory: Directory
    catalogue: ModelCatalogue
    dead_letters: DeadLetters
    allowed_origins: frozenset[str]
    """Origins of other sites whose pages may call the API, such as https://app.example.com."""
    streams_url: str | None
    """The base URL of streams when the server before the functions holds them back; then A answers with JSON."""
    max_input_bytes: int
    """Maximum size of a job's `input_data` as JSON, in bytes."""
    submit: SubmitRun
    advance: AdvanceRun
    cancel: CancelRun
    delete: DeleteRun
    forget: ForgetUser
    read: ReadRuns
    usage: ReadUsage
    overview: ReadOverview
    operations: ReadOperations
    watch: WatchRun
    watch_channel: WatchChannel
    rendered: RenderedUpdates
    recover: RecoverRuns
    sweep: SweepRuns
    bury: BuryMessage
    replay: ReplayDeadLetters
    webhooks: Webhooks
    deliver_webhook: DeliverWebhook
