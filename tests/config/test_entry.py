"""The decorator in real processes: what a user sees, and the status that a script sees."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

MAIN = '''
"""Practise scales."""
import sys
from pathlib import Path

from chatmusician.config.entry import command


@command("practise")
def main(cfg):
    """Practise scales until they are even.

    A second paragraph.
    """
    import json

    from chatmusician.errors import UserError

    heavy = sorted({"torch", "lightning", "numpy", "transformers"} & set(sys.modules))
    print(json.dumps({"tempo": cfg.tempo, "heavy": heavy}), flush=True)
    if cfg.do == "mistake":
        raise UserError("tempo 0 in practise.yaml: give a positive number")
    if cfg.do == "import":
        import a_package_that_is_not_installed
    if cfg.do == "full disk":
        Path("/dev/full").write_text("x")
    if cfg.do == "fault":
        raise RuntimeError("a string broke")
    if cfg.do == "instantiate":
        from hydra.utils import instantiate

        instantiate(cfg.reader)
    if cfg.do == "interrupt":
        raise KeyboardInterrupt
    if cfg.do == "wait":
        try:
            print("waiting", flush=True)
            while True:
                pass
        finally:
            Path("cleaned").write_text("up")
    if cfg.do == "objective":
        Path(f"objective-{cfg.tempo}").write_text(str(cfg.tempo))
    return float(cfg.tempo)


if __name__ == "__main__":
    main()
'''

PRACTISE = """\
# python -m chatmusician.practise tempo=60
defaults:
  - scale: major
  - _self_

tempo: 60 # beats a minute
do: null # what goes wrong
reader:
  _target_: pathlib.Path.read_text
  self:
    _target_: pathlib.Path
    _args_: [nowhere.abc]

hydra:
  run:
    dir: out/${now:%Y-%m-%d}
  sweep:
    dir: sweep
