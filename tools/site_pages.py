"""A hook of mkdocs: pages from outside of docs/ become pages of the site, and links to them lead there.

Files keep the links that work in a checkout and on a forge. A link to a file that is no page of the site is an error.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
# Files of the repository, and the pages of the site that show them.
OUTSIDE = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md",
           "plugins/README.md": "plugins.md"}
_LINK = re.compile(r"(\[[^\]]*\])\((?![a-z]+:|#)([^)\s#]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages from outside; called by mkdocs."""
    for source, name in OUTSIDE.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, name, content=as_linked(text, source)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Redirect the links of a page of docs/; called by mkdocs."""
    return markdown if page.file.src_uri in OUTSIDE.values() else as_linked(markdown, f"docs/{page.file.src_uri}")


def as_linked(text: str, source: str) -> str:
    """Markdown of the file `source` with its links as they are on the site, where all pages are in one folder.

    Raises:
        PluginError: a link leads to a file that the site does not have.
    """
    def link(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), match[2]))
        inside = OUTSIDE.get(target) or target.removeprefix("docs/")
        if target not in OUTSIDE and not target.startswith("docs/"):
            raise PluginError(f"{source} links to {match[2]}, which is no page of the site: add it to OUTSIDE in "
                              "tools/site_pages.py, or name it without a link")
        return f"{match[1]}({inside}{match[3] or ''})"
    return _LINK.sub(link, text)
