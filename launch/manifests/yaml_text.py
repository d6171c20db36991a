"""Objects as YAML that people read and edit: keys in the order given, texts of several lines as blocks."""

from collections.abc import Sequence
from typing import Any

import yaml

__all__ = ["as_yaml"]


class _Dumper(yaml.SafeDumper):
    """Lists are indented below their key, and nothing is an alias of anything else."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def as_yaml(objects: Sequence[dict[str, Any]], heading: str) -> str:
    """A document for each object, below a heading of comment lines."""
    return heading + "---\n".join(
        yaml.dump(one, Dumper=_Dumper, sort_keys=False, width=118, allow_unicode=True) for one in objects)
