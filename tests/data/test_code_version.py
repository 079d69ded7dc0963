"""The hash of the code that makes documents: what changes it, and whose code it is."""

import ast
import importlib
from importlib.util import find_spec
from pathlib import Path

import pytest

from chatmusician.data import chorales, folk
from chatmusician.data.code_version import code_version, modules_of

FIRST = '''"""What it does."""

def double(number):
    """Twice the number."""
    return 2 * number  # exactly
'''


@pytest.mark.parametrize(
    ("text", "same"),
    [
        (FIRST.replace("What it does.", "Doubling."), True),
        (FIRST.replace("Twice the number.", "Two of it."), True),
        (FIRST.replace("  # exactly", ""), True),
        (FIRST.replace("2 * number", "(2\n     * number)"), True),
        (FIRST.replace("2 * number", "3 * number"), False),
        (FIRST.replace("double", "treble"), False),
    ],
)
def test_what_the_code_does_counts_and_not_how_it_is_described(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, same: bool
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    for name, content in (("first_rule", FIRST), ("second_rule", text)):
        (tmp_path / f"{name}.py").write_text(content)
    importlib.invalidate_caches()
    code_version.cache_clear()
    assert (code_version(("first_rule",)) == code_version(("second_rule",))) is same


def test_the_modules_of_a_package_are_all_of_them() -> None:
    found = modules_of("chatmusician.data", "chatmusician.music")
    assert {"chatmusician.data", "chatmusician.data.folk", "chatmusician.music.theory.topics.meters"} <= set(found)
    assert all(find_spec(name) for name in found)
    assert code_version(found) != code_version(found[1:])


@pytest.mark.parametrize("rules", [folk.RULES, chorales.RULES], ids=["folk", "chorales"])
def test_the_rules_of_a_corpus_are_all_that_it_imports(rules: tuple[str, ...]) -> None:
    """Apart from what does not touch the text: errors, this hash, and the protocol of corpora."""
    apart = {"chatmusician.errors", "chatmusician.data.code_version", "chatmusician.data.units"}
    for module in rules:
        spec = find_spec(module)
        assert spec is not None and spec.origin is not None
        for node in ast.walk(ast.parse(Path(spec.origin).read_text())):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("chatmusician."):
                assert node.module in {*rules, *apart}, f"{module} imports {node.module}"
