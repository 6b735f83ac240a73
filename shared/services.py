"""Lists what the functions call: one use case a field. wiring builds it; functions hand it to web as an argument."""

from dataclasses import dataclass

from shared.ports import DeadLetters, Directory, TokenVerifier
from shared.usecases.advance import AdvanceRun
from shared.usecases.bury import BuryRun
from shared.usecases.cancel import CancelRun
from shared.usecases.delete import DeleteRun
from shared.usecases.read import ReadRuns
from shared.usecases.recover import RecoverRuns
from shared.usecases.sessions import Sessions
from shared.usecases.submit import SubmitRun
from shared.usecases.sweep import SweepRuns
from shared.usecases.watch import WatchChannel, WatchRun


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Everything that a request may need."""

    tokens: TokenVerifier
    sessions: Sessions
    invoker: TokenVerifier | None
    """Verifies who calls the internal functions; None on one machine, where every caller is let in."""
    directory: Directory
    dead_letters: DeadLetters
    allowed_origins: frozenset[str]
    """Origins of other sites whose pages may call, such as https://app.example.com."""
    max_input_bytes: int
    """Maximum size of a job's input_data as JSON."""
    submit: SubmitRun
    advance: AdvanceRun
    cancel: CancelRun
    delete: DeleteRun
    read: ReadRuns
    watch: WatchRun
    watch_channel: WatchChannel
    recover: RecoverRuns
    sweep: SweepRuns
    bury: BuryRun
