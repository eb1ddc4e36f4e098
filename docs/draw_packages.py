"""Draw `docs/packages.svg` from the imports in the source: which package imports which.

A box is `stages`, a package of `mmer_pipeline`, or a module beside the packages. A box stands above everything that it
imports. An arrow is left out where a longer way says the same: beside stages → cross_validation → training there is no
arrow from stages to training. Modules that import no package are tools for all: they are drawn in a row below,
without arrows.
"""

import ast
import math
from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter
from html import escape
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "packages.svg"
LIBRARY, COMMANDS = "mmer_pipeline", "stages"

BOX_WIDTH, BOX_HEIGHT = 112, 34
COLUMN, ROW, MARGIN = 130, 84, 16
SWEEPS = 40  # up and down over the rows, until nothing moves

Graph = Mapping[str, frozenset[str]]
Layer = list[str]


def imports(root: Path = ROOT) -> Graph:
    """Box → the boxes it imports, function-level and type-checking imports included."""
    found: dict[str, set[str]] = {}
    for folder in (LIBRARY, COMMANDS):
        for path in sorted((root / folder).rglob("*.py")):
            box = _box(path.relative_to(root).with_suffix("").parts)
            if box is not None:
                targets = {_box(tuple(name.split("."))) for name in _imported(path)}
                found.setdefault(box, set()).update(target for target in targets if target not in (None, box))
    return {box: frozenset(found[box] & set(found)) for box in sorted(found)}


def _box(parts: tuple[str, ...]) -> str | None:
    """The box that a module belongs to: `mmer_pipeline.corpora.folds` to `corpora`."""
    if parts[0] == COMMANDS:
        return COMMANDS
    if parts[0] != LIBRARY or len(parts) < 2 or parts[1].startswith("__"):
        return None
    return parts[1]


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def layers(graph: Graph) -> list[Layer]:
    """Boxes by layer, the lowest first: each is one above the highest that it imports.

    Raises:
        graphlib.CycleError: the imports form a circle.
    """
    height: dict[str, int] = {}
    for box in TopologicalSorter(graph).static_order():
        height[box] = 1 + max((height[other] for other in graph[box]), default=-1)
    found: list[Layer] = [[] for _ in range(1 + max(height.values()))]
    for box in sorted(height):
        found[height[box]].append(box)
    return found


def reduced(graph: Graph) -> Graph:
    """The graph without the arrows that a longer way implies."""

    def reachable(box: str) -> set[str]:
        return set(graph[box]).union(*(reachable(other) for other in graph[box]))

    return {
        box: frozenset(other for other in targets if not any(other in reachable(via) for via in targets))
        for box, targets in graph.items()
    }


def tools(graph: Graph, packages: frozenset[str]) -> list[str]:
    """The modules beside the packages that import no package, not even by way of another module."""

    def is_tool(box: str) -> bool:
        return box not in packages and all(is_tool(other) for other in graph[box])

    return [box for box in graph if is_tool(box)]


def draw(graph: Graph, packages: frozenset[str]) -> str:
    """The picture as SVG; `packages` are the boxes that are folders.

    Raises:
        graphlib.CycleError: the imports form a circle.
    """
    layers(graph)  # refuses a circle
    below = tools(graph, packages)
    upper = {box: targets - set(below) for box, targets in graph.items() if box not in below}
    rows, ways = _with_bends(layers(upper), reduced(upper))
    x = _across(rows, ways)
    span = max(x.values()) - min(x.values()) + BOX_WIDTH
    width = max(span, len(below) * COLUMN) + 2 * MARGIN
    shift = (width - span + BOX_WIDTH) / 2 - min(x.values())
    place = {
        name: (x[name] + shift, MARGIN + (len(rows) - 1 - level) * ROW + BOX_HEIGHT / 2)
        for level, row in enumerate(rows)
        for name in row
    }
    bottom = MARGIN + len(rows) * ROW
    start = (width - len(below) * COLUMN) / 2
    height = bottom + BOX_HEIGHT + 2 * MARGIN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" font-family="sans-serif" '
        'font-size="14">',
        "<title>Packages and what they import</title>",
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8z" fill="#78909c"/></marker></defs>',
        f'<rect width="{width:g}" height="{height:g}" rx="8" fill="#ffffff"/>',
        f'<text x="{width / 2:g}" y="{bottom - 12:g}" text-anchor="middle" fill="#546e7a">used by any of them:</text>',
        *(_arrow([place[name] for name in way]) for way in ways),
        *(_drawn(name, *place[name], name in packages) for row in rows for name in row if name in graph),
        *(
            _drawn(name, start + (number + 0.5) * COLUMN, bottom + BOX_HEIGHT / 2, False)
            for number, name in enumerate(below)
        ),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _with_bends(rows: list[Layer], arrows: Graph) -> tuple[list[Layer], list[list[str]]]:
    """The rows with a place wherever a long arrow passes, and each arrow's way from box to box."""
    rows = [list(row) for row in rows]
    level = {box: number for number, row in enumerate(rows) for box in row}
    ways = []
    for box in sorted(arrows):
        for other in sorted(arrows[box]):
            between = [f"{box}>{other}@{number}" for number in range(level[box] - 1, level[other], -1)]
            for name in between:
                rows[int(name.rsplit("@", 1)[1])].append(name)
            ways.append([box, *between, other])
    return rows, ways


