"""YAML as people write it, with each key of a mapping only once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from gateway.errors import ConfigError

MERGE = "tag:yaml.org,2002:merge"


def read_yaml(path: Path) -> Any:
    """Return what a YAML (or JSON) file says.

    Raises ConfigError if the file cannot be read, is not valid YAML, or gives a key of one mapping twice.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _UniqueKeys)  # noqa: S506  a kind of SafeLoader
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from None
    except _TwiceError as error:
        raise ConfigError(f"{path}: {error}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None


class _TwiceError(Exception):
    """A key that appears twice in one mapping."""


class _UniqueKeys(yaml.SafeLoader):
    """A safe loader that refuses what PyYAML lets pass: the last of two equal keys would win.

    YAML 1.2.2, section 3.2.1.1: the keys of a mapping are unique (https://yaml.org/spec/1.2.2/#nodes). What a merge
    (`<<`) brings in may be replaced by the mapping's own keys, and is no second key.
    """

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Compose a mapping, and compare its keys before any merge is carried out."""
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        lines: dict[Any, int] = {}
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag == MERGE:
                continue  # a key that is a list or a mapping is refused when it is constructed
            key, line = self.construct_object(key_node), key_node.start_mark.line + 1
            if key in lines:
                raise _TwiceError(
                    f"line {line}: the key {key!r} appears twice in one mapping, first in line {lines[key]}"
                )
            lines[key] = line
        return node
