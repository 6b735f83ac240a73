"""What the checks of `make check-infra` share."""

from pathlib import Path

import pytest

from tests.infra.provider_schema import ProviderSchema

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def schema() -> ProviderSchema:
    [wheel] = (ROOT / ".data" / "check-infra").glob("cdktf_cdktf_provider_google-*.whl")
    return ProviderSchema.from_wheel(wheel)
