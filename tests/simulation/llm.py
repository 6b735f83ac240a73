"""The LLM servers, which keep a ledger of every call that they accept, and the HTTP by which one instance reaches them.

Above it stand the adapters' own protocols, so that the meaning of status codes is the product's.
"""

import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from shared.adapters.llm.answer_stream import AnswerStream
from shared.adapters.llm.breaker import CircuitBreaker
from shared.adapters.llm.http import LlmHttp, LlmHttpPools, LlmResponse, raise_for_status
from shared.domain.directory import LlmApi
from shared.error_codes import ErrorCode
from shared.errors import LlmUnavailable
from tests.simulation.calls import Calls
from tests.simulation.history import AnswerInHand, LlmAnswer, PaidCall
from tests.simulation.instance import Instance
from tests.simulation.script import ACCEPTED, NEVER, JobEnd, LlmFault, LlmScript

if TYPE_CHECKING:
    from tests.simulation.world import World

SCRIPT_ID = re.compile(r"<<(.+?)>>")
BAD_ENDING = " 4711"
"""What the checks find in a first translation that is bad."""
DROPS = frozenset({LlmFault.NOT_CONNECTED, LlmFault.ACCEPTED_LOST})
"""Troubles after which the caller finds its connection closed."""
MAX_PIECES = 30
IS_SILENT = frozenset({LlmFault.SILENT, LlmFault.ACCEPTED_SILENT})
STATUS_OF: Mapping[LlmFault, tuple[int, Any]] = {
    LlmFault.RATE_LIMITED: (429, None),
    LlmFault.UNAVAILABLE: (503, None),
    LlmFault.UNKNOWN_JOB: (404, {}),
    LlmFault.REFUSED: (400, {}),
    LlmFault.QUOTA: (402, {}),
    LlmFault.CREDENTIALS: (401, {}),
    LlmFault.GONE: (404, {"error": {"code": "model_not_found", "message": "m"}}),
    LlmFault.ACCEPTED_UNREADABLE: (200, None),
    LlmFault.ACCEPTED_WITHOUT_ID: (200, {}),
}


@dataclass(slots=True, kw_only=True)
class Job:
    id: str
    run_id: str
    script_id: str
    script: LlmScript
    job_end: JobEnd
    starts: float
    ends: float
    is_cancelled: bool = False

    @property
    def is_finished(self) -> bool:
        """Returns whether the job ends with a result."""
        return self.job_end is JobEnd.FINISHED and not self.is_cancelled and self.script.takes < NEVER


class Llm:
    """All deployments together. What it does with a run says the script whose script_id the run's text carries."""

    def __init__(self, world: "World", scripts: Mapping[str, LlmScript]) -> None:
        self._world = world
        self._scripts = scripts
        self.jobs: dict[str, Job] = {}
        self._by_key: dict[str, Job] = {}
        self._submits: dict[str, int] = {}
        """Submits of each script_id so far."""
        self._checks: dict[str, int] = {}
        self._made: dict[str, int] = {}
        """Jobs and answers made for each script_id so far."""

    def submit(self, text: str, key: str, *, by: str, run_id: str, chat: bool) -> tuple[LlmFault, Any, LlmScript]:
        """Returns (what goes wrong on the way back, the answer's body, the run's script)."""
        script_id = script_id_in(text)
        script = self._scripts[script_id]
        self._world.history.llm_calls.append((self._world.now, run_id))
        number = self._submits[script_id] = self._submits.get(script_id, 0) + 1
        llm_fault = script.submits[number - 1] if number <= len(script.submits) else LlmFault.NONE
        if llm_fault is not LlmFault.NONE and llm_fault not in ACCEPTED:
            self.say(run_id, llm_fault)
            return llm_fault, None, script
        job = self._by_key.get(key) if script.is_idempotent or not chat else None
        if job is None:
            job = self._accept(script_id, script, key, by=by, run_id=run_id, llm_fault=llm_fault, chat=chat)
        if chat:
            body: Any = _chat_answer(script_id, script, text)
            self.say(run_id, "answered" if llm_fault is LlmFault.NONE else llm_fault)
        else:
            body = {"job_id": job.id, "status": "queued"}
        return llm_fault, body, script

    def _accept(
        self, script_id: str, script: LlmScript, key: str, *, by: str, run_id: str, llm_fault: LlmFault, chat: bool
    ) -> Job:
        number = self._made[script_id] = self._made.get(script_id, 0) + 1
        job_end = script.job_ends[number - 1] if number <= len(script.job_ends) else JobEnd.FINISHED
        now = self._world.now
        job = Job(
            id=f"job-{script_id.replace('/', '.')}-{number}",
            run_id=run_id,
            script_id=script_id,
            script=script,
            job_end=job_end,
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
                fault=llm_fault,
                is_idempotent=script.is_idempotent,
                api=LlmApi.OPENAI_CHAT if chat else LlmApi.LLM_JOBS,
            )
        )
        return job

    def check(self, job_id: str) -> tuple[LlmFault, int, Any, LlmScript]:
        """Returns (what goes wrong on the way back, status, body, the run's script)."""
        job = self.jobs[job_id]
        self._world.history.llm_checks.append((self._world.now, job_id))
        number = self._checks[job.script_id] = self._checks.get(job.script_id, 0) + 1
        llm_fault = job.script.checks[number - 1] if number <= len(job.script.checks) else LlmFault.NONE
        if llm_fault is not LlmFault.NONE:
            self.say(job.run_id, llm_fault)
            return llm_fault, 0, None, job.script
        if self._world.now < job.ends and not job.is_cancelled:
            return llm_fault, 200, self._running(job), job.script
        status, body = _final_answer(job)
        self.say(job.run_id, "cancelled" if job.is_cancelled else job.job_end)
        return llm_fault, status, body, job.script

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

    def on_answer_in_hand(self, run_id: str, by: str, job_id: str | None) -> None:
        answer = AnswerInHand(at=self._world.now, by=by, run_id=run_id, job_id=job_id)
        self._world.history.answers_in_hand.append(answer)

    def say(self, run_id: str, said: str) -> None:
        self._world.history.llm_answers.append(LlmAnswer(at=self._world.now, run_id=run_id, said=said))


