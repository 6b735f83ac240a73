"""Defines the organizations, users and models of a new local system, and writes them to its directory."""

import asyncio
from collections.abc import Mapping
from typing import Any

from infra.models import VENDORS, records
from shared.adapters.storage.document_directory import DocumentDirectory
from shared.domain.directory import LlmApi
from shared.settings import Settings

ORGANIZATIONS: dict[str, dict[str, Any]] = {
    "acme": {
        "name": "Acme",
        "deployment": "europe",
        "phrase_client_id": "pc-acme",
        "phrase_client_ids": ["pc-acme", "pc-acme-legal"],
        "reference_files": ["file-1", "file-2"],
        "term_pairs": [
            {"source": "invoice", "target": "Rechnung", "source_lang": "en", "target_lang": "de"},
            {"source": "customer", "target": "Kunde", "source_lang": "en", "target_lang": "de"},
        ],
        "style_guide": "acme-default",
        "source_lang": "en",
        "target_lang": "de",
    },
    "acme-client": {"name": "Acme's client", "deployment": "europe", "parent_id": "acme"},
    "initech": {
        "name": "Initech",
        "deployment": "europe",
        "translation_model": "demo-chat-model",
        "style_guide": "initech-formal",
        "reference_files": ["initech-letter"],
        "term_pairs": [{"source": "invoice", "target": "Rechnung", "target_lang": "de"}],
        "source_lang": "en",
        "target_lang": "de",
    },
    "globex": {"name": "Globex", "deployment": "tokyo", "source_lang": "en", "target_lang": "ja"},
}
USERS: dict[str, dict[str, Any]] = {
    "demo": {"organization_id": "acme", "groups": ["users"]},
    "admin": {"organization_id": "acme", "groups": ["users", "admins"]},
    "other": {"organization_id": "globex", "groups": ["users"]},
    "translator": {"organization_id": "initech", "groups": ["users"]},
    "nogroup": {"organization_id": "acme", "groups": []},
}
STYLE_GUIDES: dict[str, dict[str, Any]] = {
    "initech-formal": {"organization_id": "initech", "text": "Address readers formally. Keep sentences short."},
}
REFERENCE_FILES: dict[str, dict[str, Any]] = {
    "initech-letter": {
        "organization_id": "initech",
        "name": "An earlier letter",
        "text": "Dear customer, ... = Sehr geehrte Kundin, sehr geehrter Kunde, ...",
    },
}
MODELS: dict[str, dict[str, Any]] = {
    "demo-model": {
        "name": "Demo model",
        "provider": "simulator",
        "api": LlmApi.LLM_JOBS,
        "upstream_model": "simulator",
        "deployment": "default",
        "prices": {"input": 0.15, "output": 0.6},
    },
    "demo-chat-model": {
        "name": "Demo chat model",
        "provider": "simulator",
        "api": LlmApi.OPENAI_CHAT,
        "upstream_model": "simulator",
        "deployment": "default",
        "prices": {"input": 0.15, "output": 0.6},
    },
    "demo-responses-model": {
        "name": "Demo responses model",
        "provider": "simulator",
        "api": LlmApi.OPENAI_RESPONSES,
        "batch_api": LlmApi.OPENAI_BATCH,
        "upstream_model": "simulator",
        "deployment": "default",
        "prices": {"input": 0.15, "output": 0.6, "cached_input": 0.075, "batch": 0.5},
    },
    "demo-messages-model": {
        "name": "Demo messages model",
        "provider": "simulator",
        "api": LlmApi.ANTHROPIC_MESSAGES,
        "batch_api": LlmApi.ANTHROPIC_BATCH,
        "upstream_model": "simulator",
        "deployment": "default",
        "prices": {"input": 0.8, "output": 4.0, "cached_input": 0.08, "cache_write": 1.0, "batch": 0.5},
    },
}


async def put_fixtures(directory: DocumentDirectory, settings: Settings) -> None:
    """Creates or replaces the fixtures; other records stay as they are."""
    offered = records(settings)
    fixtures = {
        "organizations": ORGANIZATIONS,
        "users": USERS,
        "models": {**MODELS, **offered, **_configured_model(settings)},
        "style_guides": STYLE_GUIDES,
        "reference_files": REFERENCE_FILES,
    }
    puts = [
        directory.put(collection, document_id, document)
        for collection, documents in fixtures.items()
        for document_id, document in documents.items()
    ]
    await asyncio.gather(*puts)
    withdrawn = records(settings, vendors=set(VENDORS) - settings.vendors_with_models)
    await _disable(directory, withdrawn)


async def _disable(directory: DocumentDirectory, withdrawn: Mapping[str, dict[str, Any]]) -> None:
    """Disables models whose key an earlier start had. Their runs stay, so the records stay too."""
    for model in await directory.models():
        document = withdrawn.get(model.id)
        if document is not None and model.enabled and model.secret == document["secret"]:
            await directory.put("models", model.id, {**document, "enabled": False})


def _configured_model(settings: Settings) -> Mapping[str, dict[str, Any]]:
    """Returns {"my-model": its document}; empty unless the setting OPENAI_MODEL is set.

    `my-model` is the model OPENAI_MODEL of the OpenAI-compatible server at OPENAI_BASE_URL, or else of OpenAI itself.
    """
    if settings.openai_model is None:
        return {}
    own: str = VENDORS["openai"]["base_url"]
    base_url = settings.vendor_base_urls.get("openai", own)
    document = {
        "name": settings.openai_model,
        "provider": "openai",
        "api": LlmApi.OPENAI_CHAT,
        "upstream_model": settings.openai_model,
        "base_url": base_url,
        "secret": VENDORS["openai"]["secret"] if "openai" in settings.vendor_keys else None,
        "token_limit_field": VENDORS["openai"]["token_limit_field"] if base_url.startswith(own) else None,
    }
    return {"my-model": document}
