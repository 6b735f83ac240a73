"""The LLM servers, which keep a ledger of every call that they accept, and the HTTP by which one instance reaches them.

Above it stand the adapters' own protocols, so that the meaning of status codes is the product's.
"""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from shared.adapters.llm.http import Answer, LlmHttp, raise_for_trouble
from shared.errors import LlmUnavailable
from tests.simulation.history import LlmAnswer, PaidCall
from tests.simulation.instance import Instance
from tests.simulation.script import ACCEPTED, LlmScript, Outcome, Trouble
from tests.simulation.wire import Wire

if TYPE_CHECKING:
    from tests.simulation.world import World

MARK = re.compile(r"<<(.+?)>>")
DROPS = frozenset({Trouble.NOT_CONNECTED, Trouble.ACCEPTED_LOST})
"""Troubles after which the caller finds its connection closed."""
IS_SILENT = frozenset({Trouble.SILENT, Trouble.ACCEPTED_SILENT})
STATUS_OF = {
    Trouble.RATE_LIMITED: (429, None),
    Trouble.UNAVAILABLE: (503, None),
    Trouble.UNKNOWN_JOB: (404, {}),
    Trouble.REFUSED: (400, {}),
    Trouble.QUOTA: (402, {}),
    Trouble.CREDENTIALS: (401, {}),
    Trouble.ACCEPTED_UNREADABLE: (200, None),
    Trouble.ACCEPTED_WITHOUT_ID: (200, {}),
}


@dataclass(slots=True, kw_only=True)
class Job:
    id: str
    run_id: str
    mark: str
    script: LlmScript
    outcome: Outcome
    starts: float
    ends: float
    is_cancelled: bool = False


class Llm:
    """All deployments together. What it does with a run says the script whose mark the run's text carries."""

    def __init__(self, world: "World", scripts: Mapping[str, LlmScript]) -> None:
        self._world = world
        self._scripts = scripts
        self.jobs: dict[str, Job] = {}
        self._by_key: dict[str, Job] = {}
        self._submits: dict[str, int] = {}
        """Submits of each mark so far."""
        self._checks: dict[str, int] = {}
        self._made: dict[str, int] = {}
        """Jobs and answers made for each mark so far."""

    def submit(self, text: str, key: str, *, by: str, run_id: str, chat: bool) -> tuple[Trouble, Any, LlmScript]:
        """Returns (what goes wrong on the way back, the answer's body, the run's script)."""
        found = MARK.search(text)
        mark = found.group(1) if found else "?"
        script = self._scripts[mark]
        self._world.history.llm_calls.append((self._world.now, run_id))
        number = self._submits[mark] = self._submits.get(mark, 0) + 1
        trouble = script.submits[number - 1] if number <= len(script.submits) else Trouble.NONE
        if trouble is not Trouble.NONE and trouble not in ACCEPTED:
            self._say(run_id, trouble)
            return trouble, None, script
        job = self._by_key.get(key) if script.is_idempotent else None
        if job is None:
            job = self._accept(mark, script, key, by=by, run_id=run_id, trouble=trouble)
        if chat:
            body: Any = _chat_answer(mark, script)
            self._say(run_id, "answered" if trouble is Trouble.NONE else trouble)
        else:
            body = {"job_id": job.id, "status": "queued"}
        return trouble, body, script

    def _accept(self, mark: str, script: LlmScript, key: str, *, by: str, run_id: str, trouble: Trouble) -> Job:
        number = self._made[mark] = self._made.get(mark, 0) + 1
        outcome = script.outcomes[number - 1] if number <= len(script.outcomes) else Outcome.FINISHED
        now = self._world.now
        job = Job(
            id=f"job-{mark.replace('/', '.')}-{number}",
            run_id=run_id,
            mark=mark,
            script=script,
            outcome=outcome,
            starts=now,
            ends=now + script.takes,
        )
        self.jobs[job.id] = self._by_key[key] = job
        self._world.history.paid.append(
            PaidCall(
                at=now,
                by=by,
                run_id=run_id,
                key=key,
                job_id=job.id,
                trouble=trouble,
                is_idempotent=script.is_idempotent,
            )
        )
        return job

    def check(self, job_id: str) -> tuple[Trouble, int, Any, LlmScript]:
        """Returns (what goes wrong on the way back, status, body, the run's script)."""
        job = self.jobs[job_id]
        number = self._checks[job.mark] = self._checks.get(job.mark, 0) + 1
        trouble = job.script.checks[number - 1] if number <= len(job.script.checks) else Trouble.NONE
        if trouble is not Trouble.NONE:
            self._say(job.run_id, trouble)
            return trouble, 0, None, job.script
        if self._world.now < job.ends and not job.is_cancelled:
            return trouble, 200, self._running(job), job.script
        status, body = _final_answer(job)
        self._say(job.run_id, "cancelled" if job.is_cancelled else job.outcome)
        return trouble, status, body, job.script

    def cancel(self, job_id: str) -> None:
        self._world.history.cancels.append((self._world.now, job_id))
        job = self.jobs[job_id]
        if self._world.now < job.ends:
            job.is_cancelled = True

    def _running(self, job: Job) -> dict[str, Any]:
        body: dict[str, Any] = {"status": "running"}
        if job.script.reports_progress:
            body["progress"] = round((self._world.now - job.starts) / job.script.takes, 2)
        return body

    def _say(self, run_id: str, said: str) -> None:
        self._world.history.llm_answers.append(LlmAnswer(at=self._world.now, run_id=run_id, said=said))


