"""Light and dark, narrow and wide, still and printed."""

from __future__ import annotations

from tests.report.browser.actions import picture


def brightness(page):
    """Mean brightness of the page at the picture's corner, and of the picture's own ink."""
    return page.evaluate(
        """() => {
          const canvas = document.getElementById('canvas');
          const copy = document.createElement('canvas');
          Object.assign(copy, {width: canvas.width, height: canvas.height});
          const context = copy.getContext('2d', {willReadFrequently: true});
          context.drawImage(canvas, 0, 0);
          const {data} = context.getImageData(0, 0, copy.width, copy.height);
          let ink = 0, count = 0;
          for (let i = 0; i < data.length; i += 4) {
            if (data[i + 3] > 200) { ink += (data[i] + data[i + 1] + data[i + 2]) / 3; count += 1; }
          }
          const paper = getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number);
          return [paper.reduce((a, b) => a + b) / 3, ink / count];
        }"""
    )


def test_the_picture_follows_the_scheme(opened, example):
    page = opened(example, color_scheme="light")
    picture(page)
    paper, ink = brightness(page)
    assert ink < paper - 60
    page.emulate_media(color_scheme="dark")
    picture(page)
    paper, ink = brightness(page)
    assert ink > paper + 60


def test_nothing_is_wider_than_the_window(page):
    for width in (1600, 700, 400):
        page.set_viewport_size({"width": width, "height": 800})
        picture(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert 300 < page.locator("#canvas").bounding_box()["width"] <= width


def test_reduced_motion(opened, example):
    """The first frames after a press have the final view."""
    page = opened(example, reduced_motion="reduce")
    start = picture(page)
    page.evaluate("document.getElementById('zoom-in').click()")
    at_once = picture(page)
    page.wait_for_timeout(400)
    assert picture(page) == at_once != start


def test_without_scripts(browser, example):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(example.as_uri())
    assert page.is_hidden("#graph")
    assert "The 20 strongest edges" in page.inner_text("#circuit")
    assert "MLPs that raise the answer" in page.inner_text("#roles")
    context.close()
