"""The built pages ask no other host for anything.

Scripts and stylesheets of other hosts are dropped, a policy in each page lets the reader's browser
enforce it, and the two libraries that pages need (formulas, charts) are put beside the pages.
"""

import importlib.util
import os
import re
import shutil
from importlib.metadata import version
from pathlib import Path

import vl_convert
from sphinx.application import Sphinx

from models import charts

POLICY = (
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'self' 'unsafe-inline' "
    "'unsafe-eval' data: blob: file:\" />"
)
FONT_PRELOAD = re.compile(r'<link rel="preload" as="font"[^>]*>\s*')


def drop_external(app, pagename, templatename, context, doctree):
    """Keep the page's own scripts and stylesheets only."""
    for kind in ("script_files", "css_files"):
        context[kind] = [asset for asset in context.get(kind, []) if _local(asset)]
    context["metatags"] = POLICY + context.get("metatags", "")
    context["default_mode"] = "auto"


def _local(asset) -> bool:
    name = str(getattr(asset, "filename", None) or "")
    return "//" not in name and "sphinx-thebe" not in name


def without_thebe(app: Sphinx, config) -> None:
    """Jupyter Book always loads sphinx-thebe, which names another host in every page."""
    for listeners in list(app.events.listeners.values()):
        for listener in list(listeners):
            if listener.handler.__module__.startswith("sphinx_thebe"):
                app.disconnect(listener.id)


def drop_preloads(folder: Path) -> None:
    """Under file:// a browser refuses to preload fonts and says so in its console."""
    for page in folder.rglob("*.html"):
        text = page.read_text("utf-8")
        page.write_text(FONT_PRELOAD.sub("", text), "utf-8")


def write_libraries(app: Sphinx, error: Exception | None) -> None:
    """Put the formulas' and the charts' library and the colour schemes into the built book."""
    if error or app.builder.format != "html":
        return
    static = Path(app.outdir) / "_static"
    (static / "schemes.css").write_text(charts.stylesheet(), "utf-8")
    shutil.copyfile(_mathjax(), static / "tex-svg.js")
    drop_preloads(Path(app.outdir))
    (static / "vega.js").write_text(_vega(Path(app.outdir).parent), "utf-8")


def _mathjax() -> Path:
    package = importlib.util.find_spec("sphinx-mathjax-offline")
    assert package and package.origin
    return Path(package.origin).parent / "static" / "mathjax" / "tex-svg.js"


def _vega(folder: Path) -> str:
    """The charts' library as a classic script; made once for a version, which takes seconds."""
    kept = folder / f".vega-{version('vl-convert-python')}.js"
    if not kept.exists():
        bundle = vl_convert.javascript_bundle()  # type: ignore[call-arg]
        kept.write_text(f"(function () {{\n{bundle}\n}})();\n", "utf-8")
    return kept.read_text("utf-8")


def declare_stylesheet(app: Sphinx) -> None:
    """Sphinx wants to see a stylesheet before it names it in a page."""
    if app.builder.format == "html":
        static = Path(app.outdir) / "_static"
        os.makedirs(static, exist_ok=True)
        (static / "schemes.css").write_text(charts.stylesheet(), "utf-8")


def setup(app: Sphinx) -> dict:
    app.config.mathjax_path = "tex-svg.js"
    app.connect("config-inited", without_thebe, priority=1)
    app.connect("builder-inited", declare_stylesheet)
    app.connect("html-page-context", drop_external, priority=999)
    app.connect("build-finished", write_libraries)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
