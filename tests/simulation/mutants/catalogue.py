"""The mutants: which guarantee each one takes out, and by which change of the code."""

from msgspec import Struct

ADVANCE = "shared.usecases.advance"
BILL = "shared.domain.bill"
CANCEL = "shared.usecases.cancel"
CLAIM = "shared.domain.claim"
CHANNEL = "shared.domain.channel"
CURSOR = "shared.web.cursor"
DELTA = "shared.domain.delta"
DURATIONS = "shared.usecases.known_durations"
ENDING = "shared.adapters.storage.ending"
FALLBACK = "shared.domain.fallback"
PROGRESS = "shared.domain.progress"
PUSH = "shared.web.push"
READ = "shared.usecases.read"
READABLE = "shared.adapters.storage.readable"
RUN = "shared.domain.run"
SAVE_FINAL = "shared.usecases.save_final_run"
SSE = "shared.web.sse"
STORE = "tests.simulation.store"
SUBMISSION = "shared.domain.submission"
SUBMIT = "shared.usecases.submit"
SWEEP = "shared.usecases.sweep"
TABLES = "tests.simulation.tables"
TASK_NAME = "shared.adapters.storage.task_name"
TIME_BUDGETS = "shared.usecases.time_budgets"
WATCH = "shared.usecases.watch"
DELIVER_WEBHOOK = "shared.usecases.deliver_webhook"
SWEEP_WEBHOOKS = "shared.usecases.sweep_webhooks"
WEBHOOK_DELIVERY = "shared.domain.webhook_delivery"


class Edit(Struct, frozen=True, kw_only=True):
    """Replaces `old`, which must occur exactly once in the module, by `new`."""

    module: str
    old: str
    new: str


class Mutant(Struct, frozen=True, kw_only=True):
    name: str
    guarantee: str
    edits: tuple[Edit, ...]


def _mutant(name: str, guarantee: str, *edits: tuple[str, str, str]) -> Mutant:
    return Mutant(
        name=name,
        guarantee=guarantee,
        edits=tuple(Edit(module=module, old=old, new=new) for module, old, new in edits),
    )


