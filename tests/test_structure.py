"""Which part of alkit may import which, that no modules import each other, and how long all is."""

import ast
from itertools import pairwise
from pathlib import Path

from faults.plant import read_faults

ALKIT = Path(__file__).parents[1] / "alkit"
# The ground comes first. A module imports from its own layer and from those before it. Names are
# those right under alkit: of modules, or of folders with all that is in them.
LAYERS = [
    {"__init__", "arrays", "text", "threads"},
    {"frames", "detector", "profiles", "protocols"},
    {"boxes", "scores", "aggregation", "selection", "evaluation", "data", "street"},
    {"training", "prediction", "strategies", "catalog"},
    {"loop"},
    {"labeling"},
    {"pages"},
    {"studies"},
    {"cli", "__main__", "project"},
]
WINGS = {"data", "street", "loop", "labeling", "pages", "studies"}
LINES, LINES_OF_TOP = 16_332, 3_297  # at most, of Python and JavaScript
MODULES_OF_TOP, LINES_OF_MODULE = 19, 350  # at most


def modules() -> dict:
    """Files by module, as alkit.loop.runs."""
    return {_name(file): file for file in sorted(ALKIT.rglob("*.py"))}


def _name(file: Path) -> str:
    parts = file.relative_to(ALKIT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(files: dict) -> dict:
    """What each module imports of alkit, wherever it stands: {module: {imported: line}}."""
    found = {}
    for module, file in files.items():
        own = found.setdefault(module, {})
        for node in ast.walk(ast.parse(file.read_text())):
            for name in _names(node):
                # a name is a module, or of the module before its last point
                target = name if name in files else name.rpartition(".")[0]
                if name.split(".")[0] == "alkit":
                    own.setdefault(target, node.lineno)
    return found


def _names(node) -> list:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, "alkit imports by whole names"
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def part_of(module: str) -> str:
    """The name right under alkit."""
    return module.split(".")[1] if "." in module else "__init__"


def layer_of(module: str) -> int | None:
    return next((k for k, layer in enumerate(LAYERS) if part_of(module) in layer), None)


def circles(imported: dict) -> list:
    """Chains of modules that import each other, as lists that end where they start."""
    found, done = [], set()

    def follow(module, path):
        if module in path:
            found.append([*path[path.index(module) :], module])
        elif module not in done:
            for other in imported.get(module, {}):
                follow(other, [*path, module])
            done.add(module)

    for module in imported:
        follow(module, [])
    return found


def test_every_module_has_its_place():
    homeless = [str(file) for module, file in modules().items() if layer_of(module) is None]
    assert not homeless, f"{homeless}: right under alkit are the modules and folders of LAYERS"


def test_no_layer_imports_a_higher_one():
    files = modules()
    wrong = [
        f"{files[module]}:{line} imports {files[other]}"
        for module, own in imports(files).items()
        for other, line in own.items()
        if layer_of(other) > layer_of(module)
    ]
    assert not wrong, "\n".join(wrong)


def test_no_modules_import_each_other():
    files = modules()
    imported = imports(files)
    wrong = [
        ", ".join(
            f"{files[module]}:{imported[module][other]} imports {files[other]}"
            for module, other in pairwise(circle)
        )
        for circle in circles(imported)
    ]
    assert not wrong, "\n".join(wrong)


def test_alkit_grows_no_longer():
    """A change that needs more lines raises the number, and says why in its commit."""
    lines = {
        file: len(file.read_text().splitlines())
        for file in ALKIT.rglob("*")
        if file.suffix in (".py", ".js")
    }
    top = [n for file, n in lines.items() if file.relative_to(ALKIT).parts[0] not in WINGS]
    assert sum(lines.values()) <= LINES
    assert sum(top) <= LINES_OF_TOP
    assert len(top) <= MODULES_OF_TOP
    assert not {str(file): n for file, n in lines.items() if n > LINES_OF_MODULE}


def test_every_fault_has_its_place_in_the_code():
    assert len(read_faults()) >= 25  # each of which `make faults` plants
