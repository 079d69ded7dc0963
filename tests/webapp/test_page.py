"""The page in a real browser: headless Chromium against the demo's own process."""

import io
import re
import wave
from collections.abc import Iterator
from typing import Any

import mido
import numpy as np
import pytest
from running_demo import Demo
from taught_model import ANSWERS, ENDLESS, MARKUP, SCALE

from chatmusician.data.wordings import CHORDS_TO_MUSIC, HARMONISATION

SCALE_PITCHES = [60, 62, 64, 65, 67, 69, 71, 72]
NOTE_S = 0.5
TIMEOUT_MS = 30_000


@pytest.fixture
def page(browser: Any, demo: Demo) -> Iterator[Any]:
    """The page, opened; in the end it has asked nothing of another host, and run nothing that it was told."""
    yield from opened(browser, demo, width=1280, height=900)


@pytest.fixture
def phone(browser: Any, demo: Demo) -> Iterator[Any]:
    yield from opened(browser, demo, width=390, height=844)


def opened(browser: Any, demo: Demo, *, width: int, height: int) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": width, "height": height}, accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(TIMEOUT_MS)
    asked, faults = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(demo.url)
    page.wait_for_selector("#question textarea")
    yield page
    assert page.evaluate("window.hacked") is None
    assert [url for url in asked if not url.startswith((demo.url, "data:", "blob:"))] == []
    assert faults == []
    context.close()


def ask(page: Any, question: str) -> None:
    page.fill("#question textarea", question)
    page.press("#question textarea", "Enter")


def upload(page: Any, name: str, content: bytes) -> None:
    with page.expect_file_chooser() as chooser:
        page.click("#upload")
    chooser.value.set_files({"name": name, "mimeType": "application/octet-stream", "buffer": content})


def said(page: Any) -> list[str]:
    """The messages of the conversation, as they read."""
    return page.locator("#chat .said pre").all_inner_texts()


def read_aloud(wav: bytes, count: int) -> list[int]:
    """MIDI pitches of notes of `NOTE_S` seconds: the strongest product of harmonics."""
    with wave.open(io.BytesIO(wav)) as sound:
        rate = sound.getframerate()
        samples = np.frombuffer(sound.readframes(sound.getnframes()), "<i2").reshape(-1, 2)[:, 0] / 32768
    pitches = []
    for note in range(count):
        part = samples[int((note + 0.2) * NOTE_S * rate) : int((note + 0.9) * NOTE_S * rate)]
        spectrum = np.abs(np.fft.rfft(part * np.hanning(len(part)), n=2**17))
        size = len(spectrum) // 4
        hz = np.fft.rfftfreq(2**17, 1 / rate)[:size]
        product = np.prod([spectrum[::harmonic][:size] for harmonic in (1, 2, 3, 4)], axis=0)
        found = hz[np.argmax(product * ((hz > 100) & (hz < 1000)))]
        pitches.append(round(69 + 12 * np.log2(found / 440)))
    return pitches


def test_a_question_becomes_a_score_and_a_sound_with_the_notes_of_the_answer(page: Any, demo: Demo) -> None:
    ask(page, "Compose a scale.")
    page.wait_for_selector("#card .tune")
    assert said(page) == ["Compose a scale.", ANSWERS["Compose a scale."]]
    assert page.input_value("#question textarea") == ""
    assert page.input_value("#editor textarea") == SCALE
    assert page.get_attribute("#card img", "alt") == "The score of The Test Scale"
    page.wait_for_function("document.querySelector('#card img').naturalWidth > 500")
    page.wait_for_function("document.querySelector('#card audio').duration > 3.9")

    files = {}
    for name in ("ABC", "MIDI", "MusicXML", "WAV", "PDF"):
        with page.expect_download() as download:
            page.click(f"#card .downloads a:text-is('{name}')")
        files[name] = download.value.path().read_bytes()
        assert download.value.suggested_filename.startswith("tune.")
    assert files["ABC"].decode() == SCALE
    assert files["PDF"].startswith(b"%PDF")
    assert files["MusicXML"].count(b"<pitch>") == 8
    notes = [message.note for message in mido.MidiFile(file=io.BytesIO(files["MIDI"])) if message.type == "note_on"]
    assert notes == SCALE_PITCHES
    heard = demo.client.get("/" + page.get_attribute("#card audio", "src")).content
    assert heard == files["WAV"]
    assert read_aloud(heard, len(notes)) == notes


