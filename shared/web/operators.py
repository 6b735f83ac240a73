"""Serves the routes of an organization's administrators: what is stuck, and how full the organization's limits are."""

from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from shared.domain import views
from shared.domain.budget import Balance, renewal_of_day, renewal_of_month
from shared.domain.fields import Fields
from shared.domain.limits import WINDOW
from shared.domain.money import to_usd
from shared.services import Services
from shared.usecases.operations import LimitsInUse, NamedBreaker, OwnLetter
from shared.usecases.replay import Replay
from shared.web import auth, parse
from shared.web.json_response import JsonResponse

ADMINS = "admins"
MAX_BODY_BYTES = 16 * 1024


async def list_overdue(request: Request, services: Services) -> Response:
    """Answers with the runs of the organization that the sweeper has not handled in time."""
    caller = await auth.caller(request, services, group=ADMINS)
    overdue = await services.read.overdue(caller.organization_id)
    runs = [views.overdue_object(run) for run in overdue.runs]
    return JsonResponse({"success": True, "runs": runs, "unreadable": list(overdue.unreadable)})


async def list_dead_letters(request: Request, services: Services) -> Response:
    """Answers with the messages that could not be handled and whose runs are the organization's."""
    caller = await auth.caller(request, services, group=ADMINS)
    kept = await services.operations.letters(caller)
    letters = [_letter(own) for own in kept.own]
    counts = {"unreadable": kept.unreadable, "is_whole": kept.is_whole}
    return JsonResponse({"success": True, "dead_letters": letters, **counts})


async def replay_dead_letter(request: Request, services: Services) -> Response:
    """Sends the run of one dead letter, named by {source, message_id}, to a worker again and removes the letter."""
    caller = await auth.caller(request, services, group=ADMINS)
    fields = Fields(await parse.json_object(request, max_input_bytes=MAX_BODY_BYTES))
    source, message_id = fields.text("source", max_length=255), fields.text("message_id", max_length=255)
    fields.reject_unknown_fields()
    done = await services.operations.replay(caller, source=source, message_id=message_id)
    return JsonResponse({"success": True, "outcome": "sent" if done is Replay.SEND else "ended"})


async def list_breakers(request: Request, services: Services) -> Response:
    """Answers with the circuit breakers of the process that serves this request."""
    caller = await auth.caller(request, services, group=ADMINS)
    breakers = await services.operations.breaker_states(caller)
    return JsonResponse({"success": True, "breakers": [_breaker(one) for one in breakers]})


async def get_limits(request: Request, services: Services) -> Response:
    """Answers with the limits and the budget of the organization, and how full they are."""
    caller = await auth.caller(request, services, group=ADMINS)
    return JsonResponse({"success": True, **_limits(await services.operations.limits_in_use(caller))})


def _letter(own: OwnLetter) -> dict[str, Any]:
    """Returns ids, times and codes alone: the message itself may be anything."""
    return {
        "source": own.letter.source,
        "message_id": own.letter.message_id,
        "reason": own.letter.reason,
        "kept_at": views.timestamp(own.letter.kept_at),
        "run_uuid": own.run.id,
        "status": own.run.status,
    }


def _breaker(breaker: NamedBreaker) -> dict[str, Any]:
    state = breaker.state
    return {
        "deployment": breaker.deployment,
        "model": breaker.model,
        "state": "open" if state.is_open else "closed",
        "failures": state.failures,
        "retry_seconds": round(state.retry_seconds, 1),
    }


def _limits(used: LimitsInUse) -> dict[str, Any]:
    limits, budget = used.limits, used.budget
    return {
        "open_runs": {"used": used.open_runs, "maximum": limits.open_runs},
        "submits_a_minute": {
            "maximum": limits.submits_a_minute,
            "users": [{"user_id": user, "used": count} for user, count in used.submits],
            "renews_at": views.timestamp(used.minute + WINDOW),
        },
        "budget_of_day": _budget(budget.day, used.day, renewal_of_day(used.now)),
        "budget_of_month": _budget(budget.month, used.month, renewal_of_month(used.now)),
    }


def _budget(limit: int | None, balance: Balance, renews_at: datetime) -> dict[str, Any] | None:
    """Returns one budget in USD; None for a period without one."""
    if limit is None:
        return None
    return {
        "limit_usd": to_usd(limit),
        "spent_usd": to_usd(max(balance.spent, 0)),
        "reserved_usd": to_usd(max(balance.reserved, 0)),
        "renews_at": views.timestamp(renews_at),
    }
