"""A real OpenID Connect provider for tests (`provider.js`), and a browser that signs in at it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

FOLDER = Path(__file__).parent
CLIENT, SECRET = "organloop", "a-secret-of-the-test"


@contextmanager
def provider_of(redirect: str, accounts: Mapping[str, object]) -> Iterator[str]:
    """Run a provider that knows these accounts by their login; yield its address."""
    node = shutil.which("node")
    if node is None or not (FOLDER / "node_modules").is_dir():
        pytest.skip("the provider of the tests is not there (make provider, which needs npm)")
    command = [node, "provider.js", "0", redirect, json.dumps(accounts)]
    with subprocess.Popen(command, cwd=FOLDER, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield next(line.strip() for line in process.stdout if line.startswith("http"))
        finally:
            process.kill()


def sign_in(browser: httpx2.Client, address: str, login: str) -> httpx2.Response:
    """Open an address as a browser does that is sent to the provider; say a login and consent there."""
    page = browser.get(address, headers={"accept": "text/html"})
    while form := re.search(r'<form[^>]*action="(http[^"]*/interaction/[^"]*)"', page.text):
        prompt = re.search(r'name="prompt" value="(\w+)"', page.text)
        assert prompt is not None
        said = {"prompt": prompt[1], "login": login, "password": "any"}
        page = browser.post(form[1], data=said, headers={"accept": "text/html"})
    return page
