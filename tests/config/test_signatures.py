"""What is read from source is held against what Python itself says after importing."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.utils import get_object

from chatmusician.config.paths import conf_dir, experiments_dir
from chatmusician.config.signatures import UnknownTargetError, read_signature

THIRD_PARTY = [
    "lightning.Trainer",
    "lightning.pytorch.trainer.trainer.Trainer",
    "lightning.pytorch.strategies.DeepSpeedStrategy",
    "lightning.pytorch.strategies.deepspeed.DeepSpeedStrategy",
    "lightning.pytorch.callbacks.ModelCheckpoint",
    "lightning.pytorch.callbacks.LearningRateMonitor",
    "lightning.pytorch.callbacks.RichProgressBar",
    "lightning.pytorch.loggers.CSVLogger",
    "lightning.pytorch.loggers.TensorBoardLogger",
    "lightning.pytorch.loggers.WandbLogger",
    "peft.LoraConfig",
    "torch.nn.Linear",
    "torch.optim.AdamW",
    "torch.utils.data.DataLoader",
    "transformers.get_cosine_schedule_with_warmup",
    "transformers.models.auto.tokenization_auto.AutoTokenizer.from_pretrained",
    "transformers.models.llama.modeling_llama.LlamaForCausalLM",
]


def configured_targets() -> list[str]:
    files = [*conf_dir().rglob("*.yaml"), *experiments_dir().glob("*.yaml")]
    lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    return sorted({match[1] for line in lines if (match := re.search(r"_target_: *([\w.]+)", line))})


@pytest.mark.parametrize("target", [*THIRD_PARTY, *(t for t in configured_targets() if t not in THIRD_PARTY)])
def test_source_and_import_agree(target):
    imported = get_object(target)
    is_class = inspect.isclass(imported)
    parameters = list(inspect.signature(imported.__init__ if is_class else imported).parameters.values())
    parameters = parameters[1:] if is_class else parameters  # self
    if is_class and imported.__init__ is object.__init__:  # it is said to take anything, and takes nothing
        parameters = []
    by_keyword = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    read = read_signature(target)
    if not (read.takes_any_keyword and not read.parameters):  # a lazily built package: nothing is claimed
        assert [(p.name, p.required) for p in read.parameters] == [(p.name, p.default is p.empty) for p in by_keyword]
        assert read.takes_any_keyword == any(p.kind is p.VAR_KEYWORD for p in parameters)


@pytest.mark.parametrize("target", [t for t in configured_targets() if t.startswith("chatmusician.")])
def test_our_own_targets_take_named_arguments_only(target):
    assert not read_signature(target).takes_any_keyword


def test_the_trainer_has_its_41_arguments_and_the_deepspeed_strategy_46():
    assert len(read_signature("lightning.pytorch.trainer.trainer.Trainer").parameters) == 41
    assert len(read_signature("lightning.pytorch.strategies.deepspeed.DeepSpeedStrategy").parameters) == 46


def test_reading_imports_nothing():
    script = (
        "import sys\n"
        "from chatmusician.config.signatures import read_signature\n"
        f"for target in {THIRD_PARTY!r}: read_signature(target)\n"
        "print(sorted({'torch', 'lightning', 'peft', 'transformers', 'numpy'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert shown.stdout == "[]\n"


SHAPES = '''
import abc
import dataclasses
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, ClassVar, Generic, Mapping, TypeVar, overload

from .other import Renamed as Alias
from .other import *

T = TypeVar("T")


class Plain:
    def __init__(self, tune, /, bar, *, key: str = "D", **rest): ...


class Inherits(Generic[T], Plain):
    """Its __init__ is that of Plain, not of Generic."""


class Left(abc.ABC):
    def __init__(self, left): ...


class Right(Left):
    def __init__(self, right): ...


class Mixin(Left): ...


class Diamond(Mixin, Right):
    """C3 puts Right before Left."""


class Nothing: ...


@dataclass(frozen=True, kw_only=True)
class Base:
    count: ClassVar[int] = 0
    seed: int
    lr: float = 1e-4


@dataclasses.dataclass
class Fields(Base):
    _: KW_ONLY
    names: list[str] = field(default_factory=list)
    path: str = field(repr=False)
    cache: dict[str, int] = field(init=False, default_factory=dict)


class Makes:
    def __init_subclass__(cls): dataclass(cls)


@dataclass
class Made(Makes):
    seed: int


class Loader:
    @classmethod
    def load(cls, name: str, revision="main"): ...

    @staticmethod
    def read(path): ...


class Loads(Loader): ...


@overload
def play(abc: str) -> bytes: ...
@overload
def play(abc: bytes) -> bytes: ...
def play(abc, tempo=120): ...


try:
    from a_package_that_is_not_installed import sing
except ImportError:
    def sing(tune, options: Mapping[str, Any] | None = None, plain: int = 0, untyped=None): ...


song = sing
made = dataclasses.make_dataclass("made", ["a"])
'''

OTHER = """
def _hidden(a): ...
class Renamed:
    def __init__(self, alias): ...
