"""Pages of the site that are made from other files: the API, a page a package, and the notebooks of `examples/`.

A hook of MkDocs (see `mkdocs.yml`).
"""

import base64
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "mmer_pipeline"
NOTEBOOKS = ROOT / "examples"
BESIDE = "modules"  # the page of the modules beside the packages


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the API's pages at the end of the navigation."""
    assert isinstance(config.nav, list)
    config.nav.append({"API": ["api/index.md", *(f"api/{name}.md" for name in _api())]})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages to the site's files."""
    api = _api()
    for name, modules in api.items():
        files.append(File.generated(config, f"api/{name}.md", content=_api_page(name, modules)))
    files.append(File.generated(config, "api/index.md", content=_api_index(api)))
    for notebook in sorted(NOTEBOOKS.glob("*.ipynb")):
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        name = notebook.stem.replace("_", "-")
        pictures: dict[str, bytes] = {}
        text = "\n\n".join(part for cell in cells for part in _cell(cell, name, pictures))
        files.append(File.generated(config, f"{name}.md", content=text))
        for path, data in pictures.items():
            files.append(File.generated(config, path, content=data))
    return files


def _api() -> dict[str, list[str]]:
    """Page → the modules on it: a page a package, one for the modules beside them."""
    pages: dict[str, list[str]] = {}
    for path in sorted(LIBRARY.rglob("*.py")):
        parts = path.relative_to(LIBRARY).with_suffix("").parts
        if parts[-1].startswith("_"):
            continue
        pages.setdefault(parts[0] if len(parts) > 1 else BESIDE, []).append(".".join(("mmer_pipeline", *parts)))
    return {name: pages[name] for name in sorted(pages, key=lambda name: (name == BESIDE, name))}


def _api_page(name: str, modules: list[str]) -> str:
    title = "Modules beside the packages" if name == BESIDE else f"mmer_pipeline.{name}"
    options = "    options:\n      members: false\n      show_root_heading: false"
    intro = [] if name == BESIDE else [f"::: mmer_pipeline.{name}\n{options}"]
    return "\n\n".join([f"# {title}", *intro, *(f"::: {module}" for module in modules)]) + "\n"


def _api_index(api: Mapping[str, list[str]]) -> str:
    rows = [
        f"| [{'modules beside the packages' if name == BESIDE else name}]({name}.md) | "
        + ", ".join(f"[{module.rsplit('.', 1)[1]}]({name}.md#{module})" for module in modules)
        + " |"
        for name, modules in api.items()
    ]
    text = (
        "# API\n\nThe public modules, classes and functions of `mmer_pipeline`. The command line is built from them "
        "and adds nothing but options and tables: what a command does, a script can do.\n\n| package | modules |\n"
        "| --- | --- |\n"
    )
    return text + "\n".join(rows) + "\n"


def _cell(cell: Mapping[str, Any], page: str, pictures: dict[str, bytes]) -> Iterator[str]:
    """A notebook's cell in Markdown; `pictures` gets what it shows."""
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        yield source
        return
    magic, _, rest = source.partition("\n")
    if magic == "%%bash":
        yield f"```sh\n{rest}\n```"
    elif magic.startswith("%%writefile "):
        name = magic.split()[1]
        yield f'```{Path(name).suffix[1:]} title="{name}"\n{rest}\n```'
        return  # it says no more than that it was written
    else:
        yield f"```python\n{source}\n```"
    for output in cell["outputs"]:
        data = output.get("data", {})
        if "image/png" in data:
            path = f"{page}-{len(pictures) + 1}.png"
            pictures[path] = base64.b64decode(data["image/png"])
            yield f"![{cell['metadata'].get('alt', 'the picture that the code above draws')}]({path})"
        elif text := "".join(output.get("text", data.get("text/plain", ""))).rstrip():
            yield f"```text\n{text}\n```"