def _across(rows: list[Layer], ways: list[list[str]]) -> dict[str, float]:
    """The x of each place: row after row moves to the mean of what it is joined to, as far as there is room."""
    joined: dict[str, list[str]] = {}
    for way in ways:
        for upper, lower in pairwise(way):
            joined.setdefault(upper, []).append(lower)
            joined.setdefault(lower, []).append(upper)
    x = {name: (column - len(row) / 2) * COLUMN for row in rows for column, name in enumerate(sorted(row))}
    for sweep in range(SWEEPS):
        for row in rows if sweep % 2 else reversed(rows):
            wanted = {
                name: sum(x[other] for other in joined.get(name, [name])) / len(joined.get(name, [name]))
                for name in row
            }
            row.sort(key=lambda name, wanted=wanted: (round(wanted[name], 3), name))  # type: ignore[misc]
            for name, before in zip(row, [None, *row], strict=False):
                room = -math.inf if before is None else x[before] + _apart(name, before)
                x[name] = max(wanted[name], room)
            back = sum(wanted[name] - x[name] for name in row) / len(row)
            x.update({name: round(x[name] + back, 1) for name in row})
    return x


def _apart(name: str, before: str) -> float:
    """How far the middles of two neighbours are apart: a passing arrow needs less room than a box."""
    return sum(16 if ">" in place else COLUMN / 2 for place in (name, before))


def _arrow(points: list[tuple[float, float]]) -> str:
    (x, y), *rest = points
    path = f"M{x:g} {y + BOX_HEIGHT / 2:g}"
    y += BOX_HEIGHT / 2
    for number, (next_x, next_y) in enumerate(rest, start=1):
        last = number == len(rest)
        end = next_y - BOX_HEIGHT / 2 - (2 if last else 0)
        middle = (y + end) / 2
        path += f"C{x:g} {middle:g} {next_x:g} {middle:g} {next_x:g} {end:g}"
        x, y = next_x, end
        if not last:
            y = next_y + BOX_HEIGHT / 2
            path += f"V{y:g}"
    return f'<path d="{path}" fill="none" stroke="#78909c" stroke-width="1.3" marker-end="url(#head)"/>'


def _drawn(name: str, x: float, y: float, is_package: bool) -> str:
    fill, dash = ("#e0f2f1", "") if is_package else ("#fafafa", ' stroke-dasharray="4 3"')
    label = f"{name}/" if is_package else f"{name}.py"
    return (
        f'<rect x="{x - BOX_WIDTH / 2:g}" y="{y - BOX_HEIGHT / 2:g}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="5" '
        f'fill="{fill}" stroke="#00695c"{dash}/>'
        f'<text x="{x:g}" y="{y + 5:g}" text-anchor="middle" fill="#102027">{escape(label)}</text>'
    )


def picture(root: Path = ROOT) -> str:
    """The picture of the source below `root`."""
    graph = imports(root)
    return draw(graph, frozenset(box for box in graph if box == COMMANDS or (root / LIBRARY / box).is_dir()))


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")