def result_text(mark: str, script: LlmScript) -> str:
    return f"result of <<{mark}>>" + (" and more" * 50 if script.is_large else "")


def _final_answer(job: Job) -> tuple[int, Any]:
    if job.is_cancelled:
        return 200, {"status": "cancelled"}
    match job.outcome:
        case Outcome.FINISHED:
            usage = {"input_tokens": 10, "output_tokens": 20}
            return 200, {"status": "finished", "output": {"text": result_text(job.mark, job.script)}, "usage": usage}
        case Outcome.FORGOTTEN:
            return 404, {}
        case Outcome.CANCELLED:
            return 200, {"status": "cancelled"}
    code = {Outcome.INTERRUPTED: "interrupted", Outcome.REFUSED: "refused"}.get(job.outcome, "internal")
    return 200, {"status": "failed", "error": {"code": code, "message": "m"}}


def _chat_answer(mark: str, script: LlmScript) -> dict[str, Any]:
    message = {"role": "assistant", "content": result_text(mark, script)}
    usage = {"prompt_tokens": 10, "completion_tokens": 20}
    return {"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage}


class SimulatedLlmHttp(LlmHttp):
    """The adapters' client without threads and sockets; its slots are the adapters' own."""

    def __init__(self, llm: Llm, wire: Wire, instance: Instance, *, threads: int, name: str) -> None:
        super().__init__(threads=threads, name=name)
        self._llm = llm
        self._wire = wire
        self._instance = instance

    async def call(
        self, method: str, url: str, *, seconds: float, headers: Mapping[str, str] | None = None, body: Any = None
    ) -> Answer:
        try:
            async with asyncio.timeout(seconds):
                answer = await self._exchange(method, url, headers or {}, body)
        except TimeoutError as error:
            raise LlmUnavailable("The LLM did not answer in time.", code="llm_timeout") from error
        raise_for_trouble(answer, asked=method == "GET")
        return answer

    def close(self) -> None:
        """There is nothing to close."""

    async def _exchange(self, method: str, url: str, headers: Mapping[str, str], body: Any) -> Answer:
        path = unquote(url.partition("//")[2])
        if method == "GET":
            return await self._check(path.rpartition("/")[2])
        if path.endswith("/cancel"):
            return await self._cancel(path.split("/")[-2])
        key = headers["Idempotency-Key"]
        is_chat = path.endswith("/chat/completions")
        text = body["messages"][-1]["content"] if is_chat else body["input_text"]
        return await self._submit(text, key, chat=is_chat)

    async def _submit(self, text: str, key: str, *, chat: bool) -> Answer:
        run_id = key[:36]
        trouble, body, script = await self._wire.call(
            "llm.start",
            lambda: self._llm.submit(text, key, by=self._instance.name, run_id=run_id, chat=chat),
            error=LostConnection,
            about=run_id,
        )
        await self._wait(script.takes if chat and trouble in (Trouble.NONE, *ACCEPTED) else script.latency)
        return await self._come_back(trouble, 201, body, script)

    async def _check(self, job_id: str) -> Answer:
        job = self._llm.jobs[job_id]
        trouble, status, body, script = await self._wire.call(
            "llm.check", lambda: self._llm.check(job_id), error=LostConnection, about=job.run_id
        )
        await self._wait(script.latency)
        return await self._come_back(trouble, status, body, script)

    async def _cancel(self, job_id: str) -> Answer:
        job = self._llm.jobs[job_id]
        await self._wire.call("llm.cancel", lambda: self._llm.cancel(job_id), error=LostConnection, about=job.run_id)
        return Answer(status=200, body={}, retry_after=None)

    async def _come_back(self, trouble: Trouble, status: int, body: Any, script: LlmScript) -> Answer:
        if trouble in IS_SILENT:
            await asyncio.sleep(3600)
        if trouble in DROPS:
            raise LostConnection
        if trouble is not Trouble.NONE:
            status, body = STATUS_OF[trouble]
        await self._wire.alive()
        retry_after = None if script.retry_after is None else timedelta(seconds=script.retry_after)
        return Answer(status=status, body=body, retry_after=retry_after)

    async def _wait(self, seconds: float) -> None:
        if seconds > 0.3:
            await asyncio.sleep(seconds)


class LostConnection(LlmUnavailable):
    """A connection that could not be made, or was lost."""

    def __init__(self) -> None:
        super().__init__("The connection to the LLM failed.", code="llm_connection_lost")
