"""What of a run is too large for its document, in documents below it: `llm_runs/{id}/parts/{result-0000}`."""

from collections.abc import Sequence
from typing import Any

from google.cloud.firestore import AsyncClient
from google.cloud.firestore_v1.async_batch import AsyncWriteBatch

from shared.adapters.gcp.bounds import bounded, calling
from shared.adapters.storage.parts import OUTLIVE
from shared.domain.run import Run
from shared.errors import StoreUnavailable

PARTS = "parts"


def add_parts(batch: AsyncWriteBatch, reference: Any, run: Run, what: str, texts: Sequence[str]) -> None:
    """TTL knows nothing of what stands below a document: parts expire by themselves, after their run."""
    for number, text in enumerate(texts):
        values = {"text": text, "expires_at": run.expires_at + OUTLIVE}
        batch.set(reference.collection(PARTS).document(_name(what, number)), values)


async def part_texts(firestore: AsyncClient, reference: Any, what: str, count: int) -> list[str | None]:
    """None for a part that is not there."""
    if count == 0:
        return []
    references = [reference.collection(PARTS).document(_name(what, number)) for number in range(count)]
    async with calling(StoreUnavailable):
        parts = [part async for part in firestore.get_all(references, **bounded())]
    found = {part.id: part.get("text") for part in parts if part.exists}
    return [found.get(reference.id) for reference in references]


def _name(what: str, number: int) -> str:
    return f"{what}-{number:04}"
