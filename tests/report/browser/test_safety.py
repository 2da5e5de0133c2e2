"""Tokens and names that would like to be code stay text, and nothing but the page's own scripts runs."""

from __future__ import annotations

import pytest

from tests.report.browser.actions import pin
from tests.report.browser.example import CIRCUIT, write_example

EVIL = [
    "</script><img src=x onerror=alert(1)>",
    "<svg onload=alert(1)><!--",
    "javascript:alert(1)//'\"`${alert(1)}",
    "\u202eevil\u2066\u200f\x00",
    "\ud800<b>&lt;i&gt;",
]
NO_HANDLERS = """() => [...document.querySelectorAll('*')].every(
  (each) => !each.getAttributeNames().some((name) => name.startsWith('on')))"""


@pytest.mark.parametrize("text", EVIL, ids=ascii)
def test_hostile_text(opened, tmp_path, text):
    page = opened(write_example(tmp_path, text=text[:60]))
    pin(page, CIRCUIT.nodes[4])
    page.click("#curves-charts summary")
    page.select_option("#curves-prompt", "0")
    assert page.locator("img, b, i, svg[onload]").count() == page.locator("#details b").count()
    assert page.evaluate(NO_HANDLERS)
    content = page.evaluate("document.documentElement.textContent")
    assert not set(content) & set("\u202e\u2066\u200f\x00\ufffd")
    shown = page.locator("#details .tops .token").first.text_content()
    assert shown.split() == "".join(char if char.isprintable() else " " for char in text[:60]).split()


def test_no_other_script_runs(example, browser):
    context = browser.new_context()
    page = context.new_page()
    page.goto(example.as_uri())
    ran = page.evaluate(
        """() => {
          const inline = document.createElement('script');
          inline.textContent = 'window.ran = true';
          document.body.append(inline);
          const image = document.createElement('img');
          image.setAttribute('onerror', 'window.ran = true');
          image.src = 'data:image/png;base64,';
          document.body.append(image);
          return new Promise((done) => setTimeout(() => done(window.ran === true), 100));
        }"""
    )
    assert ran is False
    context.close()
