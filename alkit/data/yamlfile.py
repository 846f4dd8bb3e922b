"""YAML that people write: catalogs and experiments."""

from pathlib import Path

import yaml


class _UniqueKeys(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # C, where PyYAML has it
    """YAML that does not let a second entry of the same name replace the first."""

    def construct_mapping(self, node, deep=False):
        lines = {}
        for key in [key for key, _ in node.value if not key.tag.endswith(":merge")]:
            name, line = str(self.construct_object(key, deep=True)), key.start_mark.line + 1
            if name in lines:
                raise yaml.YAMLError(f"line {line}: {name} stands already in line {lines[name]}")
            lines[name] = line
        return super().construct_mapping(node, deep)


def read_yaml(path: Path):
    """What a YAML file says. Raises ValueError that names file and line, also for a name twice."""
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _UniqueKeys)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not valid YAML: {error}") from None
