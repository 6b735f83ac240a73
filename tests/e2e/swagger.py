"""The page /docs as a person uses it: opens operations, reads them, authorizes, and executes requests."""

from typing import Any

from playwright.async_api import Locator, Page

READ = """
(block) => {
  const all = (selector) => [...block.querySelectorAll(selector)];
  return {
    parameters: all("tr[data-param-name]").map((row) => row.dataset.paramName),
    body: all(".opblock-section-request-body").length > 0,
    statuses: all(".responses-table:not(.live-responses-table) tr.response").map((row) => row.dataset.code),
  };
}
"""


async def list_operations(page: Page) -> set[str]:
    """Returns the names of the operations that the page lists."""
    blocks = page.locator(".opblock")
    await blocks.first.wait_for()
    return {str(await block.get_attribute("id")).rpartition("-")[2] for block in await blocks.all()}


async def read_operation(page: Page, operation: str) -> dict[str, Any]:
    """Returns the names of the operation's parameters, whether it has a body, and its statuses.

    One operation is open at a time: Swagger UI draws all open ones anew with every change.
    """
    block = _block(page, operation)
    await _open(block)
    seen = await _read(block)
    await _close(block)
    return seen


async def _read(block: Locator) -> dict[str, Any]:
    seen: dict[str, Any] = await block.evaluate(READ)
    return seen


async def authorize(page: Page, token: str) -> None:
    await page.locator(".auth-wrapper .authorize").click()
    dialog = page.locator(".dialog-ux")
    await dialog.locator("input[type=text]").first.fill(token)
    await dialog.locator(".authorize").first.click()
    await dialog.locator("button", has_text="Logout").first.wait_for()
    await dialog.locator(".btn-done").first.click()


async def execute(page: Page, operation: str, **fields: str) -> dict[str, Any]:
    """Returns the operation, the status and the body that the page shows, and what read_operation returns."""
    block = _block(page, operation)
    await _open(block)
    description = await _read(block)
    for name, value in fields.items():
        await block.locator(f'tr[data-param-name="{name}"] input').fill(value)
    await block.locator("button.execute").click()
    answer = block.locator(".live-responses-table .response")
    shown = {
        "body": await answer.locator(".highlight-code code").first.inner_text(),
        "status": await answer.locator(".response-col_status").inner_text(),
    }
    await _close(block)
    answered = {name: text.strip() for name, text in shown.items()}
    return {"operation": operation, "description": description, **answered}


def _block(page: Page, operation: str) -> Locator:
    return page.locator(f'[id$="-{operation}"].opblock')


async def _open(block: Locator) -> None:
    await _toggle(block)
    await block.locator(".responses-table .response").first.wait_for()


async def _close(block: Locator) -> None:
    await _toggle(block)
    await block.locator(".responses-table").first.wait_for(state="detached")


async def _toggle(block: Locator) -> None:
    """Sends the event alone: a click of the mouse scrolls and draws this long page, which takes twice the time."""
    await block.locator(".opblock-summary-control").dispatch_event("click")
