"""Shows the circuit breakers of this process by the deployments and models whose servers they belong to."""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from shared.adapters.llm.http import LlmHttpPools
from shared.adapters.llm.provider import find_base_url
from shared.domain.directory import LlmApi, Model
from shared.ports import BreakerState


class BreakersOfPools(Struct, frozen=True, kw_only=True):
    """Implements the port CircuitBreakers. A server has one breaker in each of the pools that call it."""

    deployments: Mapping[str, str]
    """{name of a deployment: base URL of its LLM}"""
    pools: Sequence[LlmHttpPools]

    def of_deployment(self, deployment: str) -> BreakerState | None:
        return self._state(find_base_url(self.deployments, model=None, deployment=deployment, api=LlmApi.LLM_JOBS))

    def of_model(self, model: Model) -> BreakerState | None:
        return self._state(find_base_url(self.deployments, model=model, deployment=model.deployment, api=model.api))

    def _state(self, base_url: str | None) -> BreakerState | None:
        """Returns the state of the server's breaker that holds calls back the longest."""
        if base_url is None:
            return None
        breakers = [found for pools in self.pools if (found := pools.breaker(base_url)) is not None]
        states = [
            BreakerState(failures=one.failures, is_open=one.is_open, retry_seconds=one.remaining_seconds)
            for one in breakers
        ]
        return max(states, key=lambda state: (state.is_open, state.retry_seconds, state.failures), default=CLOSED)


CLOSED = BreakerState()
