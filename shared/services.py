"""Defines what the functions can call: one use case per attribute. wiring makes them; functions pass them to web."""

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
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


class Services(Protocol):
    """The use cases and the few settings that a request may need.

    Each use case is imported and made when it is first asked for, so that a function loads only those that it calls.
    """

    @property
    def tokens(self) -> "TokenVerifier": ...

    @property
    def sessions(self) -> "Sessions": ...

    @property
    def invoker(self) -> "TokenVerifier | None":
        """Verifies the callers of the internal functions; None on one machine, where every caller is accepted."""

    @property
    def directory(self) -> "Directory": ...

    @property
    def catalogue(self) -> "ModelCatalogue": ...

    @property
    def dead_letters(self) -> "DeadLetters": ...

    @property
    def allowed_origins(self) -> frozenset[str]:
        """Origins of other sites whose pages may call the API, such as https://app.example.com."""

    @property
    def streams_url(self) -> str | None:
        """The base URL of streams when the server before the functions holds them back; then A answers with JSON."""

    @property
    def max_input_bytes(self) -> int:
        """Maximum size of a job's `input_data` as JSON, in bytes."""

    @property
    def submit(self) -> "SubmitRun": ...

    @property
    def advance(self) -> "AdvanceRun": ...

    @property
    def cancel(self) -> "CancelRun": ...

    @property
    def delete(self) -> "DeleteRun": ...

    @property
    def forget(self) -> "ForgetUser": ...

    @property
    def read(self) -> "ReadRuns": ...

    @property
    def usage(self) -> "ReadUsage": ...

    @property
    def overview(self) -> "ReadOverview": ...

    @property
    def operations(self) -> "ReadOperations": ...

    @property
    def watch(self) -> "WatchRun": ...

    @property
    def watch_channel(self) -> "WatchChannel": ...

    @property
    def rendered(self) -> "RenderedUpdates": ...

    @property
    def recover(self) -> "RecoverRuns": ...

    @property
    def sweep(self) -> "SweepRuns": ...

    @property
    def bury(self) -> "BuryMessage": ...

    @property
    def replay(self) -> "ReplayDeadLetters": ...

    @property
    def webhooks(self) -> "Webhooks": ...

    @property
    def deliver_webhook(self) -> "DeliverWebhook": ...
