"""infra/openapi.yaml holds what the code does, and nothing else: routes, codes, numbers, names; and it is sound."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, ValidationError
from openapi_spec_validator import OpenAPIV31SpecValidator

from functions import read_runs, submit_run
from shared import errors
from shared.adapters.llm.vendor_errors import SENTENCES
from shared.domain import fields, submission, views
from shared.domain.event import EventType
from shared.domain.language_tag import normalise_language_tag
from shared.domain.status import JOB_TYPES, Kind, Status
from shared.error_codes import ErrorCode
from shared.errors import ServiceError
from shared.usecases.read import MAX_OVERDUE
from shared.usecases.watch import INTERNAL_EVENT
from shared.web import cors, list_query, parse, sessions
from shared.web.errors import STATUS_OF
from shared.web.routes import Routes
from tests.openapi import (
    Operation,
    check,
    check_events,
    document,
    event_schema,
    operations,
    resolved,
    walk,
    without_names,
)

ROOT = Path(__file__).parents[2]
BEHIND_THE_SCENES = {
    errors.CacheUnavailable,
    errors.DeadlineExceeded,
    errors.LlmRefused,
    errors.LlmUnavailable,
    errors.MalformedMessage,
    errors.QueueUnavailable,
    errors.ResultTooLarge,
    errors.SchedulerUnavailable,
}
"""No request is answered with these; a run may fail of some."""
OF_NO_OPERATION = {("not_found", 404), ("method_not_allowed", 405), ("update_too_old", 400)}
"""The last one stands in the event `reset` of a stream."""
ANYWHERE = {"X-Request-Id", "Cache-Control", "Set-Cookie", "WWW-Authenticate"}
"""Headers that scripts may read anyway, may not, or need not."""


def schema(name: str) -> Any:
    return document()["components"]["schemas"][name]


def by_name(operation: Operation) -> str:
    return operation.name


every_operation = pytest.mark.parametrize("operation", operations(), ids=by_name)


def test_the_document_is_openapi_3_1_and_its_references_lead_somewhere() -> None:
    assert document()["openapi"].startswith("3.1.")
    assert [error.message for error in OpenAPIV31SpecValidator(document()).iter_errors()] == []
    for part in walk(document()):
        if "$ref" in part:
            assert resolved(part)
    for one in document()["components"]["schemas"].values():
        Draft202012Validator.check_schema(one)


def test_nothing_is_described_that_is_not_used() -> None:
    used = {part["$ref"] for part in walk(document()) if "$ref" in part}
    for kind, components in document()["components"].items():
        if kind != "securitySchemes":
            assert {f"#/components/{kind}/{name}" for name in components} <= used


def routes() -> Iterator[tuple[str, str]]:
    tables: list[Routes] = [submit_run.ROUTES, read_runs.ROUTES]
    for table in tables:
        named = {route.endpoint for route in table.routes if route.path}
        for route in table.routes:
            assert route.path or route.endpoint in named, "what a function's root does must have a path as well"
            if route.path:
                yield route.method, without_names(route.path)


def test_every_route_is_described_and_nothing_else_is() -> None:
    described = [(operation.method, without_names(operation.path)) for operation in operations()]
    assert set(described) == set(routes()) and len(described) == len(set(described))


def test_paths_are_written_as_their_family_writes_them() -> None:
    for path in document()["paths"]:
        assert path.endswith("/") == path.startswith("/api/")


def test_every_operation_has_one_tag_and_every_tag_says_what_it_is_for() -> None:
    tags = [tag["name"] for tag in document()["tags"] if tag["description"]]
    assert {tuple(operation.content["tags"]) for operation in operations()} == {(name,) for name in tags}


def test_generators_find_a_name_for_every_object_and_every_choice() -> None:
    """Without one they count: Question1, ResponseType2. Some take the name, some the title: the same in words."""
    for name, one in document()["components"]["schemas"].items():
        assert "".join(word.capitalize() for word in one["title"].split()) == name
        nested = [part for part in walk(one) if part is not one]
        assert name.endswith("Error") or not [part for part in nested if {"properties", "enum"} & set(part)], name
    for operation in operations():
        bodies = [*operation.responses.values(), operation.content.get("requestBody", {})]
        for media_type in [kind for body in bodies for kind in body.get("content", {}).values()]:
            assert set(media_type["schema"]) == {"$ref"}, operation.name


@every_operation
def test_every_operation_says_what_it_is_and_shows_it(operation: Operation) -> None:
    assert operation.content["summary"]
    assert re.fullmatch(r"[a-z]+(_[a-z]+)+", operation.name), "a generated client names its functions so"
    assert operation.body is None or operation.body["examples"]
    for response in operation.responses.values():
        assert all(media_type["examples"] for media_type in response.get("content", {}).values())


@every_operation
def test_every_example_is_as_its_schema_says(operation: Operation) -> None:
    media_types = [("application/json", operation.body)] if operation.body else []
    media_types += [pair for response in operation.responses.values() for pair in response.get("content", {}).items()]
    media_types += [("parameter", parameter) for parameter in operation.parameters]
    for kind, described in media_types:
        for example in described.get("examples", {}).values():
            if kind == "text/event-stream":
                check_events(example["value"], event_schema(described["schema"]))
            else:
                check(example["value"], described["schema"])


def test_examples_of_schemas_fit_them() -> None:
    for part in walk(document()):
        if isinstance(part.get("examples"), list):
            for example in part["examples"]:
                check(example, part)


def test_an_example_that_does_not_fit_would_be_noticed() -> None:
    with pytest.raises(ValidationError):
        check({"success": True, "more": 1}, {"$ref": "#/components/schemas/Success"})
    [answer] = [one for one in operations() if one.name == "get_job_status"]
    described = answer.responses[200]["content"]["application/json"]
    shown = described["examples"]["completed"]["value"]
    for odd in ({"status": "done"}, {"model": {**shown["model"], "more": 1}}, {"more": 1}, {"completed_at": "today"}):
        with pytest.raises(ValidationError):
            check({**shown, **odd}, described["schema"])
    with pytest.raises(ValidationError):
        check_events("id: 1\nevent: run.late_result\ndata: {}\n\n", {"$ref": "#/components/schemas/StreamEvent"})


def kinds(kind: type[ServiceError] = ServiceError) -> Iterator[type[ServiceError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from kinds(child)


def codes_given_where_raised() -> Iterator[tuple[str, str]]:
    """(the error's class, the code) of every call like Forbidden(…, code="no_profile")."""
    names = {kind.__name__ for kind in kinds()}
    for path in [*ROOT.glob("shared/**/*.py"), *ROOT.glob("functions/*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names:
                given = [word.value for word in node.keywords if word.arg == "code"]
                yield from ((node.func.id, str(code.value)) for code in given if isinstance(code, ast.Constant))
                yield from (
                    (node.func.id, ErrorCode[code.attr].value)
                    for code in given
                    if isinstance(code, ast.Attribute)
                    and isinstance(code.value, ast.Name)
                    and code.value.id == "ErrorCode"
                )


def answered() -> set[tuple[str, int]]:
    """(code, status) of every error that a client can be answered with."""
    raised = defaultdict(set)
    for name, code in codes_given_where_raised():
        raised[name].add(code)
    found = {(ServiceError.code, 500)}
    for kind in set(STATUS_OF) - BEHIND_THE_SCENES:
        own = {kind.code} if kind is not errors.TooManyRuns else set()  # which always says of what there are too many
        found |= {(code, STATUS_OF[kind]) for code in own | raised[kind.__name__]}
    return found


def described_codes() -> set[tuple[str, int]]:
    found = set()
    for operation in operations():
        for status, response in operation.responses.items():
            if status >= 400:
                for part in walk(resolved(response["content"]["application/json"]["schema"])):
                    found |= {(code, status) for code in part.get("code", {}).get("enum", ())}
    return found


def test_every_code_of_the_error_tree_stands_at_its_status_and_no_other_does() -> None:
    assert described_codes() | OF_NO_OPERATION == answered()


def test_the_list_of_codes_is_whole() -> None:
    assert schema("ErrorCode")["enum"] == sorted(code for code, _ in answered())


def test_the_codes_of_failures_are_those_of_the_llm_of_time_and_of_the_store() -> None:
    llm = {"LlmRefused", "LlmUnavailable"}
    codes = {code for name, code in codes_given_where_raised() if name in llm} | set(SENTENCES)
    codes |= {kind.code for kind in kinds() if kind.__name__ in llm | {"DeadlineExceeded", "ResultTooLarge"}} | {
        ErrorCode.UNDELIVERABLE,
        ErrorCode.INTERNAL,
    }
    assert schema("FailureCode")["enum"] == sorted(codes)


@every_operation
def test_operations_with_credentials_describe_their_refusals(operation: Operation) -> None:
    security = operation.content.get("security", document()["security"])
    assert (401 in operation.responses) == bool(security)
    for scheme in security:
        assert ("csrf" in scheme) == ("session" in scheme and operation.method != "GET")
    if operation.name not in ("get_health", "get_healthz"):
        assert {500, 503} <= set(operation.responses)
    if operation.body:
        assert {400, 413, 415} <= set(operation.responses)
    if operation.method == "GET" and "application/json" in operation.responses[200]["content"]:
        assert 304 in operation.responses and "ETag" in operation.responses[200]["headers"]


def test_pages_of_other_origins_may_send_and_read_every_header_that_is_described() -> None:
    sent = {parameter["name"] for one in operations() for parameter in one.parameters if parameter["in"] == "header"}
    assert sent | {"X-CSRFToken"} <= set(cors.REQUEST_HEADERS)
    read = {name for one in operations() for response in one.responses.values() for name in response["headers"]}
    assert read - ANYWHERE <= set(cors.RESPONSE_HEADERS)


def test_numbers_are_those_of_the_code() -> None:
    parameters = document()["components"]["parameters"]
    limit, offset = parameters["Limit"]["schema"], parameters["Offset"]["schema"]
    assert schema("UserText")["maxLength"] == submission.MAX_TEXT_LENGTH == 1500
    assert schema("Name")["maxLength"] == schema("NameOrNull")["maxLength"] == submission.MAX_NAME_LENGTH == 255
    assert schema("ChannelName")["maxLength"] == submission.MAX_NAME_LENGTH
    assert schema("Language")["maxLength"] == fields.MAX_TAG_LENGTH
    assert schema("DeadlineSeconds")["maximum"] == submission.MAX_DEADLINE_SECONDS
    files = schema("AdminRunSubmission")["properties"]["reference_file_ids"]
    assert files["maxItems"] == submission.MAX_REFERENCE_FILES == 20
    assert (limit["default"], offset["default"], offset["maximum"]) == (
        list_query.DEFAULT_LIMIT,
        0,
        list_query.MAX_OFFSET,
    )
    assert (list_query.DEFAULT_LIMIT, list_query.MAX_LIMIT, list_query.MAX_OFFSET) == (20, 100, 1000)
    assert f"More than {list_query.MAX_LIMIT} is read as {list_query.MAX_LIMIT}" in parameters["Limit"]["description"]
    for name, rows in (("UserRunList", "runs"), ("JobList", "jobs")):
        listed = schema(name)["properties"]
        assert listed["limit"]["maximum"] == listed[rows]["maxItems"] == list_query.MAX_LIMIT
    assert schema("OverdueList")["properties"]["runs"]["maxItems"] == MAX_OVERDUE
    assert parameters["IdempotencyKey"]["schema"]["maxLength"] == parse.MAX_KEY_LENGTH == 255
    assert f"{parse.MAX_WAIT_SECONDS} at most" in parameters["Prefer"]["description"]
    assert document()["components"]["headers"]["Retry-After"]["schema"]["maximum"] == views.MAX_RETRY_AFTER
    assert schema("SessionRequest")["properties"]["id_token"]["maxLength"] == sessions.MAX_BODY_BYTES


def test_names_are_those_of_the_code() -> None:
    assert schema("Status")["enum"] == list(Status)
    assert schema("Kind")["enum"] == list(Kind)
    assert schema("JobType")["enum"] == list(JOB_TYPES)
    assert set(schema("JobTypeOrKind")["enum"]) == {*JOB_TYPES, "admin_run", "user_run"}
    assert set(schema("UpdateType")["enum"]) == set(EventType) - {INTERNAL_EVENT}


@pytest.mark.parametrize(
    "tag",
    ["en", "pt-BR", "zh-Hant-TW", "de-1996", "en-u-ca-gregory", "x-y", "en-x-a1", "EN-us", "deu", "i-klingon"],
)
def test_a_language_that_the_code_takes_fits_the_schema(tag: str) -> None:
    assert language_fits(tag) and normalise_language_tag(tag) is not None


@pytest.mark.parametrize("tag", ["", "english please", "de-", "-de", "en_US", "en--US", "en-x-", "1en", "ελ"])
def test_a_language_that_does_not_fit_the_schema_is_refused(tag: str) -> None:
    assert not language_fits(tag) and normalise_language_tag(tag) is None


def language_fits(tag: str) -> bool:
    fits = Draft202012Validator({"$ref": "#/components/schemas/Language", "components": document()["components"]})
    return bool(fits.is_valid(tag))