def script_id_in(text: str) -> str:
    """Returns the id that stands in a run's text, "?" without one."""
    found = SCRIPT_ID.search(text)
    return found.group(1) if found else "?"


def result_text(script_id: str, script: LlmScript) -> str:
    return f"result of <<{script_id}>>" + (" and more" * 50 if script.is_large else "")


def _final_answer(job: Job) -> tuple[int, Any]:
    if job.is_cancelled:
        return 200, {"status": "cancelled"}
    match job.job_end:
        case JobEnd.FINISHED:
            usage = {"input_tokens": 10, "output_tokens": 20}
            return 200, {
                "status": "finished",
                "output": {"text": result_text(job.script_id, job.script)},
                "usage": usage,
            }
        case JobEnd.FORGOTTEN:
            return 404, {}
        case JobEnd.CANCELLED:
            return 200, {"status": "cancelled"}
    code = {JobEnd.INTERRUPTED: "interrupted", JobEnd.REFUSED: "refused"}.get(job.job_end, "internal")
    return 200, {"status": "failed", "error": {"code": code, "message": "m"}}


def _chat_answer(script_id: str, script: LlmScript, asked: str) -> dict[str, Any]:
    is_bad = script.is_bad_at_first and "<<<source " in asked and "<<<findings " not in asked
    content = result_text(script_id, script) + (BAD_ENDING if is_bad else "")
    message = {"role": "assistant", "content": content}
    usage = {"prompt_tokens": 10, "completion_tokens": 20}
    return {"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage}


def _pieces(text: str, takes: float) -> list[str]:
    """Cuts the text into one piece for each second that writing it takes, within bounds."""
    size = max(len(text) // round(min(max(takes, 1.0), MAX_PIECES)), 1)
    return [text[start : start + size] for start in range(0, len(text), size)]


def _chunk(body: Mapping[str, Any]) -> bytes:
    return f"data: {json.dumps(body)}\n\n".encode()


class SimulatedLlmHttp(LlmHttp):
    """The adapters' client without threads and sockets; its slots and its circuit breaker are the adapters' own."""

    def __init__(self, llm: Llm, calls: Calls, instance: Instance, *, threads: int) -> None:
        super().__init__(threads=threads, name="simulated")
        self._breaker = CircuitBreaker(now=instance.world.loop.time)
        self._llm = llm
        self._calls = calls
        self._instance = instance

    async def _exchange(
        self,
        method: str,
        url: str,
        *,
        seconds: float,
        headers: Mapping[str, str] | None,
        body: Any,
        stream: AnswerStream | None,
    ) -> LlmResponse:
        if stream is not None:
            stream.begin(self._instance.world.loop.time)
        try:
            async with asyncio.timeout(seconds):
                response = await self._send(method, url, headers or {}, body, stream)
        except TimeoutError as error:
            if method == "POST" and not url.endswith("/cancel"):
                self._llm.say((headers or {})["Idempotency-Key"][:36], "timed out")
            if stream is not None:
                stream.raise_if_cut_off()
            raise LlmUnavailable(code=ErrorCode.LLM_TIMEOUT, may_be_billed=True) from error
        raise_for_status(response, is_check=method == "GET")
        return response

    def close(self) -> None:
        """There is nothing to close."""

    async def _send(
        self, method: str, url: str, headers: Mapping[str, str], body: Any, stream: AnswerStream | None
    ) -> LlmResponse:
        path = unquote(url.partition("//")[2])
        if method == "GET":
            return await self._check(path.rpartition("/")[2])
        if path.endswith("/cancel"):
            return await self._cancel(path.split("/")[-2])
        is_chat = path.endswith("/chat/completions")
        text = body["messages"][-1]["content"] if is_chat else body["input_text"]
        return await self._submit(text, headers["Idempotency-Key"], stream)

    async def _submit(self, text: str, key: str, stream: AnswerStream | None) -> LlmResponse:
        """Sends a call; only the chat protocol passes a stream, and gets its answer by it."""
        run_id, chat = key[:36], stream is not None
        llm_fault, body, script = await self._calls.call(
            "llm.start",
            lambda: self._llm.submit(text, key, by=self._instance.name, run_id=run_id, chat=chat),
            error=connection_failed,
            about=run_id,
        )
        if stream is not None and llm_fault in (LlmFault.NONE, *ACCEPTED):
            body = await self._write(stream, body, script, llm_fault)
        else:
            await self._wait(script.latency)
        response = await self._respond(llm_fault, 201, body, script)
        if llm_fault is LlmFault.NONE:
            self._llm.on_answer_in_hand(run_id, self._instance.name, None if chat else body["job_id"])
        return response

    async def _write(self, stream: AnswerStream, body: Any, script: LlmScript, llm_fault: LlmFault) -> Any:
        """Streams the answer over the time that it takes; a fault comes amid it. Returns the body that was read."""
        if script.takes >= NEVER:
            await asyncio.sleep(script.takes)
        pieces = _pieces(body["choices"][0]["message"]["content"], script.takes)
        for number, piece in enumerate(pieces):
            await self._wait(script.takes / len(pieces))
            await self._calls.alive()
            if llm_fault is not LlmFault.NONE and number == len(pieces) // 2:
                if llm_fault is LlmFault.ACCEPTED_UNREADABLE:
                    stream.take(b"data: <html>\n\n")
                return None
            stream.take(_chunk({"choices": [{"delta": {"content": piece}}]}))
        stream.take(_chunk({"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": body["usage"]}))
        return stream.body()

    async def _check(self, job_id: str) -> LlmResponse:
        job = self._llm.jobs[job_id]
        llm_fault, status, body, script = await self._calls.call(
            "llm.check", lambda: self._llm.check(job_id), error=connection_failed, about=job.run_id
        )
        await self._wait(script.latency)
        return await self._respond(llm_fault, status, body, script)

    async def _cancel(self, job_id: str) -> LlmResponse:
        job = self._llm.jobs[job_id]
        await self._calls.call(
            "llm.cancel", lambda: self._llm.cancel(job_id), error=connection_failed, about=job.run_id
        )
        return LlmResponse(status=200, body={}, retry_after=None)

    async def _respond(self, llm_fault: LlmFault, status: int, body: Any, script: LlmScript) -> LlmResponse:
        if llm_fault in IS_SILENT:
            await asyncio.sleep(3600)
        if llm_fault in DROPS:
            raise connection_failed(may_be_billed=llm_fault is not LlmFault.NOT_CONNECTED)
        if llm_fault is not LlmFault.NONE:
            status, body = STATUS_OF[llm_fault]
        await self._calls.alive()
        retry_after = None if script.retry_after is None else timedelta(seconds=script.retry_after)
        return LlmResponse(status=status, body=body, retry_after=retry_after)

    async def _wait(self, seconds: float) -> None:
        if seconds > 0.3:
            await asyncio.sleep(seconds)


class SimulatedLlmPools(LlmHttpPools):
    """One client for each server, as the adapters have it."""

    def __init__(self, llm: Llm, calls: Calls, instance: Instance, *, threads: int) -> None:
        super().__init__(threads=threads, name="simulated")
        self._parts = (llm, calls, instance)
        self._by_url: dict[str, SimulatedLlmHttp] = {}

    def of(self, base_url: str) -> SimulatedLlmHttp:
        if base_url not in self._by_url:
            self._by_url[base_url] = SimulatedLlmHttp(*self._parts, threads=self._threads)
        return self._by_url[base_url]


def connection_failed(*, may_be_billed: bool = True) -> LlmUnavailable:
    """Returns the error of a connection that was lost, or could not be made: only then is nothing billed for sure."""
    return LlmUnavailable(code=ErrorCode.LLM_CONNECTION_LOST, may_be_billed=may_be_billed)
