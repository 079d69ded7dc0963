import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl

from chatmusician.config.composition import compose, search_path
from chatmusician.config.problems import ConfigError
from chatmusician.config.sweeps import accept_sweep

FILES = {
    "conf/train.yaml": """
        defaults:
          - model: nano
          - callbacks: default
          - _self_
        seed: 1234
        output: null
        data:
          rows: 8
        trainer:
          _target_: lightning.pytorch.trainer.trainer.Trainer
          max_steps: 10
    """,
    "conf/model/nano.yaml": """
        hidden: 64
        dropout: ${seed}
    """,
    "conf/model/llama.yaml": """
        hidden: 4096
        rope:
          factor: 2
    """,
    "conf/callbacks/default.yaml": """
        rate:
          _target_: lightning.pytorch.callbacks.LearningRateMonitor
          logging_interval: step
    """,
    "conf/model/broken.yaml": """
        hidden: [64
        dropout: 0
    """,
    "conf/extras/metronome.yaml": """
        tempo: 60
    """,
    "own/experiment/big.yaml": """
        # @package _global_
        defaults:
          - override /model: llama
        seed: 5
        model:
          rope:
            factor: 4
        callbacks:
          stop:
            _target_: lightning.pytorch.callbacks.EarlyStopping
            monitor: loss
    """,
    "own/experiment/bigger.yaml": """
        # @package _global_
        defaults:
          - big
          - _self_
        model:
          hidden: 8192
    """,
    "own/experiment/misspelt.yaml": """
        # @package _global_
        defaults:
          - big
          - _self_
        modle:
          hidden: 1
        data:
          row: 1
        model:
          rope:
            faktor: 4
        trainer:
          max_stepz: 5
    """,
    "own/experiment/headless.yaml": """
        seed: 5
    """,
    "own/experiment/lost.yaml": """
        # @package _global_
        defaults:
          - override /model: lama
    """,
}


@pytest.fixture
def folder(tmp_path):
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = text.strip("\n").splitlines()
        path.write_text("".join(f"{line[8:]}\n" for line in lines))
    return tmp_path


def composed(folder, *overrides):
    return compose("train", overrides, conf=folder / "conf", config_dir=folder / "own")


def refused(folder, *overrides):
    with pytest.raises(ConfigError) as error:
        composed(folder, *overrides)
    return [str(problem).replace(f"{folder}/", "") for problem in error.value.problems]


def test_the_job_is_composed_without_the_node_hydra(folder):
    assert composed(folder) == {
        "seed": 1234,
        "output": None,
        "data": {"rows": 8},
        "model": {"hidden": 64, "dropout": 1234},
        "callbacks": {
            "rate": {"_target_": "lightning.pytorch.callbacks.LearningRateMonitor", "logging_interval": "step"}
        },
        "trainer": {"_target_": "lightning.pytorch.trainer.trainer.Trainer", "max_steps": 10},
    }


def test_a_recipe_chooses_groups_adds_callbacks_and_extends_another(folder):
    cfg = composed(folder, "+experiment=bigger", "seed=6")
    assert cfg.model == {"hidden": 8192, "rope": {"factor": 4}}
    assert list(cfg.callbacks) == ["rate", "stop"]
    assert cfg.seed == 6


def test_every_mistake_of_overrides_and_recipe_is_reported_with_its_place(folder):
    assert refused(folder, "+experiment=misspelt", "seeed=3", "trainer.maxsteps=3", "callbacks=defalt") == [
        "callbacks=defalt (command line): the group has no option 'defalt'; did you mean callbacks=default?",
        "seeed (command line): no such key; did you mean seed?",
        "trainer.maxsteps (command line): no such key; did you mean trainer.max_steps?",
        "modle (own/experiment/misspelt.yaml:5): no such key; did you mean model?",
        "model.rope.faktor (own/experiment/misspelt.yaml:11): no such key; did you mean model.rope.factor?",
        "data.row (own/experiment/misspelt.yaml:8): no such key; did you mean data.rows?",
        "trainer.max_stepz (own/experiment/misspelt.yaml:13): lightning.pytorch.trainer.trainer.Trainer takes no such "
        "argument; did you mean trainer.max_steps?",
    ]