def test_an_edited_tune_is_drawn_anew_and_the_conversation_stays(page: Any) -> None:
    ask(page, "Compose a scale.")
    page.wait_for_selector("#card .tune")
    first = page.get_attribute("#card img", "src")
    page.fill("#editor textarea", SCALE.replace("Test Scale", "Changed One").replace("CDEF", "cBAG"))
    page.click("#draw")
    page.wait_for_selector("#card img[alt='The score of The Changed One']")
    assert page.get_attribute("#card img", "src") != first
    assert said(page)[1] == ANSWERS["Compose a scale."]


def test_of_several_tunes_the_newest_is_shown_and_any_can_be_chosen(page: Any) -> None:
    ask(page, "Write two tunes.")
    page.wait_for_selector("#card img[alt='The score of The Test Waltz']")
    page.click("#tunes input")
    page.click("[role=option]:has-text('1. The Test Scale')")
    page.wait_for_selector("#card img[alt='The score of The Test Scale']")
    assert page.input_value("#editor textarea") == SCALE


def test_stop_ends_the_computation_and_the_next_question_is_answered(page: Any, demo: Demo) -> None:
    ask(page, ENDLESS)
    page.wait_for_function("document.querySelector('#chat').innerText.includes('la la la')")
    assert demo.client.get("/health").json()["live"] == 1
    page.click("#stop")
    page.wait_for_selector("#status >> text=Stopped.")
    stopped_at = said(page)[1]
    assert stopped_at.startswith("la la")
    while demo.client.get("/health").json()[
        "live"
    ]:  # the row leaves before its next token; the test's limit ends a wait
        pass
    ask(page, "What is a fifth?")
    page.wait_for_function("document.querySelectorAll('#chat .said').length === 4")
    page.wait_for_selector("#status >> text=No tune")
    assert said(page)[1] == stopped_at


def test_escape_stops_too_and_regenerate_asks_again(page: Any) -> None:
    ask(page, ENDLESS)
    page.wait_for_function("document.querySelector('#chat').innerText.includes('la la la')")
    page.keyboard.press("Escape")
    page.wait_for_selector("#status >> text=Stopped.")
    page.click("#again")
    page.wait_for_selector("#status >> text=Writing")
    assert page.locator("#chat .said").count() == 2
    page.keyboard.press("Escape")
    page.wait_for_selector("#status >> text=Stopped.")
    page.click("#clear")
    page.wait_for_function("document.querySelectorAll('#chat .said').length === 0")


def test_what_is_said_is_text_and_never_markup(page: Any) -> None:
    ask(page, "Show me markup.")
    page.wait_for_selector("#status >> text=No tune")
    assert said(page) == ["Show me markup.", MARKUP]
    ask(page, MARKUP)
    page.wait_for_function("document.querySelectorAll('#chat .said').length === 4")
    page.keyboard.press("Escape")
    assert said(page)[2] == MARKUP
    assert page.locator("#chat pre *").count() == 0


@pytest.mark.parametrize("field", ["T:{}", "C:{}", "w:{}", '"^{}"C', "P:{}"])
def test_a_tune_runs_nothing_in_the_page(page: Any, field: str) -> None:
    evil = "</p></li><script>window.hacked=3</script><svg onload=window.hacked=4><img src=x onerror=window.hacked=5>"
    page.fill("#editor textarea", f"X:1\nT:{evil}\nK:C\n{field.format(evil)}\nCDEF GABc |]")
    page.click("#draw")
    page.wait_for_selector("#card .tune, #card .fault")
    assert page.locator("#card svg, #card script, #card img[src=x]").count() == 0


@pytest.mark.parametrize(
    ("abc", "reason"),
    [
        ("", "there is no tune: write one in ABC notation"),
        ("no tune at all", "the tune has no X: line; write X:1 first of all"),
        ("X:1\nK:C\n", "the tune makes no sound; check that it has notes"),
        ("X:1\nM:4/4\nL:1/4\nK:C\nCDEF | CDE | CDEF |]", "1 of 3 bars do not add up"),
        ("X:1\nL:1/8\nK:C\n%%abc-include /etc/passwd\nCDEF GABc |]", "taken out, line 4: the directive"),
    ],
)
def test_what_is_wrong_with_a_tune_is_said_in_words(page: Any, abc: str, reason: str) -> None:
    page.fill("#editor textarea", abc)
    page.click("#draw")
    page.wait_for_selector(f"#card >> text={reason}")


