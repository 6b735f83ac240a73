"""What may be submitted, field by field, and that nothing else ever gets through or crashes."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain import submission
from shared.domain.directory import LlmApi, Model, Organization, Profile
from shared.domain.run import Run
from shared.domain.status import Service
from shared.domain.submission import RunPolicy, Submission, new_run
from shared.errors import CallerError, InputTooLarge, InvalidRequest

ADMIN_RUN: dict[str, Any] = {"text": "hello", "source_lang": "en", "target_lang": "de"}
JOB: dict[str, Any] = {"job_type": "general_llm_request", "model_id": "m", "input_data": {"full_input": "hi"}}
NOTEBOOK = {"nbformat": 4, "cells": [{"cell_type": "markdown", "source": ["# Title\n", "text"]}]}
TRAINER: dict[str, Any] = {"model_id": "m", "question_id": "q", "system_message": "s", "full_input": "f"}

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def job(body: dict[str, Any]) -> Submission:
    return submission.job(body, max_input_bytes=1000)


def trainer(body: dict[str, Any]) -> Submission:
    return submission.trainer_analysis(body, max_input_bytes=1000)


READERS = {submission.admin_run: ADMIN_RUN, submission.user_run: {"input_text": "hello"}, job: JOB, trainer: TRAINER}


@pytest.mark.parametrize(
    ("reader", "change", "field"),
    [
        (submission.admin_run, {"text": None}, "text"),
        (submission.admin_run, {"text": ""}, "text"),
        (submission.admin_run, {"text": " \n\t\u00a0"}, "text"),
        (submission.admin_run, {"text": "x" * 1501}, "text"),
        (submission.admin_run, {"text": 5}, "text"),
        (submission.admin_run, {"text": "\ud800"}, "text"),
        (submission.admin_run, {"source_lang": None}, "source_lang"),
        (submission.admin_run, {"source_lang": "english"}, "source_lang"),
        (submission.admin_run, {"source_lang": "en" + "-x" * 32}, "source_lang"),
        (submission.admin_run, {"target_lang": "de-"}, "target_lang"),
        (submission.admin_run, {"target_lang": "EN"}, "target_lang"),
        (submission.admin_run, {"source_lang": "iw", "target_lang": "he"}, "target_lang"),
        (submission.admin_run, {"prior_run_uuid": "1234"}, "prior_run_uuid"),
        (submission.admin_run, {"prior_run_uuid": "{00000000-0000-4000-8000-000000000000}"}, "prior_run_uuid"),
        (submission.admin_run, {"style_guide": "x" * 256}, "style_guide"),
        (submission.admin_run, {"phrase_clients_id": ["a"]}, "phrase_clients_id"),
        (submission.admin_run, {"reference_file_ids": ["x"] * 21}, "reference_file_ids"),
        (submission.admin_run, {"reference_file_ids": [1]}, "reference_file_ids"),
        (submission.admin_run, {"reference_file_ids": [" "]}, "reference_file_ids"),
        (submission.admin_run, {"reference_file_ids": ["x" + " " * 255]}, "reference_file_ids"),
        (submission.admin_run, {"reference_file_ids": "x"}, "reference_file_ids"),
        (submission.admin_run, {"surprise": 1}, "surprise"),
        (submission.user_run, {"input_text": "x" * 1501}, "input_text"),
        (submission.user_run, {"end_client_id": {}}, "end_client_id"),
        (submission.user_run, {"text": "hello"}, "text"),
        (job, {"job_type": "dance"}, "job_type"),
        (job, {"job_type": None}, "job_type"),
        (job, {"model_id": ""}, "model_id"),
        (job, {"input_data": None}, "input_data"),
        (job, {"input_data": []}, "input_data"),
        (job, {"input_data": {}}, "full_input"),
        (job, {"input_data": {"full_input": "hi", "system_message": 1}}, "system_message"),
        (job, {"input_data": {"full_input": "hi", "note": "\udfff"}}, "input_data"),
        (job, {"service": "express"}, "service"),
        (job, {"service": 1}, "service"),
        (submission.user_run, {"service": "batch"}, "service"),
        (job, {"deadline_seconds": 0}, "deadline_seconds"),
        (job, {"deadline_seconds": True}, "deadline_seconds"),
        (job, {"deadline_seconds": 1.5}, "deadline_seconds"),
        (job, {"deadline_seconds": 86401}, "deadline_seconds"),
        (job, {"deadline_seconds": 86401.0}, "deadline_seconds"),
        (trainer, {"question_id": None}, "question_id"),
        (trainer, {"system_message": None}, "system_message"),
        (trainer, {"input_data": {}}, "input_data"),
    ],
)
def test_a_wrong_field_is_named(reader: Any, change: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        reader({**READERS[reader], **change})
    assert refused.value.field == field


@pytest.mark.parametrize("reader", READERS)
def test_the_plain_request_is_accepted(reader: Any) -> None:
    assert isinstance(reader(READERS[reader]), Submission)


@given(text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=1500).filter(str.strip))
def test_any_text_of_1_to_1500_code_points_is_kept_as_it_is(text: str) -> None:
    assert submission.user_run({"input_text": text}).input == {"text": text}


def test_characters_are_code_points() -> None:
    assert submission.user_run({"input_text": "🙂" * 1500})
    with pytest.raises(InvalidRequest):
        submission.user_run({"input_text": "🙂" * 1501})


@pytest.mark.parametrize("reader", READERS)
@given(body=st.dictionaries(st.text(), JSON, max_size=5), data=st.data())
def test_any_object_is_accepted_or_refused_and_never_crashes(
    reader: Any, body: dict[str, Any], data: st.DataObject
) -> None:
    known = data.draw(st.dictionaries(st.sampled_from(sorted(READERS[reader])), JSON))
    try:
        assert isinstance(reader({**READERS[reader], **known, **body}), Submission)
    except CallerError as error:
        error.message.encode()


def test_a_whole_number_is_one_however_it_is_written() -> None:
    assert job({**JOB, "deadline_seconds": 60.0}).deadline == timedelta(minutes=1)


def test_input_over_the_limit_is_too_large() -> None:
    with pytest.raises(InputTooLarge):
        job({**JOB, "input_data": {"full_input": "x" * 1001}})
    with pytest.raises(InputTooLarge):
        job({**JOB, "input_data": {"full_input": "ü" * 501}})


@pytest.mark.parametrize("name", ["ticket", "max_tokens", "instructions", "response_format"])
def test_a_field_of_the_input_that_no_model_gets_is_refused_by_name(name: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        job({**JOB, "input_data": {"full_input": "hi", name: "canary"}})
    assert refused.value.field == name and "canary" not in refused.value.message


PARAMETERS: dict[str, Any] = {
    "temperature": 0.5,
    "top_p": 1,
    "max_output_tokens": 100,
    "response_schema": {"type": "object"},
}


def test_parameters_of_the_model_are_kept_with_the_input() -> None:
    assert job({**JOB, "input_data": {"full_input": "hi", **PARAMETERS}}).input == {"full_input": "hi", **PARAMETERS}
    assert colab(NOTEBOOK, **PARAMETERS).input.items() >= PARAMETERS.items()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -0.1),
        ("temperature", 2.1),
        ("temperature", True),
        ("temperature", "0.5"),
        ("temperature", float("nan")),
        ("top_p", 1.1),
        ("max_output_tokens", 0),
        ("max_output_tokens", 1.5),
        ("max_output_tokens", 10**9),
        ("response_schema", []),
        ("response_schema", {}),
        ("response_schema", {"type": "array"}),
    ],
)
def test_a_parameter_that_no_model_takes_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        job({**JOB, "input_data": {"full_input": "hi", name: value}})
    assert refused.value.field == name


def colab(notebook: Any, *, max_input_bytes: int = 1000, **more: Any) -> Submission:
    whole = {**JOB, "job_type": "review_colab", "input_data": {"notebook": notebook, **more}}
    return submission.job(whole, max_input_bytes=max_input_bytes)


def test_a_notebook_becomes_text_with_its_instructions_first() -> None:
    read = colab(NOTEBOOK, instructions="Be kind.").input
    text = "Be kind.\n\n## Cell 1 (markdown)\n# Title\ntext"
    assert read == {"instructions": "Be kind.", "full_input": text}


@pytest.mark.parametrize("notebook", [None, [], "canary", {}, {"nbformat": 4, "cells": [1]}])
def test_a_value_that_is_no_notebook_is_refused(notebook: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        colab(notebook)
    assert refused.value.field == "notebook" and "canary" not in refused.value.message


def test_a_notebook_and_an_input_of_its_own_do_not_go_together() -> None:
    with pytest.raises(InvalidRequest, match="either notebook or full_input"):
        colab(NOTEBOOK, full_input="hi")


def test_the_limit_of_a_notebook_is_on_its_text_and_not_on_its_images() -> None:
    figure = {"output_type": "display_data", "data": {"image/png": "A" * 10_000}}
    cell = {"cell_type": "code", "source": "plot()", "outputs": [figure]}
    assert "[image/png, 8 kB]" in colab({"nbformat": 4, "cells": [cell]}).input["full_input"]
    with pytest.raises(InputTooLarge):
        colab({"nbformat": 4, "cells": [{**cell, "source": "x" * 1000}]})


@pytest.mark.parametrize("reviewed", [{"full_input": "the text"}, {"notebook": NOTEBOOK}])
def test_instructions_go_before_what_is_reviewed(reviewed: dict[str, Any]) -> None:
    body = {"job_type": "review_colab", "model_id": "m", "input_data": {**reviewed, "instructions": "Be kind."}}
    text = submission.job(body, max_input_bytes=1 << 20).input["full_input"]
    assert text.startswith("Be kind.\n\n") and len(text) > len("Be kind.\n\n")


@pytest.mark.parametrize("data", [{}, {"full_input": "x", "notebook": NOTEBOOK}])
def test_a_review_needs_a_notebook_or_a_text_and_not_both(data: dict[str, Any]) -> None:
    body = {"job_type": "review_colab", "model_id": "m", "input_data": data}
    with pytest.raises(InvalidRequest, match="either notebook or full_input"):
        submission.job(body, max_input_bytes=1 << 20)


def run_of_model(body: dict[str, Any], *, batch_api: str | None) -> Run:
    model = Model(id="m", name="M", provider="openai", api=LlmApi.OPENAI_CHAT, upstream_model="m", batch_api=batch_api)
    deadlines = {"default": timedelta(hours=1), "batch": timedelta(hours=20)}
    return new_run(
        job(body),
        run_id="r",
        caller=Profile(user_id="u", organization_id="acme"),
        organization=Organization(id="acme", name="Acme", deployment="europe"),
        model=model,
        prior=None,
        policy=RunPolicy(deadlines=deadlines, retention=timedelta(days=1), pending_grace=timedelta(seconds=9)),
        now=datetime(2026, 1, 1, tzinfo=UTC),
    )


@pytest.mark.parametrize("service", [{}, {"service": "standard"}, {"service": None}])
def test_a_job_of_the_standard_service_has_the_models_own_protocol(service: dict[str, Any]) -> None:
    run = run_of_model({**JOB, **service}, batch_api=LlmApi.OPENAI_BATCH)
    assert (run.service, run.api) == (Service.STANDARD, LlmApi.OPENAI_CHAT)
    assert run.deadline_at - run.created_at == timedelta(hours=1)


def test_a_job_of_the_batch_service_has_the_batch_protocol_and_a_later_deadline() -> None:
    run = run_of_model({**JOB, "service": "batch"}, batch_api=LlmApi.OPENAI_BATCH)
    assert (run.service, run.api) == (Service.BATCH, LlmApi.OPENAI_BATCH)
    assert run.deadline_at - run.created_at == timedelta(hours=20)
    own = run_of_model({**JOB, "service": "batch", "deadline_seconds": 60}, batch_api=LlmApi.OPENAI_BATCH)
    assert own.deadline_at - own.created_at == timedelta(minutes=1)


def test_a_model_without_a_batch_service_refuses_it_by_name() -> None:
    with pytest.raises(InvalidRequest, match="no batch service") as raised:
        run_of_model({**JOB, "service": "batch"}, batch_api=None)
    assert raised.value.field == "service"
