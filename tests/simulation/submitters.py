"""A client that submits one run and follows it to its end, by polling, waiting or streaming."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from shared.domain.run import Run
from shared.domain.webhook import ENDING_EVENTS
from shared.errors import (
    BudgetExhausted,
    CallerError,
    IdempotencyConflict,
    IdempotencyKeyBusy,
    RunFailed,
    RunNotFinished,
    RunNotFound,
    ServiceError,
    TooManyRuns,
)
from shared.services import Services
from shared.usecases.submit import IdempotencyKey
from shared.web import submissions
from shared.web.submissions import Form
from tests.simulation.clients import ApiClient
from tests.simulation.history import Refusal
from tests.simulation.instance import ConnectionLost
from tests.simulation.plan import Submit
from tests.simulation.streams import RunStream
from tests.simulation.webhooks import OWN_URL

if TYPE_CHECKING:
    from tests.simulation.world import World

FORMS: Mapping[str, Form] = {
    "admin": submissions.ADMIN_RUN,
    "user": submissions.USER_RUN,
    "job": submissions.JOB,
    "chat": submissions.JOB,
}
AFTER_TROUBLE = 2.0
"""Seconds until a client repeats what was answered with 503 or not at all."""


class Submitter(ApiClient):
    def __init__(self, world: "World", entry: Submit) -> None:
        super().__init__(world, entry.name, entry.user)
        self._entry = entry
        self._run_id: str | None = None

    async def run(self) -> None:
        entry = self._entry
        await self.until(entry.at)
        copies = [self._submit() for _ in range(1 + entry.copies)]
        found = [run_id for run_id in await asyncio.gather(*copies) if run_id is not None]
        if not found:
            return
        self._run_id = found[0]
        work = [self._follow(found[0])]
        if entry.cancel_after is not None:
            work.append(self._cancel(found[0]))
        await asyncio.gather(*work)
        if entry.delete:
            await self._delete(found[0])

    async def _submit(self) -> str | None:
        """Returns the id of the run, None when the client gave up or was refused.

        Without a key a request that may have been taken is not repeated: it might be taken twice.
        """
        history, entry = self.world.history, self._entry
        for _ in range(entry.tries):
            asked_at = self.world.now
            history.requests[entry.name].append(asked_at)
            try:
                run = await self.ask(self._request)
            except (BudgetExhausted, IdempotencyKeyBusy, TooManyRuns) as error:
                self._record_refusal(error.code, asked_at)
                await asyncio.sleep(AFTER_TROUBLE)
            except CallerError as error:
                self._is_expected(error)
                self._record_refusal(error.code, asked_at)
                return None
            except (ServiceError, ConnectionLost) as error:
                self._record_refusal(getattr(error, "code", "lost"), asked_at, in_doubt=True)
                self.log(f"is not answered: {type(error).__name__}")
                if entry.key is None:
                    return None
                await asyncio.sleep(AFTER_TROUBLE)
            else:
                history.accepted_ids[entry.name].append((self.world.now, run.id))
                self.log(f"has run {run.id[-4:]}")
                self.record_seen(run, asked_at, "submit")
                return run.id
        return None

    def _record_refusal(self, code: str, asked_at: float, *, in_doubt: bool = False) -> None:
        tenant_id = self.caller.organization_id
        refusal = Refusal(
            at=self.world.now,
            client=self._entry.name,
            code=code,
            is_in_doubt=in_doubt,
            asked_at=asked_at,
            tenant_id=tenant_id,
        )
        self.world.history.refusals.append(refusal)

    async def _request(self, services: Services) -> Run:
        entry = self._entry
        body = self._body()
        submission = FORMS[entry.family].parse(body, services.max_input_bytes)
        key = None
        if entry.key is not None:
            hashes = [sha256(text.encode()).hexdigest() for text in (f"{entry.user} {entry.key}", str(body))]
            key = IdempotencyKey(key_hash=hashes[0], body_hash=hashes[1])
        run, _ = await services.submit(self.caller, submission, key=key)
        return run

    def _body(self) -> dict[str, Any]:
        entry = self._entry
        text = f"<<{entry.script_id}>>" + (" and more" * 40 if entry.llm.is_large else "")
        body: dict[str, Any] = {"channel": entry.channel} if entry.channel else {}
        if entry.webhook:
            body["webhook"] = {"url": OWN_URL, "events": ["run.started", *ENDING_EVENTS]}
        accepted_ids = self.world.history.accepted_ids.get(entry.prior or "", [])
        if accepted_ids:
            body["prior_run_uuid"] = accepted_ids[0][1]
        if entry.family == "admin":
            return {**body, "text": text, "source_lang": "en", "target_lang": "de"}
        if entry.family == "user":
            return {**body, "input_text": text}
        if entry.deadline:
            body["deadline_seconds"] = int(entry.deadline)
        model = ("chat-model" if entry.family == "chat" else "jobs-model") + ("-first" if entry.fallback else "")
        return {**body, "job_type": "general_llm_request", "model_id": model, "input_data": {"full_input": text}}

    def _is_expected(self, error: CallerError) -> None:
        """A key with another body, and a prior run of another user, are refused; nothing else is."""
        if isinstance(error, IdempotencyConflict) and self._entry.key is not None:
            return
        if isinstance(error, RunNotFound) and self._entry.prior is not None:
            return
        self.record_unexpected_error(error)

    async def _follow(self, run_id: str) -> None:
        entry = self._entry
        if entry.follow == "stream":
            await RunStream(self, run_id, break_every=entry.break_every, pause=entry.pause).follow()
        run = await self._poll(run_id, wait=entry.follow == "wait")
        await self._fetch(run)

    async def _poll(self, run_id: str, *, wait: bool) -> Run:
        """Returns the run when it has ended."""
        while True:
            try:
                run = await (self._wait(run_id) if wait else self.get(run_id))
                if run.is_terminal:
                    return run
            except RunNotFound as error:
                self.record_unexpected_error(error)
            except (ServiceError, ConnectionLost):
                pass
            await asyncio.sleep(self._entry.pause)

    async def _wait(self, run_id: str) -> Run:
        async def wait(services: Services) -> Run:
            run = await services.read.get(self.caller, run_id)
            return await services.watch.until_terminal(run, within=timedelta(seconds=30))

        asked_at = self.world.now
        run = await self.ask(wait, about=run_id)
        self.record_seen(run, asked_at, "wait")
        return run

    async def _fetch(self, run: Run) -> None:
        try:
            asked_at = self.world.now
            self.record_seen(await self.ask(lambda s: s.read.get_finished(self.caller, run.id)), asked_at, "result")
        except (RunFailed, RunNotFinished, ServiceError, ConnectionLost):
            return

    async def _cancel(self, run_id: str) -> None:
        assert self._entry.cancel_after is not None
        await asyncio.sleep(self._entry.cancel_after)
        for _ in range(5):
            asked_at = self.world.now
            try:
                run, _ = await self.ask(lambda services: services.cancel(self.caller, run_id), about=run_id)
            except CallerError as error:
                self.record_unexpected_error(error)
            except (ServiceError, ConnectionLost):
                await asyncio.sleep(AFTER_TROUBLE)
            else:
                self.log(f"cancels: {run.status}")
                return self.record_seen(run, asked_at, "cancel")
        return None

    async def _delete(self, run_id: str) -> None:
        for _ in range(5):
            asked_at = self.world.now
            try:
                run = await self.ask(lambda services: services.delete(self.caller, run_id), about=run_id)
            except CallerError as error:
                self.record_unexpected_error(error)
            except (ServiceError, ConnectionLost):
                await asyncio.sleep(AFTER_TROUBLE)
            else:
                return self.record_seen(run, asked_at, "delete")
        return None
