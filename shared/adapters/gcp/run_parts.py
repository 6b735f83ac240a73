"""Stores large inputs and results in documents below the run's document: `llm_runs/{id}/parts/{content}-{number}`.

`content` is `input` or `result`; the number has four digits.
"""

from collections.abc import Sequence
from typing import Any

from google.cloud.firestore import AsyncClient
from google.cloud.firestore_v1.async_batch import AsyncWriteBatch

from shared.adapters.gcp.bounds import bounded, google_errors_as
from shared.adapters.storage.parts import PART_EXPIRY_MARGIN
from shared.domain.run import Run
from shared.errors import StoreUnavailable

PARTS = "parts"


def add_parts(batch: AsyncWriteBatch, reference: Any, run: Run, content: str, texts: Sequence[str]) -> None:
    """Adds the writes of a run's parts to the batch. `reference` is the reference of the run's document.

    Each part has its own expiry, because TTL does not delete the documents below an expired document.
    """
    for number, text in enumerate(texts):
        values = {"text": text, "expires_at": run.expires_at + PART_EXPIRY_MARGIN}
        batch.set(reference.collection(PARTS).document(_part_id(content, number)), values)


async def read_parts(firestore: AsyncClient, reference: Any, content: str, count: int) -> list[str | None]:
    """Returns the texts of `count` parts, in order, with None for a part that does not exist."""
    if count == 0:
        return []
    references = [reference.collection(PARTS).document(_part_id(content, number)) for number in range(count)]
    async with google_errors_as(StoreUnavailable):
        parts = [part async for part in firestore.get_all(references, **bounded())]
    texts = {part.id: part.get("text") for part in parts if part.exists}
    return [texts.get(reference.id) for reference in references]


def _part_id(content: str, number: int) -> str:
    return f"{content}-{number:04}"
