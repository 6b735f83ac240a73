"""Which requests a front end's folder of pages answers, and which go to the functions."""

from pathlib import Path

import pytest
from starlette.responses import FileResponse

from infra.local.embedded.pages import Pages


@pytest.fixture
def pages(tmp_path: Path) -> Pages:
    folder = tmp_path / "public"
    (folder / "guide").mkdir(parents=True)
    (folder / "empty").mkdir()
    (folder / "index.html").write_text("start")
    (folder / "guide" / "index.html").write_text("guide")
    (folder / "app.js").write_text("app")
    (folder / "404.html").write_text("missing")
    (tmp_path / "secret.txt").write_text("secret")
    return Pages(folder)


async def found(pages: Pages, path: str, *, method: str = "GET", type: str = "http") -> str | None:
    scope = {"type": type, "method": method, "path": path, "headers": [], "query_string": b"", "root_path": ""}
    response = await pages.find({**scope, "scheme": "http", "server": ("127.0.0.1", 80)})
    return None if response is None else _shown(response)


def _shown(response: object) -> str:
    if isinstance(response, FileResponse):
        return Path(response.path).read_text()
    return str(response.headers["location"])  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("path", "text"), [("/", "start"), ("/app.js", "app"), ("/guide/", "guide"), ("/guide/index.html", "guide")]
)
async def test_a_file_that_is_there_is_served(pages: Pages, path: str, text: str) -> None:
    assert await found(pages, path) == text
    assert await found(pages, path, method="HEAD") == text


async def test_a_folder_without_its_slash_is_redirected_so_that_relative_links_work(pages: Pages) -> None:
    assert str(await found(pages, "/guide")).endswith("/guide/")


@pytest.mark.parametrize(
    "path",
    ["/api/llm/jobs/", "/empty/", "/../secret.txt", "/guide/../../secret.txt", "//etc/passwd", "/\0", "/" + "x" * 5000],
)
async def test_everything_else_goes_to_the_functions(pages: Pages, path: str) -> None:
    assert await found(pages, path) is None


async def test_requests_that_change_something_go_to_the_functions(pages: Pages) -> None:
    assert await found(pages, "/", method="POST") is None
    assert await found(pages, "/", type="lifespan") is None
