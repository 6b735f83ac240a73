"""Sends one delivery of a webhook, records what came of it, and plans what follows."""

from datetime import datetime

from msgspec import Struct

from shared import log
from shared.domain.run import Run
from shared.domain.status import Kind
from shared.domain.webhook import SUBMIT, OrganizationWebhooks, signing_keys
from shared.domain.webhook_delivery import (
    HOLD_MARGIN,
    Answer,
    Delivery,
    DeliveryError,
    DeliveryTask,
    head_of,
    task_of,
)
from shared.domain.webhook_views import run_body, trial_body
from shared.errors import RunNotFound, SchedulerUnavailable
from shared.ports import Clock, RunStore, WebhookScheduler, WebhookSender, WebhookSigner, WebhookStore


class Receiver(Struct, frozen=True, kw_only=True):
    """Holds where a delivery goes, and the keys that sign it."""

    url: str
    keys: tuple[str, ...]


class DeliverWebhook(Struct, frozen=True, kw_only=True):
    webhooks: WebhookStore
    runs: RunStore
    sender: WebhookSender
    sign: WebhookSigner
    scheduler: WebhookScheduler
    clock: Clock

    async def __call__(self, task: DeliveryTask) -> None:
        """Tries the delivery once, unless the task is of an earlier turn or an earlier delivery has not ended.

        Raises StoreUnavailable, after which the call is to be repeated. A worker that dies during a try leaves a
        delivery whose lease ends; the sweeper then schedules it again, and the receiver may get the message twice.
        """
        delivery = await self.webhooks.delivery(task.delivery_id)
        if delivery is None or not delivery.is_pending or delivery.turn != task.turn:
            log.info("nothing to deliver", delivery_id=task.delivery_id)
            return
        chain = [delivery] if delivery.is_test else await self.webhooks.chain(delivery)
        head = head_of(chain)
        if head is not None and head.id != delivery.id:
            await self._hold(delivery, head)
            return
        was_gone = any(one.last_error == DeliveryError.GONE for one in chain if one.endpoint_id == SUBMIT)
        await self._deliver(delivery, was_gone=was_gone)

    async def _hold(self, delivery: Delivery, head: Delivery) -> None:
        """Leaves the delivery to whoever ends the earlier one, and to the sweeper if that is lost."""
        due_at = max(head.due_at or delivery.at, self.clock.now()) + HOLD_MARGIN
        if delivery.due_at is None or delivery.due_at < due_at:
            await self.webhooks.save(delivery.postponed(due_at))

    async def _deliver(self, delivery: Delivery, *, was_gone: bool) -> None:
        organization = await self.webhooks.organization(delivery.organization_id)
        run = await self._run(delivery)
        found = DeliveryError.GONE if was_gone else self._receiver(delivery, organization, run)
        if isinstance(found, DeliveryError):
            await self._save(delivery.given_up(found))
            return
        claimed = await self.webhooks.save(delivery.claimed(self.clock.now()))
        if claimed is None:
            log.info("delivery claimed by another worker", delivery_id=delivery.id)
            return
        answer = await self._send(claimed, run, found)
        now = self.clock.now()
        if not delivery.is_test:
            await self._note_health(delivery, organization, answer, now)
        log.info(
            "webhook tried", delivery_id=delivery.id, run_id=delivery.run_id, status=answer.code, code=answer.error
        )
        await self._save(claimed.answered(now, answer))

    async def _run(self, delivery: Delivery) -> Run | None:
        """Returns the run without a result that is too large for a delivery anyway; None when it is gone."""
        if delivery.run_id is None:
            return None
        try:
            run = await self.runs.get(delivery.run_id, with_result=False)
        except RunNotFound:
            return None
        return run if self.clock.now() < run.expires_at else None

    def _receiver(
        self, delivery: Delivery, organization: OrganizationWebhooks, run: Run | None
    ) -> Receiver | DeliveryError:
        """Returns where the delivery goes, or why it is given up."""
        if run is None and not delivery.is_test:
            return DeliveryError.RUN_GONE
        endpoint = organization.find(delivery.endpoint_id)
        if delivery.endpoint_id == SUBMIT:
            url = next((target.url for target in (run.webhooks if run else ()) if target.endpoint_id == SUBMIT), None)
            secrets = organization.secrets
        elif endpoint is None:
            return DeliveryError.ENDPOINT_DELETED
        elif not endpoint.enabled and not delivery.is_test:
            return DeliveryError.ENDPOINT_DISABLED
        else:
            url, secrets = endpoint.url, endpoint.secrets
        keys = signing_keys(secrets, self.clock.now())
        return Receiver(url=url, keys=keys) if url is not None and keys else DeliveryError.NO_SECRET

    async def _send(self, delivery: Delivery, run: Run | None, receiver: Receiver) -> Answer:
        if run is None:
            body = trial_body(delivery)
        else:
            content = {} if run.kind is Kind.JOB else await self.runs.load_input(run)
            body = run_body(delivery, run, content)
        headers = self.sign(delivery.id, self.clock.now(), body, keys=receiver.keys)
        return await self.sender.send(receiver.url, headers=headers, body=body)

    async def _note_health(
        self, delivery: Delivery, organization: OrganizationWebhooks, answer: Answer, now: datetime
    ) -> None:
        """Records in the endpoint's record that it began to fail or to work again, or that it is disabled now.

        This comes before the delivery is saved: a worker that dies in between leaves a delivery that is tried again.
        """
        received, gone = answer.error is None, answer.error is DeliveryError.GONE
        endpoint = organization.find(delivery.endpoint_id)
        if endpoint is None or endpoint.after_try(now, received=received, gone=gone) == endpoint:
            return

        def change(current: OrganizationWebhooks) -> OrganizationWebhooks:
            found = current.find(delivery.endpoint_id)
            if found is None:
                return current
            return current.with_changed(found.after_try(now, received=received, gone=gone))

        changed = (await self.webhooks.change(delivery.organization_id, change)).find(delivery.endpoint_id)
        if changed is not None and not changed.enabled:
            log.warning("webhook endpoint disabled", webhook_id=changed.id, reason=changed.disabled_reason)

    async def _save(self, changed: Delivery) -> None:
        """Saves the delivery and schedules what follows: its next try, or the next delivery of its run.

        The sweeper schedules what a worker that dies here leaves behind.
        """
        saved = await self.webhooks.save(changed)
        if saved is None:
            log.info("delivery changed meanwhile", delivery_id=changed.id)
            return
        following, reason = saved, ""
        if not saved.is_pending and not saved.is_test:
            head = head_of(await self.webhooks.chain(saved))
            following, reason = head or saved, f"after-{saved.sequence}-{saved.turn}"
        if following.is_pending:
            at = following.due_at if following is saved and following.due_at else self.clock.now()
            await self._schedule(task_of(following, reason), at)

    async def _schedule(self, task: DeliveryTask, at: datetime) -> None:
        try:
            await self.scheduler.schedule(task, at=at)
        except SchedulerUnavailable:
            log.info("delivery not scheduled; the sweeper will", delivery_id=task.delivery_id)
