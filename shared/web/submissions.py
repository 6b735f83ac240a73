"""Defines the form of each kind of submission: how its body is parsed, and which group may submit it."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from msgspec import Struct
from starlette.responses import Response

from shared import log
from shared.domain import submission
from shared.domain.run import Run
from shared.domain.submission import Submission
from shared.errors import InvalidRequest, TransientError
from shared.services import Services
from shared.web import render


class Form(Struct, frozen=True, kw_only=True):
    """`parse` takes (body, maximum bytes of input) and returns a valid submission.

    It raises InvalidRequest or InputTooLarge. `group` names the group whose members may submit; None lets every caller
    with a profile submit.
    """

    parse: Callable[[Mapping[str, Any], int], Submission]
    group: str | None = None


ADMIN_RUN = Form(parse=lambda body, max_bytes: submission.admin_run(body), group="users")
USER_RUN = Form(parse=lambda body, max_bytes: submission.user_run(body))
JOB = Form(parse=lambda body, max_bytes: submission.job(body, max_input_bytes=max_bytes))
TRAINER_ANALYSIS = Form(parse=lambda body, max_bytes: submission.trainer_analysis(body, max_input_bytes=max_bytes))

FORM_BY_FIELD: Mapping[str, Form] = {
    "text": ADMIN_RUN,
    "input_text": USER_RUN,
    "job_type": JOB,
    "input_data": JOB,
    "system_message": TRAINER_ANALYSIS,
    "full_input": TRAINER_ANALYSIS,
}
"""Fields that only one form has. A call at the function's root is recognised by them."""


def form_of(body: Mapping[str, Any]) -> Form:
    """Returns the one form that the body's fields belong to. Raises InvalidRequest when that is no form or several."""
    forms = [FORM_BY_FIELD[name] for name, value in body.items() if name in FORM_BY_FIELD and value is not None]
    if not forms or any(form is not forms[0] for form in forms):
        raise InvalidRequest(
            "the fields do not tell what to submit: give either text, or input_text, or job_type and input_data, "
            "or system_message and full_input"
        )
    return forms[0]


async def wait_and_answer(services: Services, run: Run, wait: timedelta, headers: Mapping[str, str]) -> Response:
    """Answers with the run as it is after the wait, or with its id alone when it cannot be read: it was accepted."""
    try:
        run = await services.watch.until_terminal(run, within=wait)
        content = await services.read.input_of(run)
    except TransientError as error:
        log.warning("accepted run not read back", run_id=run.id, code=error.code)
        return render.submitted(run, streams_url=services.streams_url, headers=headers)
    headers = {**headers, **render.wait_headers(wait)}
    return render.submitted(run, content, streams_url=services.streams_url, headers=headers)
