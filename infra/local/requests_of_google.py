"""Builds parts of requests of Google's services: bodies and attributes of Pub/Sub, and headers of Cloud Tasks."""

from base64 import b64encode
from datetime import UTC, datetime

from shared.adapters.sqlite.delivery import DEAD_LETTERS, Message, Task
from shared.adapters.sqlite.recheck_scheduler import QUEUES
from shared.adapters.sqlite.run_queue import TOPICS
from shared.adapters.sqlite.webhook_scheduler import WEBHOOKS_QUEUE
from shared.domain.json_text import to_text

FUNCTION_OF = {**dict.fromkeys(TOPICS.values(), "process_run"), DEAD_LETTERS: "bury_run"}
"""{topic: the function that its push subscription calls}"""
FUNCTION_OF_QUEUE = {**dict.fromkeys(QUEUES.values(), "recheck_run"), WEBHOOKS_QUEUE: "deliver_webhook"}
"""{queue: the function that its tasks call}"""


def push_body(topic: str, message: Message) -> bytes:
    """Returns the JSON body of a push request: https://cloud.google.com/pubsub/docs/push#receive_push"""
    publish_time = datetime.fromtimestamp(message.published_at, UTC).isoformat().replace("+00:00", "Z")
    pushed = {
        "data": b64encode(message.data.encode()).decode(),
        "attributes": dict(message.attributes),
        "messageId": str(message.id),
        "publishTime": publish_time,
    }
    subscription = f"projects/local/subscriptions/{FUNCTION_OF[topic].replace('_', '-')}"
    body = {"message": pushed, "subscription": subscription, "deliveryAttempt": message.deliveries}
    return to_text(body).encode()


def dead_letter_attributes(message: Message) -> dict[str, str]:
    """Returns the attributes that Pub/Sub adds to a dead letter.

    https://cloud.google.com/pubsub/docs/handling-failures#how_dead_letter_topics_work
    """
    return {
        "CloudPubSubDeadLetterSourceDeliveryCount": str(message.deliveries),
        "CloudPubSubDeadLetterSourceSubscription": "process-run",
    }


def task_headers(task: Task, *, queue: str) -> dict[str, str]:
    """Returns Cloud Tasks' own headers: https://cloud.google.com/tasks/docs/creating-http-target-tasks#handler"""
    return {
        "User-Agent": "Google-Cloud-Tasks",
        "X-CloudTasks-QueueName": queue,
        "X-CloudTasks-TaskName": task.name.rpartition("/")[2],
        "X-CloudTasks-TaskRetryCount": str(task.deliveries - 1),
        "X-CloudTasks-TaskExecutionCount": str(task.deliveries - 1),
    }
