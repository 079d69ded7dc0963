import pytest
from omegaconf import OmegaConf

from chatmusician.config.problems import ConfigError, Problem, closest, suggestion
from chatmusician.config.validation import find_problems, validate

TRAINER = "lightning.pytorch.trainer.trainer.Trainer"
LOGGER = "lightning.pytorch.loggers.CSVLogger"
STRATEGY = "lightning.pytorch.strategies.deepspeed.DeepSpeedStrategy"
CHECKPOINT = "lightning.pytorch.callbacks.model_checkpoint.ModelCheckpoint"


def problems(config, schema=None, **options):
    schema = None if schema is None else OmegaConf.create(schema)
    return {p.path: p.message for p in find_problems(OmegaConf.create(config), schema=schema, **options)}


def test_a_sound_config_has_no_problems():
    config = {
        "seed": 1,
        "trainer": {"_target_": TRAINER, "max_steps": "${seed}", "strategy": {"_target_": STRATEGY, "stage": 2}},
        "callbacks": [{"_target_": CHECKPOINT, "every_n_train_steps": 5}],
    }
    assert problems(config, schema=config) == {}
    validate(OmegaConf.create(config), schema=OmegaConf.create(config))


def test_all_mistakes_come_in_one_error():
    config = {
        "trainer": {"_target_": TRAINER, "max_step": 3, "strategy": {"_target_": STRATEGY, "stagee": 2}},
        "callbacks": [{"_target_": CHECKPOINT, "every_n_step": 5}],
        "output": "???",
    }
    with pytest.raises(ConfigError) as refused:
        validate(OmegaConf.create(config))
    assert str(refused.value).splitlines() == [
        "the configuration has 4 mistakes",
        f"  trainer.max_step: {TRAINER} takes no such argument; did you mean trainer.max_steps?",
        f"  trainer.strategy.stagee: {STRATEGY} takes no such argument; did you mean trainer.strategy.stage?",
        f"  callbacks.0.every_n_step: {CHECKPOINT} takes no such argument; "
        "did you mean callbacks.0.every_n_train_steps?",
        "  output: a value is required: set it with output=...",
    ]


def test_one_mistake_is_one_line():
    with pytest.raises(ConfigError) as refused:
        validate(OmegaConf.create({"output": "???"}))
    assert str(refused.value) == "output: a value is required: set it with output=..."


@pytest.mark.parametrize(
    ("node", "path", "message"),
    [
        ({"_target_": "lightning.Trainr"}, "x._target_", "'lightning' has no 'Trainr'"),
        ({"_target_": "lightening.Trainer"}, "x._target_", "no package 'lightening'"),
        (
            {"_target_": LOGGER},
            "x.save_dir",
            "CSVLogger requires it: set it with +x.save_dir",
        ),
        ({"_target_": LOGGER, "save_dir": "???"}, "x.save_dir", "a value is required: set it with x.save_dir=..."),
        ({"_target_": TRAINER, "_recusive_": False}, "x._recusive_", "did you mean x._recursive_?"),
        ({"_target_": "builtins.dict", "_partail_": True}, "x._partail_", "did you mean x._partial_?"),
    ],
)
def test_calls_that_cannot_be_made(node, path, message):
    found = problems({"x": node})
    assert list(found) == [path]
    assert message in found[path]


@pytest.mark.parametrize(
    "node",
    [
        {"_target_": LOGGER, "_partial_": True},
        {"_target_": LOGGER, "_args_": ["logs"]},
        {"_target_": LOGGER, "save_dir": None},
        {"_target_": "lightning.pytorch.loggers.WandbLogger", "notes": "for wandb.init, through **kwargs"},
        {"_target_": "builtins.dict", "anything": 1},
    ],
)
def test_calls_that_can_be_made(node):
    assert problems({"x": node}) == {}


SCHEMA = {
    "data": {"seq_len": 2048, "workers": None},
    "callbacks": {"checkpoint": {"_target_": CHECKPOINT}},
    "options": {},
    "logger": None,
}


