"""How sphinx makes the documentation site of the pages in this directory.

`python -m sphinx -W --keep-going docs build/docs` (with the `docs` extra) makes it, and fails where a link within it
leads nowhere. It needs no network. `-t online` adds links to the pages of Python and trio; `-b linkcheck` looks whether
the links to other sites are good: both need the network.
"""

from __future__ import annotations

import sphinx.application
from sphinx.util.tags import Tags

import trionetchan

tags: Tags = globals()["tags"]  # sphinx puts it there

project = "trionetchan"
author = "The trionetchan developers"
copyright = author  # noqa: A001
version = release = trionetchan.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.intersphinx", "sphinx_copybutton", "sphinxcontrib_trio"]
exclude_patterns = ["_static", "pictures"]
nitpicky = True
# Names in docstrings, as `Limits` or `open_importer`, lead to what they name; other code in them stays as it is.
default_role = "py:obj"
nitpick_ignore_regex = [
    ("py:.*", r"(?!trionetchan\.).*"),  # names of other packages, and code in a docstring that is no name
    (
        "py:obj",
        r"trionetchan\.(audit|wire|channel|cancelled|testing\.pytest_plugin)",
    ),  # names that are none of Python's
    (
        "py:class",
        r"trionetchan\..*\b(_\w+|[A-Z])\b.*",
    ),  # private types in the signatures of public ones; type variables
]

# Markdown

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4  # as the site of the repository makes them, so that links to headings lead there from both

# The reference

autodoc_use_legacy_class_based = True  # sphinxcontrib-trio builds on it
autodoc_mock_imports = ["coredis", "opentelemetry"]  # of extras, which the site can do without
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
if tags.has("online"):
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3", None),
        "trio": ("https://trio.readthedocs.io/en/stable", None),
    }

# Links to other sites, for `-b linkcheck`

linkcheck_timeout = 20
linkcheck_retries = 2
linkcheck_anchors_ignore_for_url = [r"https://github\.com/.*"]  # it makes its anchors with JavaScript
linkcheck_ignore = [r"https?://(localhost|127\.0\.0\.1|example\.org|.*\.example)([:/].*)?$"]

# The pages

html_theme = "furo"
html_title = f"trionetchan {version}"
html_static_path = ["_static"]
html_css_files = ["tables.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "source_repository": "https://github.com/trionetchan/trionetchan/",
    "source_branch": "main",
    "source_directory": "docs/",
}
copybutton_exclude = ".linenos, .gp"


def for_users(_app: object, _what: str, _name: str, _object: object, _options: object, lines: list[str]) -> None:
    """Leaves out what a docstring says to those who read the code: why a class is long."""
    lines[:] = [line for line in lines if not line.startswith("Longer than other classes because")]


def without_manager(
    _app: object, _what: str, _name: str, _object: object, _options: object, signature: str, returned: str | None
) -> tuple[str, str | None]:
    """Of what is used with `async with` it counts what that gives, not what the call returns."""
    return signature, None if "AbstractAsyncContextManager[" in (returned or "") else returned


def setup(app: sphinx.application.Sphinx) -> None:
    app.connect("autodoc-process-docstring", for_users)
    app.connect("autodoc-process-signature", without_manager)
