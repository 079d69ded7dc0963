"""What the server gives and refuses, over HTTP, without a browser."""

import json
import re
from pathlib import Path

import pytest
from running_demo import Demo
from taught_model import SCALE

from chatmusician.webapp.guard import BODY_BYTES
from chatmusician.webapp.uploads import UPLOAD_BYTES


def test_health_tells_models_load_and_age(demo: Demo) -> None:
    health = demo.client.get("/health").json()
    assert health.pop("uptime_s") >= 0
    assert health == {"status": "ok", "models": ["taught0"], "live": 0, "waiting": 0}


def test_an_answer_is_streamed_and_its_tune_served(demo: Demo) -> None:
    messages = demo.event("ask", "Compose a scale.")
    assert len([message for message in messages if message["msg"] == "process_generating"]) > 2
    place = re.search(r"tunes/[\w-]+/tune", messages[-1]["output"]["data"][5])[0]
    sound = demo.client.get(f"/{place}.wav", headers={"range": "bytes=0-3"})
    assert (sound.status_code, sound.content, sound.headers["content-type"]) == (206, b"RIFF", "audio/wav")
    text = demo.client.get(f"/{place}.abc")
    assert text.text == SCALE
    assert text.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'self'" in text.headers["content-security-policy"]


@pytest.mark.parametrize(
    "path",
    [
        "/tunes/x/tune.wav",
        "/tunes/..%2f..%2fetc/passwd",
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file=pyproject.toml",
        "/gradio_api/proxy=http://127.0.0.1/",
        "/docs",
        "/openapi.json",
    ],
)
def test_no_other_file_is_given(demo: Demo, path: str) -> None:
    answer = demo.client.get(path)
    assert answer.status_code in (400, 403, 404, 422)
    assert "root:" not in answer.text


@pytest.mark.parametrize("path", ["/etc/passwd", "http://127.0.0.1:9/tune.abc", "https://example.org/tune.abc", "/etc"])
def test_what_is_no_upload_is_not_read_or_fetched(demo: Demo, path: str) -> None:
    file = {"path": path, "orig_name": "tune.abc", "meta": {"_type": "gradio.FileData"}}
    end = demo.event("take_up", file)[-1]
    assert not end["success"]
    assert [found.name for found in demo.folder.rglob("passwd")] == []
    for field in ("draw", "ask"):  # in place of a text, too
        assert not demo.event(field, file)[-1]["success"]


def test_a_file_is_gone_from_the_disk_once_it_was_read(demo: Demo) -> None:
    end = demo.upload("mine.abc", SCALE.encode())
    assert end["success"]
    assert "mine.abc fills the forms" in json.dumps(end)
    assert list(demo.folder.rglob("mine.abc")) == []


@pytest.mark.parametrize("size", [UPLOAD_BYTES + 1, BODY_BYTES + 1])
def test_uploads_have_a_largest_size(demo: Demo, size: int) -> None:
    sent = demo.client.post("/gradio_api/upload", files={"files": ("a.abc", b"C" * size)})
    assert sent.status_code == 413


def test_a_body_without_a_length_has_an_end_too(demo: Demo) -> None:
    chunks = (b" " * 65536 for _ in range(BODY_BYTES // 65536 + 1))
    assert demo.client.post("/gradio_api/queue/join", content=chunks).status_code == 413


@pytest.mark.parametrize(
    ("host", "status"),
    [("127.0.0.1", 200), ("localhost:8888", 200), ("[::1]:8888", 200), ("evil.example", 421), ("evil.example:80", 421)],
)
def test_on_the_loopback_address_only_its_names_are_answered(demo: Demo, host: str, status: int) -> None:
    assert demo.client.get("/health", headers={"host": host}).status_code == status


def test_the_page_names_no_folder_of_this_machine(demo: Demo, taught: Path) -> None:
    for path in ("/", "/config", "/health"):
        text = demo.client.get(path).text
        assert str(taught) not in text
        assert str(demo.folder) not in text
        assert "fonts.googleapis" not in text


def test_settings_out_of_range_are_refused_in_words(demo: Demo) -> None:
    end = demo.event("ask", "Compose a scale.", "taught0", "base", -1)[-1]
    assert not end["success"] or "out of range" in json.dumps(end)
    end = demo.event("ask", "Compose a scale.", "another")[-1]
    assert "there is no model 'another'" in json.dumps(end) or not end["success"]
