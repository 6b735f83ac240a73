"""The cache in front of a directory: how long it keeps records, how many, and what it does not keep."""

from shared.adapters.directory_cache import CachedDirectory
from shared.domain.directory import Model, Organization, Profile, ReferenceFile, StyleGuide
from tests.unit.world import TestClock


class RecordingDirectory:
    """Returns a profile and an organization for each id in `existing`; notes the calls."""

    def __init__(self, *existing: str) -> None:
        self.existing = set(existing)
        self.calls: list[str] = []

    async def profile(self, user_id: str) -> Profile | None:
        self.calls.append(f"profile {user_id}")
        return Profile(user_id=user_id, organization_id="acme") if user_id in self.existing else None

    async def organization(self, organization_id: str) -> Organization | None:
        self.calls.append(f"organization {organization_id}")
        return Organization(id=organization_id, name="", deployment="") if organization_id in self.existing else None

    async def model(self, model_id: str) -> Model | None:
        self.calls.append(f"model {model_id}")
        return None

    async def style_guide(self, style_guide_id: str) -> StyleGuide | None:
        return StyleGuide(id=style_guide_id, organization_id="acme")

    async def reference_file(self, file_id: str) -> ReferenceFile | None:
        return ReferenceFile(id=file_id, organization_id="acme")


async def test_a_record_is_kept_for_one_minute() -> None:
    clock = TestClock()
    cache = CachedDirectory(directory := RecordingDirectory("demo"), clock)
    for seconds, calls in ((0, 1), (59, 1), (1, 2)):
        clock.forward(seconds)
        profile = await cache.profile("demo")
        assert profile is not None and profile.user_id == "demo"
        assert len(directory.calls) == calls


async def test_a_missing_record_is_looked_up_each_time() -> None:
    cache = CachedDirectory(directory := RecordingDirectory(), TestClock())
    assert await cache.profile("new") is None and await cache.model("new") is None
    directory.existing.add("new")
    assert await cache.profile("new") is not None


async def test_missing_records_take_no_room_from_others() -> None:
    cache = CachedDirectory(directory := RecordingDirectory("a"), TestClock(), max_records=1)
    for user_id in ("a", "missing", "a"):
        await cache.profile(user_id)
    assert directory.calls == ["profile a", "profile missing"]


async def test_records_of_different_kinds_may_have_the_same_id() -> None:
    cache = CachedDirectory(RecordingDirectory("acme"), TestClock())
    for _ in range(2):
        assert isinstance(await cache.profile("acme"), Profile)
        assert isinstance(await cache.organization("acme"), Organization)


async def test_a_full_cache_drops_the_record_used_longest_ago() -> None:
    cache = CachedDirectory(directory := RecordingDirectory("a", "b", "c"), TestClock(), max_records=2)
    for user_id in ("a", "b", "a", "c", "a", "b"):
        await cache.profile(user_id)
    assert directory.calls == ["profile a", "profile b", "profile c", "profile b"]
