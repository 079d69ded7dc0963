import os
import select
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from chatmusician.errors import UserError
from chatmusician.music.sandbox import (
    FILES_PRODUCED,
    OUTPUT_BYTES,
    Protections,
    ToolError,
    protections,
    run_child,
    run_tool,
)
from chatmusician.music.tool_processes import parent_of

MIB = 1024**2
ROOT = Path(__file__).resolve().parents[2]
CONFINED = (
    "import sys; sys.path.insert(0, sys.argv[1])\n"
    "from chatmusician.music.children.confinement import confine\n"
    "confine(cpu_seconds=1, memory_bytes=2**31, file_bytes=2**20, directory='.', reads=[], may_execute=False)\n"
)
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="what confines a tool to this degree is Linux's")


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
def test_directory_is_fresh_and_removed_however_the_tool_ends(ending: str) -> None:
    code = f"import os; print(os.getcwd(), os.listdir(), flush=True); open('made', 'w').close(); {ending or 'pass'}"
    if ending:
        with pytest.raises(ToolError):
            run_tool(python(code.replace("; while", "\nwhile")), files={"a.txt": b""}, timeout_s=1)
    else:
        directory, _, listing = run_tool(python(code), files={"a.txt": b""}).stdout.decode().partition(" ")
        assert listing == "['a.txt']\n"
        assert Path(directory).parent == parent_of("").folder
    assert list(parent_of("").folder.iterdir()) == []


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
    code = CONFINED + "while True: pass"
    ended = subprocess.run(python(code, str(ROOT)), timeout=300, check=False)
    assert ended.returncode == -signal.SIGXCPU


def test_what_a_tool_leaves_running_ends_with_it() -> None:
    code = (
        "import os, time\n"
        "try:\n    process = os.fork()\n"
        "except PermissionError:\n    print('refused')\n"
        "else:\n    print('forked') if process else time.sleep(600)"
    )
    assert run_tool(python(code), files={}).stdout == (b"refused\n" if protections().processes else b"forked\n")


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


def test_too_much_is_refused() -> None:
    code = "for name in 'ab': open(name, 'wb').truncate(100 * 1024**2)"
    with pytest.raises(ToolError, match=r"^python\S* wrote 200 MiB, more than 128; shorten the tune$"):
        run_tool(python(code), files={})


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
        "import resource, sys; sys.path.insert(0, sys.argv[1]);"
        "from chatmusician.music.children.confinement import limit;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (900, 1000)); limit(resource.RLIMIT_FSIZE, 5000);"
        "print(resource.getrlimit(resource.RLIMIT_FSIZE))"
    )
    ended = subprocess.run(python(code, str(ROOT)), capture_output=True, check=True)
    assert ended.stdout == b"(1000, 1000)\n"


def test_where_linux_can_a_tool_is_cut_off() -> None:
    if sys.platform == "linux":
        assert protections() == Protections(network=True, files=True, processes=True)
    else:
        assert protections() == Protections(network=False, files=False, processes=False)


