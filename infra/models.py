"""Makes the records of vendors' models from infra/models.json: for local systems, and for `models/` in the cloud.

    python -m infra.models openai gemini                               prints the records, and changes nothing
    python -m infra.models openai gemini --project my-project --write  writes them into the project's Firestore

Without vendors, it takes those whose key is set in the environment. With --project it works with the caller's own
credentials (gcloud auth application-default login); without, with the settings of this machine. A record names the
variable of its key and never holds the key. infra/models.json says when its prices were read, and where.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from shared import wiring
from shared.domain.directory import LlmApi
from shared.errors import ServiceError
from shared.settings import Settings, of_project

CATALOGUE: dict[str, Any] = json.loads((Path(__file__).parent / "models.json").read_text())
VENDORS: dict[str, dict[str, Any]] = CATALOGUE["vendors"]
BATCH_RATE = 0.5
"""OpenAI's and Anthropic's batches cost half."""
OF_THE_VENDOR = ("secret", "api", "batch_api", "token_limit_field", "parameters", "unsupported_parameters")
"""Fields that all models of a vendor have in common, as far as the vendor has them."""


def records(settings: Settings, *, vendors: Collection[str] | None = None) -> dict[str, dict[str, Any]]:
    """Returns {id: document} of the models of `vendors`, or else of all vendors whose key is set."""
    chosen = settings.vendors_with_models if vendors is None else vendors
    return {
        model_id: _record(vendor, model_id, settings)
        for vendor in VENDORS
        if vendor in chosen
        for model_id in VENDORS[vendor]["models"]
    }


def _record(vendor: str, model_id: str, settings: Settings) -> dict[str, Any]:
    given, model = VENDORS[vendor], VENDORS[vendor]["models"][model_id]
    record = {
        "name": model["name"],
        "provider": vendor,
        "upstream_model": model_id,
        "base_url": _base_url(vendor, settings.vendor_base_urls.get(vendor)),
        "prices": _prices(vendor, model),
        "max_output_tokens": model.get("max_output_tokens"),
        **{name: given[name] for name in OF_THE_VENDOR if name in given},
    }
    is_without_responses = vendor == "openai" and settings.openai_api == LlmApi.OPENAI_CHAT
    return record | ({"api": LlmApi.OPENAI_CHAT, "batch_api": None} if is_without_responses else {})


def _prices(vendor: str, model: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns the price lists of the model (see Model.prices); a change that has been announced begins on its day."""
    lists = [model["prices"], *model.get("price_changes", ())]
    return [{**prices, "batch": BATCH_RATE} if "batch_api" in VENDORS[vendor] else dict(prices) for prices in lists]


def _base_url(vendor: str, chosen: str | None) -> str:
    """Returns the address under which the protocol's paths are.

    An address without a path gets the vendor's own. Anthropic's clients expect an address without its `/v1`.
    https://platform.claude.com/docs/en/cli-sdks-libraries/sdks/python
    """
    own: str = VENDORS[vendor]["base_url"]
    if chosen is None:
        return own
    url = chosen.rstrip("/")
    if not urlsplit(url).path:
        return url + urlsplit(own).path
    is_root = VENDORS[vendor]["api"] == LlmApi.ANTHROPIC_MESSAGES and not url.endswith("/v1")
    return f"{url}/v1" if is_root else url


async def write(documents: Mapping[str, Mapping[str, Any]]) -> None:
    """Creates or replaces the documents in `models/`. Raises ServiceError."""
    directory = wiring.directory()
    for model_id, document in documents.items():
        await directory.put("models", model_id, document)


def main() -> int:
    parser = argparse.ArgumentParser(description="Makes the records of vendors' models.")
    parser.add_argument("vendors", nargs="*", metavar="VENDOR", help=", ".join(VENDORS))
    parser.add_argument("--project", help="the Google Cloud project, instead of this machine")
    parser.add_argument("--write", action="store_true", help="write the records into the directory")
    options = parser.parse_args()
    if unknown := set(options.vendors) - set(VENDORS):
        parser.error(f"there is no vendor {', '.join(sorted(unknown))}; choose from {', '.join(VENDORS)}")
    try:
        if options.project:
            wiring.use(of_project(options.project))
        documents = records(wiring.settings(), vendors=options.vendors or None)
        if options.write:
            asyncio.run(write(documents))
    except ServiceError as error:
        print(f"not done: {error.message}", file=sys.stderr)
        return 1
    finally:
        wiring.close()
    print(json.dumps(documents, indent=2))
    print(f"{len(documents)} models {'written' if options.write else 'found; --write writes them'}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
