"""An extension of griffe: the comments behind the fields of a class become the table of its attributes in the API."""

import ast
from typing import Any

import griffe


class FieldComments(griffe.Extension):
    """Add a section `Attributes` to the docstring of each class whose fields have comments behind them."""

    def on_class_members(self, *, node: ast.AST | griffe.ObjectNode, cls: griffe.Class, agent: Any, **_: Any) -> None:
        """Called by griffe when it has read a class with all its members."""
        if not isinstance(node, ast.ClassDef) or cls.docstring is None:
            return
        lines = agent.code.splitlines()
        rows = []
        for field in node.body:
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and field.end_lineno:
                comment = lines[field.end_lineno - 1].partition("  # ")[2]
                if comment and not comment.startswith(("type:", "noqa", "fmt:")):
                    rows.append(f"    {field.target.id}: {comment[0].upper()}{comment[1:]}")
        if rows:
            cls.docstring.value = "\n".join([cls.docstring.value.rstrip(), "", "Attributes:", *rows])