MUTANTS: tuple[Mutant, ...] = (
    # --- the store: what its adapters promise ---
    _mutant(
        "no compare-and-set",
        "a save is refused when another writer was first",
        (TABLES, "return bool(row.revision != run.revision)", "return False"),
    ),
    _mutant(
        "saves compared by content",
        "of two workers that write the same one is refused",
        (
            STORE,
            "if stored_id is save_id:",
            "if self._tables.get(run.id) == as_saved(run):",
        ),
    ),
    _mutant(
        "permit kept at the end",
        "every permit is given back",
        (TABLES, "self.permits.get(run.tenant_id, {}).pop(run.permit, None)", "pass"),
    ),
    _mutant(
        "limit of open runs not enforced",
        "limits are never exceeded",
        (TABLES, "            raise too_many_open_runs(limits.open_runs)", "            return None"),
    ),
    _mutant(
        "budget not enforced",
        "budgets are never exceeded",
        (TABLES, "if limits.budget is not None:", "if run.id is None:"),
    ),
    _mutant(
        "reservation kept at the end",
        "the end of a run settles its reservation",
        (ENDING, "return run.is_terminal and run.bill.reserved_usd is not None", "return False"),
    ),
    _mutant(
        "ended run counted at each save",
        "a run is counted once",
        (ENDING, "is_counted=True", "is_counted=False"),
    ),
    _mutant(
        "attempts of unknown cost are free",
        "an attempt that may have been billed counts",
        (BILL, "return bill.estimate_usd if attempt.cost_usd is None", "return 0.0 if attempt.cost_usd is None"),
    ),
    _mutant(
        "limit of submits not enforced",
        "limits are never exceeded",
        (TABLES, "raise too_many_submits(limits.submits_a_minute, run.created_at)", "pass"),
    ),
    _mutant(
        "idempotency record not stored",
        "one run for one key",
        (TABLES, "self.keys[idempotency.key_hash] = idempotency", "pass"),
    ),
    _mutant(
        "input left behind by a delete",
        "deleted content is gone",
        (TABLES, "input=None if without_parts else row.input", "input=row.input"),
    ),
    # --- accepting a run ---
    _mutant(
        "idempotency key ignored",
        "one run for one key",
        (SUBMIT, "_record(key, run) if key else None", "None"),
    ),
    _mutant(
        "body of a repeated key not compared",
        "a key answers with its own run",
        (SUBMIT, "if key is None or earlier.body_hash != key.body_hash:", "if key is None:"),
    ),
    _mutant(
        "publish before commit",
        "publish after commit",
        (
            SUBMIT,
            "        earlier = await self._create(",
            "        await self._publish(run)\n        earlier = await self._create(",
        ),
        (SUBMIT, "        await self._publish(run)\n        return run, False", "        return run, False"),
    ),
    _mutant(
        "no publish",
        "an accepted run starts at once",
        (SUBMIT, "        await self._publish(run)\n        return run, False", "        return run, False"),
    ),
    _mutant(
        "queue failure fails the submit",
        "a client that was refused has no run",
        (SUBMIT, "except QueueUnavailable as error:", "except ZeroDivisionError as error:"),
        (SUBMIT, "code=error.code)", "code=str(error))"),
    ),
    _mutant(
        "no due_at",
        "every open run is looked at by the sweeper",
        (SUBMISSION, "due_at=min(now + policy.pending_grace, deadline_at)", "due_at=None"),
    ),
    # --- workers ---
    _mutant(
        "call before claim",
        "claim before call",
        (
            ADVANCE,
            "return await self.store.save(run.claimed(self._now(run), lease=self.budgets.lease(run.lane)))",
            "return run.claimed(self._now(run), lease=self.budgets.lease(run.lane))",
        ),
    ),
    _mutant(
        "fence not checked",
        "a write of an old claim is refused",
        (CLAIM, "getattr(current, name) == getattr(mine, name)", "name"),
    ),
    _mutant("fence not raised", "fences rise", (RUN, "fence=self.fence + 1", "fence=self.fence")),
    _mutant(
        "lease ignored",
        "one worker at a time has a run",
        (PROGRESS, "now < run.due_at - CLOCK_SKEW and", "now < run.due_at - CLOCK_SKEW * 1000 and"),
    ),
    _mutant(
        "worker's own clock counts",
        "a wrong clock takes no other worker's run",
        (ADVANCE, "return self.clock.now() + run.clock_offset", "return self.clock.now()"),
    ),
    _mutant(
        "lease ends before the answer is saved",
        "an answer is bought once",
        (TIME_BUDGETS, "(self.saving if lane is Lane.LONG else timedelta(0))", "timedelta(0)"),
    ),
    _mutant(
        "answer dropped when the store fails",
        "an answer in hand is saved",
        (ADVANCE, "if isinstance(observed, Running) or self.clock.now() + pause > give_up_at:", "if True:"),
    ),
    _mutant(
        "attempts not bounded when workers are lost",
        "paid calls never exceed max_attempts",
        (PROGRESS, "if run.billed_attempts >= run.max_attempts and not run.resumes_attempt:", "if False:"),
    ),
    _mutant(
        "attempts not bounded when calls fail",
        "paid calls never exceed max_attempts",
        (
            PROGRESS,
            "is_last = changed.billed_attempts >= run.max_attempts and not changed.resumes_attempt",
            "is_last = False",
        ),
        (PROGRESS, "if run.billed_attempts >= run.max_attempts and not run.resumes_attempt:", "if False:"),
    ),
    _mutant(
        "jobs not bounded",
        "paid calls never exceed max_attempts",
        (PROGRESS, "        if run.billed_attempts >= run.max_attempts:\n            return Fail(error=failure)\n", ""),
        (PROGRESS, "if run.billed_attempts >= run.max_attempts and not run.resumes_attempt:", "if False:"),
    ),
    _mutant(
        "lost attempt taken as free",
        "paid calls are recorded",
        (
            RUN,
            "reason=ErrorCode.LLM_CONNECTION_LOST, may_be_billed=True)",
            "reason=ErrorCode.LLM_CONNECTION_LOST, may_be_billed=False)",
        ),
    ),
    _mutant(
        "repeat of a call clears its bill",
        "paid calls are recorded",
        (RUN, "(may_be_billed or self.has_resumed_attempt)", "may_be_billed"),
        (RUN, "billed = None if self.has_resumed_attempt else may_be_billed", "billed = may_be_billed"),
    ),
    _mutant(
        "new idempotency key for each claim",
        "the LLM recognizes a repeated submit",
        (RUN, 'return f"{self.id}-{self.attempt}"', 'return f"{self.id}-{self.attempt}-{self.fence}"'),
    ),
    _mutant(
        "provider job submitted again",
        "a known provider job is only checked",
        (PROGRESS, "    if run.provider_job_id is not None:\n        return Check()\n", ""),
    ),
    _mutant(
        "deadline ignored",
        "every run ends in time",
        (PROGRESS, "        case _ if now >= run.deadline_at:\n            return Fail(error=DEADLINE_EXCEEDED)\n", ""),
        (PROGRESS, "    if now >= run.deadline_at:\n        return Fail(error=DEADLINE_EXCEEDED)\n", ""),
    ),
    _mutant(
        "fault of a moment fails the run",
        "only its own faults fail a run",
        (
            PROGRESS,
            "        case LlmUnavailable():\n            return _after_fault(run, observed, now)",
            "        case LlmUnavailable():\n            return Fail(error=WORKERS_LOST)",
        ),
        (PROGRESS, "        case LlmUnavailable():\n", "        case LlmUnavailable():\n"),
    ),
    _mutant(
        "Retry-After ignored",
        "the LLM's waiting time is respected",
        (
            PROGRESS,
            "return max(min(exponential, MAX_RETRY), retry_after or timedelta(0))",
            "return min(exponential, MAX_RETRY)",
        ),
    ),
    _mutant(
        "ended run cancelled again",
        "terminal states absorb",
        (CANCEL, "        if run.is_terminal:\n", "        if False:\n"),
    ),
    _mutant(
        "cancel tells the LLM nothing",
        "an ended run stops its provider job",
        (CANCEL, "            await cancel_provider_job(self.provider, run)\n", ""),
    ),
    _mutant(
        "late job not cancelled",
        "a job accepted after the run's end is cancelled",
        (ADVANCE, "if current.is_terminal and not isinstance(observed, Finished):", "if False:"),
    ),
    _mutant(
        "job left at the deadline",
        "an ended run stops its provider job",
        (ADVANCE, "if error == DEADLINE_EXCEEDED:", "if False:"),
    ),
    _mutant(
        "first answer dropped by an error",
        "an answer in hand is never dropped",
        (PROGRESS, "if has_answer_in_hand(run) and isinstance(step, Fail | Retry):", "if False:"),
    ),
    _mutant(
        "first answer dropped at the deadline",
        "an answer in hand is never dropped",
        (PROGRESS, "if has_answer_in_hand(run) and now >= run.deadline_at:", "if False:"),
    ),
    _mutant(
        "lost repair made again",
        "a translation is repaired once",
        (PROGRESS, "if has_answer_in_hand(run) and has_tried_repair(run):", "if False:"),
    ),
    # --- queue and timers ---
    _mutant(
        "task name of every moment",
        "the same re-check is one task",
        (
            TASK_NAME,
            'name = f"{recheck.run_id}-{recheck.attempt}-{recheck.sequence}"',
            'name = f"{recheck.run_id}-{recheck.attempt}-{recheck.sequence}-{next(_COUNT)}"',
        ),
        (
            TASK_NAME,
            "from hashlib import sha256\n",
            "from hashlib import sha256\nfrom itertools import count\n\n_COUNT = count()\n",
        ),
    ),
    _mutant(
        "one task name for a whole attempt",
        "each re-check has a name of its own",
        (TASK_NAME, "-{recheck.attempt}-{recheck.sequence}", "-{recheck.attempt}"),
    ),
    _mutant(
        "errors are 503",
        "own answers slow no queue",
        (PUSH, "status_code=HTTPStatus.INTERNAL_SERVER_ERROR)", "status_code=HTTPStatus.SERVICE_UNAVAILABLE)"),
    ),
    _mutant(
        "failed events are acknowledged",
        "an event that failed is delivered again",
        (
            PUSH,
            "return _failure(error.code)",
            "return Response(status_code=HTTPStatus.NO_CONTENT)",
        ),
    ),
    # --- the sweeper ---
    _mutant(
        "overdue runs not repaired",
        "every run ends in time",
        (
            SWEEP,
            'await self._side_by_side(this, shards, before=this.now, counter="repaired", repair=self._repair)',
            "pass",
        ),
    ),
    _mutant(
        "one shard not swept",
        "every run ends in time",
        (
            SWEEP,
            "shards = [(patrolled + number) % SHARDS for number in range(SHARDS)]",
            "shards = [0, 1, 2, 3, 4, 5, 6]",
        ),
    ),
    _mutant(
        "no patrol",
        "a finished job is found when its re-check was lost",
        (SWEEP, "if run.sent_at is None or run.provider_job_id is None or now >= run.deadline_at:", "if True:"),
    ),
    _mutant(
        "one unreadable document stops a page",
        "a document of another release hides no others",
        (
            READABLE,
            '        except _UNREADABLE as error:\n            log.failure("run not readable", error)\n\n\n@',
            '        except ZeroDivisionError as error:\n            log.failure("run not readable", error)\n\n\n@',
        ),
    ),
    _mutant(
        "page ends at an unreadable document",
        "a document of another release hides no others",
        (
            TABLES,
            "        return RunPage(runs=runs, positions=positions)",
            "        return RunPage(runs=runs, positions=[one for one in positions if one.run_id in str(runs)])",
        ),
    ),
    # --- what clients see ---
    _mutant(
        "owner not checked",
        "no other tenant's data",
        (READ, "if run.user_id != caller.user_id or self._is_expired(run):", "if self._is_expired(run):"),
    ),
    _mutant(
        "channel of others allowed",
        "no other tenant's data",
        (CHANNEL, "    if owner != own[kind]:\n        raise ChannelNotFound\n", ""),
    ),
    _mutant(
        "channel name not bound to its tenant",
        "no other tenant's data",
        (CHANNEL, "return Channel(name=name, tenant_id=caller.organization_id)", "return Channel(name=name)"),
    ),
    _mutant(
        "stream resumes at its beginning",
        "streams have no gap and no repeat",
        (WATCH, "for event in public_events(run, after=after):", "for event in public_events(run):"),
    ),
    _mutant(
        "stream ids are one too high",
        "streams have no gap and no repeat",
        (SSE, "event_id=str(event.sequence)", "event_id=str(event.sequence + 1)"),
    ),
    _mutant(
        "channel cursor forgets what was delivered",
        "streams have no gap and no repeat",
        (
            CHANNEL,
            "return event.sequence > last.sequence if last else event.at > self.watermark",
            "return event.at > self.watermark",
        ),
    ),
    _mutant(
        "channel cursor without overlap",
        "streams have no gap and no repeat",
        (
            CHANNEL,
            "watermark = max(self.watermark, event.at - OVERLAP) if is_live else self.watermark",
            "watermark = event.at",
        ),
    ),
    _mutant(
        "stream that is behind drops older events",
        "streams have no gap and no repeat",
        (WATCH, "loop_time() - feed.caught_up_at > MAX_BEHIND_SECONDS", "False"),
    ),
    _mutant(
        "every update carries the run",
        "stream events do not repeat the whole run",
        (SSE, "        if is_whole:\n", "        if True:\n"),
    ),
    _mutant(
        "cache not compared with the store",
        "the cache agrees with the store",
        (SAVE_FINAL, "            await self.reconcile_cache(run.id)\n            raise", "            raise"),
        (
            ADVANCE,
            "await self.save_final.reconcile_cache(run.id)  # a worker may have died between cache and store",
            "pass",
        ),
        (ADVANCE, "            await self.save_final.reconcile_cache(current.id)\n", "            pass\n"),
    ),
    _mutant(
        "cache entry deleted before the content",
        "deleted content is gone",
        (SAVE_FINAL, "        if run.deleted_at is not None:\n            return await self._erase(run)\n", ""),
        (
            SAVE_FINAL,
            "return await self.store.save(run.postponed(due_at))",
            "return await (self.store.erase if run.deleted_at else self.store.save)(run.postponed(due_at))",
        ),
    ),
    _mutant(
        "durations not written",
        "what is found of durations is kept",
        (DURATIONS, "await self.store.add(key, gathered)", "pass"),
    ),
    _mutant(
        "durations written twice",
        "each duration stands for one job",
        (DURATIONS, "sketch.gathered = sketch.gathered.merged(duration)", "sketch.gathered = sketch.known"),
    ),
    _mutant(
        "fallback leaves a job that a lost worker knew",
        "a fallback leaves no job",
        (FALLBACK, "delay > PATIENCE and not run.has_resumed_attempt", "delay > PATIENCE"),
    ),
    _mutant(
        "fallback keeps the idempotency key",
        "a key belongs to one model",
        (FALLBACK, "attempt=run.attempt + 1,", "attempt=run.attempt,"),
    ),
    _mutant(
        "fallback not taken",
        "a run goes to its next model when its own is gone",
        (FALLBACK, "if fault.code in GONE or (", "if ("),
    ),
    _mutant(
        "check writes what it knew",
        "a write says something new",
        (
            PROGRESS,
            "changed=run.progressed(now, progress=observed.progress) if is_news else None",
            "changed=run.progressed(now, progress=observed.progress)",
        ),
    ),
    # --- answers that are read along ---
    _mutant(
        "deltas repeat the text",
        "the deltas of an attempt are the beginning of its answer",
        (DELTA, "delta = _within_limit(text)[offset:]", "delta = _within_limit(text)"),
    ),
    _mutant(
        "deltas kept with the result",
        "a result replaces the deltas",
        (RUN, "events = without_deltas(ended.events)", "events = ended.events"),
    ),
    _mutant(
        "no delivery for the end of a run",
        "the commit of an event stores its deliveries",
        (
            WEBHOOK_DELIVERY,
            "for target in run.webhooks for event in _new_events(run, target)]",
            "for target in run.webhooks for event in _new_events(run, target) if not run.is_terminal]",
        ),
    ),
    _mutant(
        "later delivery does not wait",
        "deliveries of a run come in order",
        (DELIVER_WEBHOOK, "if head is not None and head.id != delivery.id:", "if False:"),
    ),
    _mutant(
        "overdue deliveries not repaired",
        "every delivery is tried, whatever tasks are lost",
        (SWEEP_WEBHOOKS, "for delivery in page:", "for delivery in page[:0]:"),
    ),
    _mutant(
        "delivery signed with the event's time",
        "each try of a delivery is signed anew",
        (
            DELIVER_WEBHOOK,
            "headers = self.sign(delivery.id, self.clock.now(), body",
            "headers = self.sign(delivery.id, delivery.at, body",
        ),
    ),
    _mutant(
        "delivery retried without a gap",
        "a delivery comes again with growing gaps",
        (WEBHOOK_DELIVERY, "due_at=now + GAPS[tried.tries - 1]", "due_at=now"),
    ),
)