def test_a_question_without_words_is_refused_and_kept(page: Any) -> None:
    ask(page, "???")
    page.wait_for_selector("#status [role=alert] >> text=has no letters in it")
    assert page.input_value("#question textarea") == "???"


def test_forms_ask_in_the_words_of_training(page: Any) -> None:
    page.click("button[role=tab]:has-text('From chords')")
    page.fill("#chords textarea, #chords input", "G H7")
    page.click("#ask-chords")
    page.wait_for_selector("#status [role=alert] >> text='H7' is not the name of a chord")
    page.fill("#chords textarea, #chords input", "G D7 | Em, C")
    page.click("#ask-chords")
    page.wait_for_selector("#chat .said")
    assert said(page)[0] == f"{CHORDS_TO_MUSIC[0]}\n'G', 'D7', 'Em', 'C'"
    page.keyboard.press("Escape")


def test_an_upload_fills_the_forms_and_is_harmonised(page: Any) -> None:
    tune = "X:5\nT:Mine\nR:Waltz\nM:3/4\nL:1/4\nK:G\nGBd | gfe | dBG | G3 |]\n"
    upload(page, "mine.abc", tune.encode())
    page.wait_for_selector("#status >> text=mine.abc fills the forms")
    page.wait_for_selector("#card .tune")
    page.click("button[role=tab]:has-text('From a description')")
    assert page.input_value("#description-meter input") == "3/4"
    assert page.input_value("#rhythm input") == "waltz"
    page.click("button[role=tab]:has-text('Harmonise')")
    laid_out = "X:1\nL:1/4\nM:3/4\nK:G\nG B d | g f e | d B G | G3 |]\n"
    assert page.input_value("#melody textarea").split() == laid_out.split()
    page.click("#ask-harmony")
    page.wait_for_selector("#chat .said")
    assert said(page)[0].split() == [*HARMONISATION[0].split(), *laid_out.split()]
    page.keyboard.press("Escape")


def test_an_upload_that_is_no_tune_is_refused_in_words(page: Any) -> None:
    for name, content in (("song.abc", b"nothing"), ("song.mid", b"MThd"), ("song.xml", b"<a/>")):
        upload(page, name, content)
        page.wait_for_selector(f"#status [role=alert] >> text=/^{re.escape(name)}/")


def test_the_settings_open_with_what_the_command_line_said(page: Any) -> None:
    page.click("#settings button")
    page.wait_for_selector("#seed input")
    assert page.locator("#settings input[type=range]").count() == 4
    assert page.input_value("#model input") == "taught0"
    assert page.input_value("#seed input") == ""


def test_a_seed_is_a_whole_number_or_nothing(page: Any) -> None:
    page.click("#settings button")
    page.fill("#seed input", "seven")
    ask(page, "Compose a scale.")
    page.wait_for_selector("#status [role=alert] >> text=the seed 'seven' is no whole number of at most 18 digits")
    page.fill("#seed input", "7")
    page.press("#question textarea", "Enter")
    page.wait_for_selector("#card .tune")


def test_on_a_phone_nothing_is_wider_than_the_screen(phone: Any) -> None:
    ask(phone, "Compose a scale.")
    phone.wait_for_selector("#card .tune")
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
    assert phone.locator("#card").bounding_box()["y"] < phone.locator("#examples").bounding_box()["y"]
    assert phone.locator("#send").bounding_box()["height"] >= 32


def test_the_keyboard_reaches_what_matters(page: Any) -> None:
    page.focus("#question textarea")
    reached = set()
    for _ in range(12):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.closest('[id]')?.id"))
    assert {"send", "upload"} <= reached


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_follow_the_system(browser: Any, demo: Demo, scheme: str) -> None:
    context = browser.new_context(color_scheme=scheme)
    page = context.new_page()
    page.goto(demo.url)
    page.wait_for_selector("#question textarea")
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    shades = [int(number) for number in re.findall(r"\d+", background)[:3]]
    assert all(shade > 200 for shade in shades) if scheme == "light" else all(shade < 60 for shade in shades)
    context.close()