@pytest.mark.parametrize(
    ("change", "path", "message"),
    [
        ({"data": {"seq_length": 1024}}, "data.seq_length", "no such key; did you mean data.seq_len?"),
        ({"dta": {"seq_len": 1024}}, "dta", "no such key; did you mean data?"),
        (
            {"callbacks": {"chekpoint": {"save_last": True}}},
            "callbacks.chekpoint",
            "did you mean callbacks.checkpoint?",
        ),
        ({"logger": {"name": "x"}}, "logger", "takes a single value or a node with _target_, not a mapping"),
        ({"dta": {"_target_": TRAINER}}, "dta", "did you mean data?"),
        ({"options": {"x": {"_target_": TRAINER, "max_stepz": 1}}}, "options.x.max_stepz", "options.x.max_steps?"),
    ],
)
def test_what_a_recipe_may_not_add(change, path, message):
    found = problems(OmegaConf.merge(SCHEMA, change), schema=SCHEMA)
    assert list(found) == [path]
    assert message in found[path]


@pytest.mark.parametrize(
    "change",
    [
        {"data": {"seq_len": 1024, "workers": 2}},
        {"callbacks": {"last": {"_target_": CHECKPOINT, "save_last": True}}},
        {"callbacks": {"checkpoint": None}},
        {"options": {"zero_optimization": {"stage": 2}}},
        {"logger": {"_target_": LOGGER, "save_dir": "logs"}},
    ],
)
def test_what_a_recipe_may_change(change):
    assert problems(OmegaConf.merge(SCHEMA, change), schema=SCHEMA) == {}


def test_an_argument_annotated_as_a_dict_takes_any_keys():
    schema = {"strategy": {"_target_": STRATEGY, "config": {"zero_optimization": {"stage": 2}}}}
    change = {"strategy": {"config": {"bf16": {"enabled": True}, "zero_optimization": {"overlap_comm": True}}}}
    assert problems(OmegaConf.merge(schema, change), schema=schema) == {}


def test_another_argument_is_held_to_what_is_declared():
    schema = {"trainer": {"_target_": TRAINER, "callbacks": {"checkpoint": {"_target_": CHECKPOINT}}}}
    change = {"trainer": {"callbacks": {"chekpoint": {"save_last": True}}}}
    assert list(problems(OmegaConf.merge(schema, change), schema=schema)) == ["trainer.callbacks.chekpoint"]


def test_a_new_target_brings_its_own_arguments():
    schema = {"logger": {"_target_": LOGGER, "save_dir": "logs"}}
    change = {"logger": {"_target_": "lightning.pytorch.loggers.WandbLogger", "project": "tunes"}}
    assert problems(OmegaConf.merge(schema, change), schema=schema) == {}


def test_a_required_value_is_let_stand_where_the_config_is_only_shown():
    assert problems({"output": "???"}, allow_missing=True) == {}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("${sed}", "${sed} cannot be resolved: Interpolation key 'sed' not found"),
        ("${oc.env:CHATMUSICIAN_NOT_SET}", "Environment variable 'CHATMUSICIAN_NOT_SET' not found"),
        ("${no.such:1}", "Unsupported interpolation type no.such"),
    ],
)
def test_interpolations_that_do_not_resolve(value, message):
    found = problems({"data": {"seed": value}})
    assert list(found) == ["data.seed"]
    assert message in found["data.seed"]


def test_hydras_own_node_is_passed_over():
    assert problems({"hydra": {"run": "???"}}, schema={}) == {}


def test_suggestions():
    assert closest("seq_length", ["seq_len", "seed"]) == "seq_len"
    assert closest("qqq", ["seq_len", "seed"]) is None
    assert suggestion("qqq", ["b", "a"]) == "choose from: a, b"
    assert suggestion("qqq", []) == "remove it: nothing is accepted here"


def test_a_problem_names_the_place_that_set_it():
    assert str(Problem(path="a.b", message="no such key", origin="x.yaml:3")) == "a.b (x.yaml:3): no such key"