@linux_only
def test_a_tool_reads_and_writes_nothing_of_others(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("leaked")
    own = tmp_path / "tool"
    code = (
        "import sys\n"
        "for name, mode in [(sys.argv[1], 'r'), ('/etc/passwd', 'r'), (sys.argv[1], 'w'), (sys.argv[2], 'w')]:\n"
        "    try: print(open(name, mode).read() if mode == 'r' else open(name, mode).name)\n"
        "    except PermissionError: print('refused')\n"
        "open('own', 'w').write('fine')"
    )
    result = run_tool(python(code, str(tmp_path / "secret"), str(own)), files={})
    assert result.stdout == b"refused\n" * 4
    assert result.files == {"own": b"fine"}
    assert (tmp_path / "secret").read_text() == "leaked"
    assert not own.exists()


@linux_only
def test_a_tool_sends_no_signal_to_others() -> None:
    code = "import os, sys\ntry: os.kill(int(sys.argv[1]), 0)\nexcept PermissionError: print('refused')"
    assert run_tool(python(code, str(os.getpid())), files={}).stdout == b"refused\n"


@linux_only
def test_a_script_becomes_no_program() -> None:
    code = CONFINED + "import os\ntry: os.execv('/bin/sh', ['sh'])\nexcept PermissionError: print('refused')"
    assert subprocess.run(python(code, str(ROOT)), capture_output=True, check=True).stdout == b"refused\n"


@linux_only
def test_threads_may_be_started() -> None:
    code = "import threading; thread = threading.Thread(target=print, args=['played']); thread.start(); thread.join()"
    assert run_tool(python(code), files={}).stdout == b"played\n"


@linux_only
def test_where_calls_cannot_be_filtered_the_network_is_left() -> None:
    code = (
        "import ctypes, socket, sys; sys.path.insert(0, sys.argv[1])\n"
        "from chatmusician.music.children.confinement import leave_network\n"
        "left = leave_network(ctypes.CDLL(None))\n"
        "try: socket.create_connection(('127.0.0.1', int(sys.argv[2]))).close()\n"
        "except OSError: print('refused' if left else 'no way to leave, no way to connect')\n"
        "else: print('no way to leave' if not left else 'connected')"
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        answer = subprocess.run(python(code, str(ROOT), port), capture_output=True, check=True).stdout.decode().strip()
    if answer == "no way to leave":
        pytest.skip("this system lets nobody make a namespace")
    assert answer == "refused"


def test_a_parent_that_was_killed_is_replaced() -> None:
    first = parent_of("")
    assert run_tool(["/bin/echo", "1"], files={}).stdout == b"1\n"
    os.kill(first.process_id, signal.SIGKILL)
    assert run_tool(["/bin/echo", "2"], files={}).stdout == b"2\n"
    assert parent_of("") is not first
    assert not first.folder.exists()


@linux_only
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_all_ends_with_the_process_that_asked(end: signal.Signals) -> None:
    code = (
        "import signal, sys; sys.path.insert(0, sys.argv[1])\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's background job is started without
        "from chatmusician.music.sandbox import run_tool\n"
        "from chatmusician.music.tool_processes import parent_of\n"
        "print(parent_of('').process_id, parent_of('').folder, flush=True)\n"
        "tool = 'import os, time; os.write(1, bytes(70_000)); time.sleep(600)'\n"
        "run_tool([sys.executable, '-c', tool], files={}, timeout_s=600)"
    )
    with subprocess.Popen(python(code, str(ROOT)), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as asking:
        assert asking.stdout is not None
        parent, _, folder = asking.stdout.readline().decode().strip().partition(" ")
        watched = os.pidfd_open(int(parent))
        while not list(Path(folder).iterdir()):  # until the tool has its directory
            assert asking.poll() is None
        asking.send_signal(end)
    assert select.select([watched], [], [], 60)[0]  # readable once it has ended
    os.close(watched)
    assert not Path(folder).exists()


def test_a_forked_process_has_parents_of_its_own() -> None:
    ours = run_tool(["/bin/echo", "ours"], files={})
    process = os.fork()
    if process == 0:
        os._exit(0 if run_tool(["/bin/echo", "theirs"], files={}).stdout == b"theirs\n" else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
    assert ours == run_tool(["/bin/echo", "ours"], files={})


def test_a_failing_script_is_quoted() -> None:
    with pytest.raises(ToolError, match=r"^resvg could not process this tune \(ValueError: .+\); check its notation$"):
        run_child("svg_rasteriser", ".", "1", "bundled", files={"score.svg": b"no svg"}, name="resvg")


def test_importing_the_package_imports_no_tool() -> None:
    heavy = ["torch", "numpy", "verovio", "music21", "symusic", "matplotlib", "midirenderer", "resvg_py", "mido"]
    code = f"import sys, chatmusician.music.rendering; print([name for name in {heavy} if name in sys.modules])"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert ended.stdout == b"[]\n"
