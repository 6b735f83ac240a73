"""Signs deliveries as Standard Webhooks defines it: https://github.com/standard-webhooks/standard-webhooks"""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import datetime
from secrets import token_bytes

from standardwebhooks import Webhook

PREFIX = "whsec_"
SECRET_BYTES = 32


def new_secret() -> str:
    """Returns a random key such as whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw, with the key in Base64."""
    return PREFIX + b64encode(token_bytes(SECRET_BYTES)).decode()


def sign(message_id: str, at: datetime, body: str, *, keys: Sequence[str]) -> Mapping[str, str]:
    """Returns the three headers. While a secret is rotated the signature header has one signature for each key."""
    signatures = [Webhook(key).sign(message_id, at, body) for key in keys]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(signatures),
    }
