"""What is sent to the Hub, and how it is refused: against a server of our own that refuses."""

import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from bases import make_base
from transformers import PreTrainedTokenizerBase

from chatmusician.errors import UserError
from chatmusician.export.saving import save_model_folder
from chatmusician.export.upload import upload_folder

UPLOAD = """
import sys
from pathlib import Path
from chatmusician.errors import UserError
from chatmusician.export.upload import upload_folder
try:
    print(upload_folder(Path(sys.argv[1]), "someone/tunes", dry_run=False, private=True))
except UserError as error:
    sys.exit(str(error))
"""


class Refusing(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(403)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def folder(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> Path:
    return save_model_folder(model=make_base(len(tokenizer)), tokenizer=tokenizer, output=tmp_path / "model")


@pytest.fixture
def refusing_hub() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def upload(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    return subprocess.run(
        [sys.executable, "-c", UPLOAD, str(folder)],
        env={**kept, "HF_HOME": str(folder.parent / "hub"), **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_a_dry_run_lists_the_files_and_sends_nothing(folder: Path) -> None:
    lines = upload_folder(folder, "someone/tunes", dry_run=True, private=True)
    files = sorted(path.name for path in folder.iterdir())
    assert lines[0].startswith(f"dry run: would send {len(files)} files, ")
    assert lines[0].endswith("to the private repository someone/tunes")
    assert [line.split()[0] for line in lines[1:-1]] == files
    assert lines[-1] == "give dry_run=false to send them"


def test_a_refusal_is_one_line(folder: Path, refusing_hub: str) -> None:
    done = upload(folder, HF_ENDPOINT=refusing_hub, HF_TOKEN="a-token")
    assert done.returncode == 1
    assert done.stderr == "upload=someone/tunes was refused (403): check that the token may write there\n"


def test_a_hub_that_is_not_there_is_one_line(folder: Path) -> None:
    done = upload(folder, HF_ENDPOINT="http://127.0.0.1:9", HF_TOKEN="a-token")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("upload=someone/tunes: the Hub cannot be reached (")


def test_without_a_token_nothing_is_tried(folder: Path, refusing_hub: str) -> None:
    done = upload(folder, HF_ENDPOINT=refusing_hub)
    assert done.stderr == "upload=someone/tunes needs a token: run `hf auth login`, or set HF_TOKEN\n"


def test_what_is_no_repository_or_no_model_is_refused(folder: Path) -> None:
    with pytest.raises(UserError, match="upload=tunes is not a repository of the Hub: write it as owner/name"):
        upload_folder(folder, "tunes", dry_run=True, private=True)
    with pytest.raises(UserError, match="is not a model folder"):
        upload_folder(folder.parent, "someone/tunes", dry_run=True, private=True)
