"""The records of the directory: profiles of users, organizations and models. Only operators change them."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, TypeVar

from msgspec import Struct
from msgspec.structs import fields

from shared.domain.status import LlmApi as LlmApi
from shared.errors import ConfigurationError

Record = TypeVar("Record", bound=Struct)


class ModelRef(Struct, frozen=True, kw_only=True):
    """The model of a run as it was when the run was submitted."""

    id: str
    name: str
    provider: str


class Profile(Struct, frozen=True, kw_only=True):
    """A user, as the document `users/{user_id}` has it; also the caller of a request."""

    user_id: str
    organization_id: str
    groups: frozenset[str] = frozenset()


class Organization(Struct, frozen=True, kw_only=True):
    """A customer, or, with a `parent_id`, the end client of a customer.

    `deployment` is the name of a regional LLM endpoint. Runs take the style guide, phrase client and languages from
    here when their submission names none.
    """

    id: str
    name: str
    deployment: str
    parent_id: str | None = None
    phrase_client_id: str | None = None
    phrase_client_ids: Sequence[str] = ()
    """The phrase clients that a submission may name, beside `phrase_client_id`."""
    reference_files: Sequence[str] = ()
    """The ids of the reference files that a submission may name."""
    term_pairs: Sequence[Mapping[str, str]] = ()
    """[{source, target, source_lang?, target_lang?}]: translations that are required wherever the source term stands.

    A pair with languages counts in runs of these languages alone; `de` includes `de-AT`.
    """
    style_guide: str | None = None
    source_lang: str | None = None
    target_lang: str | None = None
    translation_model: str | None = None
    """The id of the model that translates for the organization; None for its deployment."""
    fallback: Sequence[str] = ()
    """The deployments to which its runs go next, in this order, when `deployment` cannot take them."""
    prices: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None
    """What its runs cost at its deployment, as in Model.prices; jobs have the prices of their model."""
    budget: Mapping[str, float] | None = None
    """{day_usd?, month_usd?}: what the runs that its users submit may cost in a UTC day and month."""


class StyleGuide(Struct, frozen=True, kw_only=True):
    """Holds the text of a style guide that a run names, as the document `style_guides/{id}` has it."""

    id: str
    organization_id: str
    text: str = ""


class ReferenceFile(Struct, frozen=True, kw_only=True):
    """Holds the text of a reference file that a run names, as the document `reference_files/{id}` has it."""

    id: str
    organization_id: str
    name: str | None = None
    text: str = ""


class Model(Struct, frozen=True, kw_only=True):
    """An LLM that jobs may name.

    `api` is an LlmApi; documents of later releases may hold others. The LLM is called at `base_url`, or else at the
    deployment with the name `deployment`. `secret` is the name of the environment variable with the API key, never the
    key itself.

    `prices` is one price list, or several of which each has `from`, the day or time from which it holds. A run has the
    list that holds when it is accepted. All prices are in USD and may be left out: `input`, `output`, `cached_input`
    (that of `input` by default), `cache_write` (likewise) per million tokens; `job` per run; `character` per million
    characters of a translation's text; `batch` is the factor for tokens in batches, such as 0.5.
    """

    id: str
    name: str
    provider: str
    api: str
    upstream_model: str
    base_url: str | None = None
    deployment: str | None = None
    secret: str | None = None
    prices: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None
    enabled: bool = True
    max_output_tokens: int | None = None
    """The most tokens of an answer; None for the vendor's own limit, or 8192 where the vendor wants a number."""
    batch_api: str | None = None
    """The LlmApi of jobs with the service "batch"; None for a model that has no such service."""
    max_attempts: int | None = None
    """How many attempts of a run may be billed; None for the setting MAX_ATTEMPTS."""
    fallback: Sequence[str] = ()
    """The ids of the models to which its runs go next, in this order, when this one cannot take them."""
    parameters: Mapping[str, Any] | None = None
    """Defaults for what a job's input leaves open: {temperature?, top_p?, max_output_tokens?, response_schema?}."""
    unsupported_parameters: Sequence[str] = ()
    """The parameters that this model refuses, such as `temperature` of a model that reasons."""
    token_limit_field: str | None = None
    """The field of an `openai_chat` server for the most tokens of an answer; None for `max_tokens`, which most take."""
    auth: str | None = None
    """`google`: calls carry an access token of the service's own Google account, in place of a key."""


def read_profile(user_id: str, document: Mapping[str, Any]) -> Profile:
    """Reads {organization_id, groups?: [name]}."""
    groups = frozenset(document.get("groups", ()))
    return Profile(user_id=user_id, organization_id=document["organization_id"], groups=groups)


def read_record(kind: type[Record], record_id: str, document: Mapping[str, Any]) -> Record:
    """Returns the document as a record of the class `kind`; ignores fields that the class does not have.

    Raises ConfigurationError when the document lacks a field that has no default.
    """
    names, required = _field_names(kind)
    if missing := sorted(required - {"id", *document}):
        raise ConfigurationError(f"The {kind.__name__.lower()} {record_id} lacks {', '.join(missing)}.")
    return kind(**{**{name: value for name, value in document.items() if name in names}, "id": record_id})


@cache
def _field_names(kind: type[Struct]) -> tuple[frozenset[str], frozenset[str]]:
    """Returns the names of all fields, and of those without a default."""
    known = fields(kind)
    return frozenset(item.name for item in known), frozenset(item.name for item in known if item.required)
