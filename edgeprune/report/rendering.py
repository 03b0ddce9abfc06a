"""Fill the templates: a page as HTML, in one piece or in parts that are replaced one by one."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from edgeprune.report.blocks import Block, Page

if TYPE_CHECKING:
    from jinja2 import Environment

PACKAGE = "edgeprune.report"
HERE = Path(__file__).parent
STYLE, SCRIPT = HERE / "style.css", HERE / "page.js"


def page_text(
    page: Page, template: str = "page.html.jinja", package: str = PACKAGE, **further: object
) -> str:
    """Return a page as HTML; all texts in it are escaped.

    Args:
        page: what is on it.
        template: its name.
        package: that has it, or else this one.
        further: what the template knows besides.
    """
    style, script = (Markup(path.read_text(encoding="utf-8")) for path in (STYLE, SCRIPT))
    rendered = _environment(package).get_template(template)
    return rendered.render(page=page, show=_show, style=style, script=script, **further)


def page_parts(page: Page) -> dict[str, str]:
    """Return the parts of a page as HTML by the id of the element that they are in, the sections last and in order."""
    parts: Any = _environment().get_template("parts.html.jinja").module
    texts = {"head": parts.head(page), "links": parts.links(page), "foot": Markup.escape(page.foot)}
    texts |= {section.anchor: parts.content(section, _show) for section in page.sections}
    return {name: str(text).strip() for name, text in texts.items()}


def _show(block: Block) -> str:
    """Return a block as HTML."""
    shown: Any = _environment().get_template("blocks.html.jinja").module
    macro: Callable[[Block], str] = getattr(shown, type(block).__name__.lower())
    return macro(block)


@cache
def _environment(package: str = PACKAGE) -> "Environment":
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=ChoiceLoader([PackageLoader(name, ".") for name in dict.fromkeys((package, PACKAGE))]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=False,
    )
