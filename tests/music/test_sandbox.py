import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from chatmusician.errors import UserError
from chatmusician.music.sandbox import CHILDREN, FILES_PRODUCED, OUTPUT_BYTES, ToolError, run_child, run_tool

MIB = 1024**2


def python(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-I", "-c", code, *arguments]


def test_result_holds_what_the_tool_left() -> None:
    code = (
        "import sys, pathlib; text = pathlib.Path('given.txt').read_text();"
        "pathlib.Path('made.txt').write_text(text.upper()); print('out'); print('err', file=sys.stderr); sys.exit(3)"
    )
    result = run_tool(python(code), files={"given.txt": b"abc"})
    assert (result.exit_status, result.stdout, result.stderr) == (3, b"out\n", b"err\n")
    assert result.files == {"made.txt": b"ABC"}


@pytest.mark.parametrize("ending", ["", "import os; os.abort()", "while True: pass"])
def test_directory_is_fresh_and_removed_however_the_tool_ends(tmp_path: Path, ending: str) -> None:
    note = tmp_path / "where"
    code = f"import os, sys; open(sys.argv[1], 'w').write(os.getcwd() + ' ' + str(os.listdir()))\n{ending}"
    if ending:
        with pytest.raises(ToolError):
            run_tool(python(code, str(note)), files={"a.txt": b""}, timeout_s=1)
    else:
        run_tool(python(code, str(note)), files={"a.txt": b""})
    directory, _, listing = note.read_text().partition(" ")
    assert listing == "['a.txt']"
    assert not Path(directory).exists()


def test_environment_is_minimal_and_input_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    result = run_tool(python("import os, sys; print(sorted(os.environ), repr(sys.stdin.read()))"), files={})
    assert result.stdout == b"['HOME', 'LC_ALL', 'PATH', 'TMPDIR'] ''\n"


def test_arguments_pass_no_shell() -> None:
    result = run_tool(python("import sys; print(sys.argv[1])", "; echo $HOME `id` > made"), files={})
    assert result.stdout == b"; echo $HOME `id` > made\n"
    assert result.files == {}


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "shaky crashed on this tune (SIGSEGV); simplify"),
        ("import os; os.abort()", "(SIGABRT, perhaps for want of memory beyond 2048 MiB)"),
    ],
)
def test_a_crash_is_one_line_for_the_user(code: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        run_tool(python(code), files={}, name="shaky")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("code", ["while True: pass", "while True: print('flood')", "import time; time.sleep(600)"])
def test_a_tool_without_end_is_stopped(code: str) -> None:
    with pytest.raises(ToolError, match=r"^endless (took longer than 1 s|used more than 1 s of processor time)"):
        run_tool(python(code), files={}, name="endless", timeout_s=1)


def test_processor_time_runs_out_with_a_signal_that_says_so() -> None:
    limits = ["1", str(2 * 1024**3), str(MIB)]
    launcher = [sys.executable, "-I", "-S", str(CHILDREN / "launch.py"), *limits]
    ended = subprocess.run([*launcher, *python("while True: pass")], timeout=300, check=False)
    assert ended.returncode == -signal.SIGXCPU


def test_timeout_ends_the_tools_own_children_too(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    grandchild = f"import time; fifo = open({str(fifo)!r}, 'w'); time.sleep(5); fifo.write('survived')"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {grandchild!r}])"
    reading = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(ToolError, match="took longer"):
        run_tool(python(code), files={}, timeout_s=1.5)
    os.set_blocking(reading, True)
    assert os.read(reading, 100) == b""  # the end of file comes with the writer's death
    os.close(reading)


def test_memory_is_limited() -> None:
    result = run_tool(python("bytearray(600 * 1024**2)"), files={}, memory_bytes=512 * MIB)
    assert result.exit_status == 1
    assert b"MemoryError" in result.stderr


def test_file_size_is_limited() -> None:
    code = (
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_DFL)\n"  # Python ignores the signal, most tools do not
        "open('big', 'wb').write(bytes(2 * 1024**2))"
    )
    with pytest.raises(ToolError, match="wrote a file of more than 1 MiB"):
        run_tool(python(code), files={}, file_bytes=MIB)


def test_output_is_read_to_its_end_but_kept_only_in_part() -> None:
    result = run_tool(python("import sys; sys.stdout.write('x' * 5_000_000); sys.stderr.write('done')"), files={})
    assert result.stdout == b"x" * OUTPUT_BYTES
    assert result.stderr == b"done"


def test_more_output_is_kept_where_it_is_asked_for() -> None:
    code = python("print('x' * 200_000, end='')")
    assert len(run_tool(code, files={}, output_bytes=300_000).stdout) == 200_000
    assert len(run_tool(code, files={}, output_bytes=100_000).stdout) == 100_000


def test_links_and_folders_are_not_followed() -> None:
    code = "import os; os.symlink('/etc/hosts', 'link'); os.mkdir('folder'); open('folder/file', 'w').write('x')"
    assert run_tool(python(code), files={}).files == {}


def test_too_many_files_are_refused() -> None:
    code = f"for n in range({FILES_PRODUCED + 1}): open(str(n), 'w').close()"
    with pytest.raises(ToolError, match=f"wrote {FILES_PRODUCED + 1} files"):
        run_tool(python(code), files={})


@pytest.mark.parametrize("name", ["../escape", "/tmp/absolute", "folder/file"])
def test_given_files_have_plain_names(name: str) -> None:
    with pytest.raises(ValueError, match="not a plain file name"):
        run_tool(python("pass"), files={name: b""})


def test_runs_from_several_threads_do_not_mix() -> None:
    def shout(word: str) -> bytes:
        return run_tool(python("print(open('word').read())"), files={"word": word.encode()}).stdout

    words = ["reel", "jig", "waltz", "polka"]
    with ThreadPoolExecutor(max_workers=4) as pool:
        assert list(pool.map(shout, words)) == [b"reel\n", b"jig\n", b"waltz\n", b"polka\n"]


def test_a_lower_hard_limit_stays() -> None:
    code = (
        "import resource, runpy; resource.setrlimit(resource.RLIMIT_FSIZE, (900, 1000));"
        f"limit = runpy.run_path({str(CHILDREN / 'launch.py')!r})['limit'];"
        "limit(resource.RLIMIT_FSIZE, 5000); print(resource.getrlimit(resource.RLIMIT_FSIZE))"
    )
    ended = subprocess.run(python(code), capture_output=True, check=True)
    assert ended.stdout == b"(1000, 1000)\n"


def test_a_failing_script_is_quoted() -> None:
    with pytest.raises(ToolError, match=r"^resvg could not process this tune \(ValueError: .+\); check its notation$"):
        run_child("svg_rasteriser.py", ".", "1", "bundled", files={"score.svg": b"no svg"}, name="resvg")


def test_importing_the_package_imports_no_tool() -> None:
    heavy = ["torch", "numpy", "verovio", "music21", "symusic", "matplotlib", "midirenderer", "resvg_py", "mido"]
    code = f"import sys, chatmusician.music.rendering; print([name for name in {heavy} if name in sys.modules])"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert ended.stdout == b"[]\n"
