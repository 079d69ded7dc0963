import pytest

from chatmusician.config.origins import Layer, find_origin


@pytest.fixture
def layers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.yaml").write_text("seed: 1\nmodel:\n  layers: 2\n")
    (tmp_path / "nano.yaml").write_text("# small\nlayers: 4\nheads: 2\n")
    (tmp_path / "recipe.yaml").write_text("model:\n  layers: 6\ncorpora:\n- name: folk\n- name: bach\n  keys: [C]\n")
    return [
        Layer(file=tmp_path / "nano.yaml", package="model"),
        Layer(file=tmp_path / "train.yaml", package=""),
        Layer(file=tmp_path / "recipe.yaml", package=""),
    ]


@pytest.mark.parametrize(
    ("path", "origin"),
    [
        ("seed", "train.yaml:1"),
        ("model.layers", "recipe.yaml:2"),
        ("model.heads", "nano.yaml:3"),
        ("model", "recipe.yaml:1"),
        ("corpora.1.keys", "recipe.yaml:6"),
        ("corpora.1", "recipe.yaml:5"),
        ("corpora.2", None),
        ("seed.deeper", None),
        ("optim", None),
    ],
)
def test_the_last_file_that_sets_a_key_is_named_with_the_line(layers, path, origin):
    assert find_origin(path, layers) == origin


def test_a_file_elsewhere_is_named_in_full(layers, tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert find_origin("seed", layers) == f"{tmp_path}/train.yaml:1"