def starred(star): ...
"""


@pytest.fixture
def shapes(tmp_path, monkeypatch):
    """A package of the shapes that targets come in; named after the test's folder, since what is read is cached."""
    name = re.sub(r"\W", "_", f"shapes_{tmp_path.name}")
    package = tmp_path / name
    package.mkdir()
    (package / "__init__.py").write_text(SHAPES)
    (package / "other.py").write_text(OTHER)
    (package / "broken.py").write_text("def oops(:\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


@pytest.mark.parametrize(
    ("name", "names", "required", "any_keyword"),
    [
        ("Plain", "bar key", "bar", True),
        ("Inherits", "bar key", "bar", True),
        ("Diamond", "right", "right", False),
        ("Nothing", "", "", False),
        ("Base", "seed lr", "seed", False),
        ("Fields", "seed lr names path", "seed path", False),
        ("Made", "", "", True),
        ("Loader.load", "name revision", "name", False),
        ("Loads.load", "name revision", "name", False),
        ("Loader.read", "path", "path", False),
        ("play", "abc tempo", "abc", False),
        ("song", "tune options plain untyped", "tune", False),
        ("Alias", "alias", "alias", False),
        ("starred", "star", "star", False),
        ("other.starred", "star", "star", False),
        ("made", "", "", True),
    ],
)
def test_shapes(shapes, name, names, required, any_keyword):
    read = read_signature(f"{shapes}.{name}")
    assert read.names == tuple(names.split())
    assert [parameter.name for parameter in read.parameters if parameter.required] == required.split()
    assert read.takes_any_keyword is any_keyword


def test_positional_only_arguments_are_not_keywords(shapes):
    assert read_signature(f"{shapes}.Plain").positional_only == ("tune",)


def test_which_arguments_are_free_form(shapes):
    read = read_signature(f"{shapes}.song")
    assert [p.free_form for p in read.parameters] == [True, True, False, True]  # tune and untyped carry no annotation


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Plian", "has no 'Plian' (of '{0}.Plian'); did you mean Plain?"),
        ("othr.starred", "'{0}' has no 'othr' (of '{0}.othr.starred'); did you mean other?"),
        ("other._hiden", "has no '_hiden'"),
        ("other", "'{0}.other' is a module, not a class or function; choose from: Renamed, starred"),
        ("Loader.lod", "'{0}.Loader' has no 'lod' (of '{0}.Loader.lod'); did you mean load?"),
        ("broken.oops", "broken.py:1, which has invalid syntax"),
    ],
)
def test_a_wrong_target_is_named_with_the_closest_right_one(shapes, name, message):
    with pytest.raises(UnknownTargetError) as refused:
        read_signature(f"{shapes}.{name}")
    assert message.format(shapes) in str(refused.value)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("Trainer", "'Trainer' is not a dotted path to a class or function"),
        ("lightning..Trainer", "'lightning..Trainer' is not a dotted path"),
        ("lightening.Trainer", "there is no package 'lightening'"),
        ("lightning.Trainr", "did you mean Trainer?"),
    ],
)
def test_a_target_that_leads_nowhere(target, message):
    with pytest.raises(UnknownTargetError, match=re.escape(message)):
        read_signature(target)


def test_what_has_no_source_is_accepted_with_any_keyword():
    for target in ("builtins.dict", "torch.device", "math.sqrt"):
        assert read_signature(target).takes_any_keyword


def test_the_file_of_a_module_is_found_without_importing_its_parents():
    from chatmusician.config.modules import find_module

    spec = find_module("lightning.pytorch.trainer.trainer")
    assert spec is not None
    assert spec.origin is not None
    assert Path(spec.origin).parts[-4:] == ("lightning", "pytorch", "trainer", "trainer.py")
