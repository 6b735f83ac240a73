"""A REDIS_URL that cannot work stops the start, and is not repeated there: it may carry a password."""

import pytest

from shared.errors import ConfigurationError
from shared.settings import from_environment


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost",
        "redis://:canary@10.0.0.3:6379/1",
        "redis://[::1]:6379?db=2",
        "rediss://user:can%2Fary@cache.example:6380/0?ssl_ca_certs=/ca.pem&ssl_cert_reqs=required",
        "unix:///run/redis.sock?db=1",
        "unix://:canary@/run/redis.sock",
    ],
)
def test_a_redis_url_is_taken_and_never_shown(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("REDIS_URL", url)
    settings = from_environment()
    assert settings.redis_url == url
    assert url not in repr(settings) and "canary" not in repr(settings)


@pytest.mark.parametrize(
    "url",
    [
        "http://canary",
        "canary:6379",
        "redis://",
        "redis:///1",
        "redis://:canary@",
        "redis://h:0",
        "redis://h:70000",
        "redis://h:port",
        "redis://:can/ary@h:6379",
        "redis://:can#ary@h:6379",
        "redis://h/canary",
        "redis://h?socket_timeout=60",
        "redis://h?ssl_cert_reqs=none",
        "rediss://h/0#canary",
        "unix://",
        "rediss://[::1",
    ],
)
def test_an_unusable_redis_url_is_a_problem_that_does_not_quote_it(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("REDIS_URL", url)
    with pytest.raises(ConfigurationError, match="REDIS_URL must be redis://") as raised:
        from_environment()
    assert "canary" not in raised.value.message and "ary@" not in raised.value.message


def test_without_redis_url_there_is_no_redis() -> None:
    assert from_environment().redis_url is None