"""


@pytest.fixture
def folder(tmp_path):
    files = {
        "main.py": MAIN,
        "conf/practise.yaml": PRACTISE,
        "conf/scale/major.yaml": "notes: C D E F G A B\n",
        "conf/scale/minor.yaml": "notes: A B C D E F G\n",
        "own/experiment/slow.yaml": "# @package _global_\ndefaults:\n  - override /scale: minor\ntempo: 40\n",
        "own/experiment/fast.yaml": "# @package _global_\ntempo: 160\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def start(folder: Path, *arguments: str, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "main.py", "--config-path", str(folder / "conf"), *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(folder: Path, *arguments: str, **environment: str) -> tuple[int, str, str]:
    with start(folder, *arguments, **environment) as process:
        out, err = process.communicate()
    return process.returncode, out, err


def test_the_body_runs_on_the_accepted_config_and_nothing_heavy_is_imported_for_it(folder):
    assert run(folder, "tempo=72") == (0, '{"tempo": 72, "heavy": []}\n', "")
    assert list(folder.glob("out/*/.hydra/config.yaml"))


def test_cfg_job_prints_the_config_and_leaves_nothing_behind(folder):
    status, out, err = run(folder, "--cfg", "job", "--config-dir", "own", "+experiment=slow", "do=???")
    assert (status, err) == (0, "")
    assert out.startswith("scale:\n  notes: A B C D E F G\ntempo: 40\ndo: ???\n")
    assert not (folder / "out").exists()


def test_cfg_job_validates(folder):
    status, out, err = run(folder, "--cfg", "job", "tempi=3")
    assert (status, out) == (2, "")
    assert err == "error: tempi (command line): no such key; did you mean tempo?\n"


def test_a_refused_config_is_reported_whole_and_leaves_nothing_behind(folder):
    status, out, err = run(folder, "tempi=3", "scale.note=C", "scale=minr")
    assert (status, out) == (2, "")
    assert err.splitlines() == [
        "error: the configuration has 3 mistakes",
        "  scale=minr (command line): the group has no option 'minr'; did you mean scale=minor?",
        "  tempi (command line): no such key; did you mean tempo?",
        "  scale.note (command line): no such key; did you mean scale.notes?",
    ]
    assert not (folder / "out").exists()


def test_help_tells_what_there_is(folder):
    status, out, err = run(folder, "--help", "--config-dir", "own")
    assert (status, err) == (0, "")
    assert "Practise scales until they are even." in out
    assert "  scale  *major minor\n" in out
    assert "  tempo: 60 # beats a minute\n" in out
    assert "  slow  (from --config-dir)\n" in out
    assert "  python -m chatmusician.practise tempo=60" in out


@pytest.mark.parametrize(
    ("do", "status", "line"),
    [
        ("mistake", 1, "error: tempo 0 in practise.yaml: give a positive number\n"),
        ("instantiate", 1, "error: nowhere.abc: No such file or directory (in reader)\n"),
        ("import", 1, "error: the package 'a_package_that_is_not_installed' is not installed: install it or choose "),
        ("full disk", 1, "error: No space left on device\n"),
        ("interrupt", 130, "interrupted\n"),
    ],
)
def test_a_failure_is_one_line_and_a_status(folder, do, status, line):
    returned, _, err = run(folder, f"do={do}")
    assert returned == status
    assert err.startswith(line)
    assert err.count("\n") == 1


def test_a_part_of_the_config_can_be_shown(folder):
    assert run(folder, "--cfg", "job", "--package", "scale") == (0, "notes: C D E F G A B\n", "")
    assert run(folder, "--cfg", "hydra", "--package", "hydra.job.name") == (0, "practise\n", "")


def test_a_fault_of_ours_keeps_its_traceback_without_hydras_frames(folder):
    status, _, err = run(folder, "do=fault")
    assert status == 1
    assert err.startswith("Traceback (most recent call last):\n")
    assert err.endswith("RuntimeError: a string broke\n")
    assert "hydra" not in err


def test_the_whole_traceback_is_there_on_request(folder):
    status, _, err = run(folder, "do=mistake", HYDRA_FULL_ERROR="1")
    assert status == 1
    assert "run_job" in err


def test_a_folder_that_cannot_be_written_is_one_line(folder):
    (folder / "file").write_text("")
    status, out, err = run(folder, "hydra.run.dir=file/out")
    assert (status, out, err) == (1, "", "error: file/out: Not a directory\n")


def test_an_unknown_flag_has_the_status_of_a_usage_error(folder):
    status, _, err = run(folder, "--bogus")
    assert status == 2
    assert err.endswith("python -m chatmusician.practise: error: unrecognized arguments: --bogus\n")


def test_termination_runs_the_clean_up(folder):
    with start(folder, "do=wait") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == '{"tempo": 60, "heavy": []}\n'
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate()
    assert (process.returncode, err) == (143, "")
    assert (folder / "cleaned").read_text() == "up"


def test_a_sweep_runs_each_job(folder):
    status, _, err = run(folder, "-m", "--config-dir", "own", "+experiment=glob(*)", "do=objective", "+extra=1")
    assert status == 2
    assert err == "error: extra (command line): no such key; choose from: do, reader, scale, tempo\n"
    assert not (folder / "sweep").exists()
    status, _, err = run(folder, "-m", "--config-dir", "own", "+experiment=glob(*)", "do=objective")
    assert (status, err) == (0, "")
    assert (folder / "objective-40").exists()
    assert (folder / "objective-160").exists()


def test_a_recipe_may_be_a_sweep_by_itself(folder):
    sweep = "# @package _global_\nhydra:\n  mode: MULTIRUN\n  sweeper:\n    params:\n      tempo: 50,55\n"
    (folder / "own/experiment/both.yaml").write_text(sweep)
    status, out, err = run(folder, "--config-dir", "own", "+experiment=both")
    assert (status, err) == (0, "")
    assert [line for line in out.splitlines() if line.startswith("{")] == [
        '{"tempo": 50, "heavy": []}',
        '{"tempo": 55, "heavy": []}',
    ]


def test_failed_jobs_of_a_sweep_are_named(folder):
    status, _, err = run(folder, "-m", "tempo=1,2", "do=mistake")
    assert status == 1
    assert err.splitlines() == [
        "job 0 (tempo=1): error: tempo 0 in practise.yaml: give a positive number",
        "job 1 (tempo=2): error: tempo 0 in practise.yaml: give a positive number",
        "error: 2 of 2 jobs failed; sweep/summary.csv has all of them",
        "  job 0 (tempo=1): tempo 0 in practise.yaml: give a positive number",
        "  job 1 (tempo=2): tempo 0 in practise.yaml: give a positive number",
    ]


def test_a_reader_that_leaves_is_no_error(folder):
    with start(folder, "--cfg", "job") as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        err = process.stderr.read()
    assert "Traceback" not in err


def test_called_with_a_config_it_validates_and_returns_what_the_body_returns():
    from omegaconf import OmegaConf

    from chatmusician.config.entry import command
    from chatmusician.config.problems import ConfigError

    @command("practise")
    def main(cfg):
        return cfg.tempo * 2

    assert main(OmegaConf.create({"tempo": 30})) == 60
    with pytest.raises(ConfigError, match="tempo: a value is required"):
        main(OmegaConf.create({"tempo": "???"}))