CHOICES = {
    "model=nanoo": "the group has no option 'nanoo'; did you mean model=nano?",
    "model=null": "a group cannot be null: remove it with ~model",
    "+experiment=biig": "there is no recipe 'biig'; did you mean big? list the recipes with "
    "python -m chatmusician.train --help",
    "+model=nano": "the group has an option already: write model=nano",
    "++model=nano": "a group takes one +: write +model=nano",
    "experiment=big": "the group is not in use by itself: write +experiment=big",
    "~extras": "nothing to remove; choose from: callbacks, model",
}
VALUES = {
    "modle=nano": "modle (command line): no such key; did you mean model?",
    "~modle": "modle (command line): no such key; did you mean model?",
    "model.hiden=1": "model.hiden (command line): no such key; did you mean model.hidden?",
    "~model.hiden": "model.hiden (command line): no such key; did you mean model.hidden?",
    "model.rope.factor=2": "model.rope.factor (command line): there is no key 'model.rope'; "
    "choose from: dropout, hidden",
    "output.folder=x": "output.folder (command line): output holds a single value, it has no key 'folder'",
    "+seed=1": "seed (command line): is set already: write seed=1",
    "hydra.run.dri=x": "hydra.run.dri (command line): no such key; did you mean hydra.run.dir?",
    "trainer.limit_val_batches=1": "trainer.limit_val_batches (command line): an argument that the config does not "
    "set: write +trainer.limit_val_batches=1",
    "~trainer.max_steps_": "trainer.max_steps_ (command line): no such key; did you mean trainer.max_steps?",
}
COMPOSED = {
    "+sead=1": "sead (command line): no such key; did you mean seed?",
    "+model.hiden=1": "model.hiden (command line): no such key; did you mean model.hidden?",
    "output=???": "output (command line): a value is required: set it with output=...",
    "data.rows=${sed}": "data.rows (command line): ${sed} cannot be resolved: Interpolation key 'sed' not found",
    "trainer=3": "trainer (command line): a mapping is declared here: give a mapping, a node with _target_, or null",
    "hydra.run.dir=${sed}": "hydra.run.dir (command line): cannot be resolved: Interpolation key 'sed' not found",
}


def test_wrong_group_choices_are_all_reported(folder):
    expected = [f"{override} (command line): {message}" for override, message in CHOICES.items()]
    assert refused(folder, *CHOICES) == expected


def test_wrong_values_are_all_reported(folder):
    assert refused(folder, *VALUES) == list(VALUES.values())


def test_values_that_do_not_fit_what_is_declared_are_all_reported(folder):
    assert sorted(refused(folder, *COMPOSED)) == sorted(COMPOSED.values())


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed=1,2", "several values: add --multirun to run one job each, or write seed=[1,2] for a list"),
        ("seed", "seed (command line): not an override of the form key=value: "),
        ("+experiment=headless", "(own/experiment/headless.yaml): a recipe of your own needs '# @package _global_'"),
        ("+experiment=lost", "model/lama (+experiment=lost): there is no such config; did you mean model/llama?"),
        ("hydra.job.chdir=maybe", "Value 'maybe' is not a valid bool"),
        ("model=broken", "conf/model/broken.yaml:2: not valid YAML, expected ',' or ']', but got ':'"),
    ],
)
def test_what_cannot_be_composed_is_one_line(folder, override, message):
    (line,) = refused(folder, override)
    assert message in line
    assert "\n" not in line


@pytest.mark.parametrize(
    "overrides",
    [
        ["model=llama", "+extras=metronome", "model.hidden=1", "+trainer.limit_val_batches=1", "~callbacks.rate"],
        ["~callbacks", "++trainer.limit_val_batches=1", "hydra.run.dir=elsewhere", "trainer={max_steps:5}"],
        ["callbacks.rate=null", "+callbacks.last={_target_:lightning.pytorch.callbacks.ModelCheckpoint}"],
    ],
)
def test_right_overrides_are_accepted(folder, overrides):
    composed(folder, *overrides)


def sweep_refused(folder, *overrides):
    loader = ConfigLoaderImpl(search_path(folder / "conf", folder / "own"))
    with pytest.raises(ConfigError) as error:
        accept_sweep(loader, "train", overrides)
    return [str(problem).replace(f"{folder}/", "") for problem in error.value.problems]


def test_a_sweep_is_held_to_the_rules_for_each_option(folder):
    assert sweep_refused(folder, "+experiment=big,misspelt,lost", "seeed=1,2") == [
        "seeed (command line): no such key; did you mean seed?",
        "modle (own/experiment/misspelt.yaml:5): no such key; did you mean model?",
        "model.rope.faktor (own/experiment/misspelt.yaml:11): no such key; did you mean model.rope.factor?",
        "data.row (own/experiment/misspelt.yaml:8): no such key; did you mean data.rows?",
        "trainer.max_stepz (own/experiment/misspelt.yaml:13): lightning.pytorch.trainer.trainer.Trainer takes no such "
        "argument; did you mean trainer.max_steps?",
        "model/lama (+experiment=lost): there is no such config; did you mean model/llama?",
    ]


def test_what_the_sweeper_itself_sweeps_over_is_checked_too(folder):
    primary = folder / "conf/train.yaml"
    primary.write_text(primary.read_text() + "hydra: {sweeper: {params: {model: 'nano,lama', seeed: 'range(1,3)'}}}\n")
    assert sweep_refused(folder) == [
        "seeed (command line): no such key; did you mean seed?",
        "model=lama (command line): the group has no option 'lama'; did you mean model=llama?",
    ]


def test_a_glob_that_matches_nothing(folder):
    (line,) = sweep_refused(folder, "+experiment=glob(xyz*)")
    assert line.startswith("+experiment=glob(xyz*) (command line): matches none of: ")


def test_a_folder_of_recipes_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"--config-dir .*nowhere: not a folder"):
        compose("train", conf=tmp_path, config_dir=tmp_path / "nowhere")
