"""The page: Gradio components, laid out and wired to the `Desk`.

A thin shell: every event calls a method of the desk and shows its views. The conversation, scores and sound are
markup that ``transcript`` and ``cards`` have escaped. Gradio is told to run any number of answers
side by side, as the queue that is fair to everyone is the model's `Service`; its own queue only bounds how many events
of all kinds are kept.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from chatmusician.errors import UserError
from chatmusician.generation.backends.backend import BASE
from chatmusician.generation.decoding import Decoding
from chatmusician.webapp import forms
from chatmusician.webapp.cards import notice, notices
from chatmusician.webapp.desk import Desk, Settings, View, with_seed
from chatmusician.webapp.guard import confine_gradio
from chatmusician.webapp.layout import TITLE, Layout
from chatmusician.webapp.transcript import transcript

STATE_SESSIONS = 500
"""Sessions whose page Gradio remembers; none of ours is kept there."""
UPLOADS_FOLDER = "uploads"

FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "DejaVu Sans", "sans-serif")
MONOSPACE = ("ui-monospace", "DejaVu Sans Mono", "Menlo", "Consolas", "monospace")
STYLE = Path(__file__).with_name("page.css")
SCRIPT = Path(__file__).with_name("page.js")
"""Keys, and where the conversation is scrolled to."""


class Page:
    """The components, and their wiring. ``blocks`` is what Gradio serves.

    Args:
        desk: who does the work.
        decoding: what the sliders begin with.
        adapter: the name of the adapter to begin with, one of the first model's.
        uploads: the folder in which Gradio puts what is uploaded.
        most_events: events of all visitors that are kept; beyond it they are refused.
    """

    def __init__(self, *, desk: Desk, decoding: Decoding, adapter: str, uploads: Path, most_events: int) -> None:
        self.desk, self.decoding, self.uploads = desk, decoding, uploads.resolve()
        confine_gradio(self.uploads)
        models = {name: self._adapters(name) for name in desk.services}
        with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(60, 600), fill_width=True) as self.blocks:
            self.at = Layout(
                models=models, adapter=adapter, decoding=decoding, question_characters=desk.question_characters
            )
            self._wire()
        self.blocks.state_session_capacity = STATE_SESSIONS
        self.blocks.queue(api_open=False, max_size=most_events, default_concurrency_limit=None)

    def _wire(self) -> None:
        at = self.at
        hidden: dict[str, Any] = {"api_visibility": "undocumented", "show_progress": "hidden"}
        shown = [at.past, at.now, at.question, at.status, at.tunes, at.card, at.editor]
        for triggers, write, fields, name in (
            ([at.send.click, at.question.submit], lambda question: question, [at.question], "ask"),
            ([at.ask_chords.click, at.chords.submit], forms.ask_for_chords, [at.chords], "ask_chords"),
            ([at.ask_form.click], _form_question, [at.form, at.motifs, *at.of_form], "ask_form"),
            ([at.ask_harmony.click], forms.ask_for_harmony, [at.melody], "ask_harmony"),
            ([at.ask_description.click], _description_question, [*at.of_description, at.rhythm], "ask_description"),
        ):
            asking = self._ask(write, fields=len(fields))
            gr.on(triggers, asking, [*fields, *at.settings], shown, api_name=name, **hidden)
        at.again.click(self._again, at.settings, shown, api_name="again", **hidden)
        at.stop.click(self._stop, None, None, queue=False, api_name="stop", **hidden)
        at.clear.click(self._clear, None, shown, queue=False, api_name="clear", **hidden)
        gr.on([at.draw.click, at.editor.submit], self._draw, at.editor, at.card, api_name="draw", **hidden)
        at.tunes.input(self._choose, at.tunes, [at.card, at.editor], api_name="choose", **hidden)
        at.take_tune.click(lambda abc: abc, at.editor, at.melody, api_name="take_tune", **hidden)
        at.model.input(self._offer_adapters, at.model, at.adapter, api_name="adapters", **hidden)
        filled = [*at.material, at.editor, at.card, at.status]
        # Not preprocessed by Gradio, which would fetch an address that stands in place of a file.
        at.upload.upload(self._take_up, at.upload, filled, preprocess=False, api_name="take_up", **hidden)
        self.blocks.unload(self._leave)

    def _ask(self, write: Callable[..., str], *, fields: int = 1) -> Callable[..., AsyncIterator[dict[Any, Any]]]:
        """The handler of a button that asks: ``write`` makes the question of its fields."""

        async def ask(request: gr.Request, *values: Any) -> AsyncIterator[dict[Any, Any]]:
            try:
                question = write(*(f"{value or ''}" for value in values[:fields]))
                settings = self._settings(*values[fields:])
            except UserError as error:
                yield {self.at.status: notice(f"{error}.", fault=True)}
                return
            async for view in self.desk.ask(_who(request), question, settings):
                yield self._show(view)

        return ask

    async def _again(self, request: gr.Request, *values: Any) -> AsyncIterator[dict[Any, Any]]:
        try:
            settings = self._settings(*values)
        except UserError as error:
            yield {self.at.status: notice(f"{error}.", fault=True)}
            return
        async for view in self.desk.again(_who(request), settings):
            yield self._show(view)

    async def _stop(self, request: gr.Request) -> None:
        self.desk.stop(_who(request))

    async def _clear(self, request: gr.Request) -> dict[Any, Any]:
        return self._show(self.desk.clear(_who(request)))

    async def _draw(self, abc: str, request: gr.Request) -> str:
        return (await self.desk.draw(_who(request), f"{abc or ''}")).card or ""

    async def _choose(self, name: str, request: gr.Request) -> dict[Any, Any]:
        return self._show(await self.desk.choose(_who(request), f"{name}"))

    async def _leave(self, request: gr.Request) -> None:
        self.desk.guests.leave(_who(request))

    async def _offer_adapters(self, model: str) -> Any:
        return gr.Dropdown(self._adapters(model), value=BASE)

    async def _take_up(self, file: Mapping[str, Any] | None, request: gr.Request) -> dict[Any, Any]:
        try:
            name, content = _read_upload(file, self.uploads)
            found = await self.desk.take_up(_who(request), name, content)
        except UserError as error:
            return {self.at.status: notice(f"{error}.", fault=True)}
        header = [found.meter, found.unit_note_length, found.key]
        texts = [found.chords, found.form, "\n".join(found.motifs), *header, found.abc, *header, found.rhythm]
        view = await self.desk.draw(_who(request), found.abc)
        return {
            **dict(zip(self.at.material, texts, strict=True)),
            self.at.editor: found.abc,
            self.at.card: view.card,
            self.at.status: notices((f"{name} fills the forms and the editor.", *found.notes)),
        }

    def _settings(self, model: str, adapter: str, temperature: float, top_p: float, top_k: float, *rest: Any) -> Any:
        penalty, constraint, seed = rest
        decoding = replace(
            self.decoding,
            temperature=temperature,
            top_p=top_p,
            top_k=int(top_k),
            repetition_penalty=penalty,
            constraint=constraint,
        )
        return Settings(model=model, adapter=adapter, decoding=with_seed(decoding, f"{seed or ''}"))

    def _adapters(self, model: str) -> list[str]:
        service = self.desk.services.get(model)
        return [BASE, *(service.adapters if service else ())]

    def _show(self, view: View) -> dict[Any, Any]:
        """What changes on the page, as Gradio wants it."""
        shown: dict[Any, Any] = {}
        if view.turns is not None:
            shown[self.at.past], shown[self.at.now] = transcript(view.turns)
        if view.tunes is not None:
            newest = view.tunes[-1] if view.tunes else None
            shown[self.at.tunes] = gr.Dropdown(list(view.tunes), value=newest, visible=len(view.tunes) > 1)
        components = (self.at.question, self.at.status, self.at.card, self.at.editor)
        texts = zip(components, (view.question, view.status, view.card, view.abc), strict=True)
        return shown | {component: text for component, text in texts if text is not None}


def theme() -> Any:
    """Gradio's plain theme with fonts of the system: the page asks no other host for any."""
    return gr.themes.Default(font=list(FONTS), font_mono=list(MONOSPACE), primary_hue="indigo", neutral_hue="slate")


def _form_question(form: str, motifs: str, meter: str, unit_note_length: str, key: str) -> str:
    return forms.ask_for_form(form=form, motifs=motifs, meter=meter, unit_note_length=unit_note_length, key=key)


def _description_question(meter: str, unit_note_length: str, key: str, rhythm: str) -> str:
    return forms.ask_for_description(meter=meter, unit_note_length=unit_note_length, key=key, rhythm=rhythm)


def _who(request: gr.Request) -> str:
    return request.session_hash or ""


def _read_upload(file: Mapping[str, Any] | None, folder: Path) -> tuple[str, bytes]:
    """Name and content of what Gradio put into its folder for us; it is removed at once.

    Raises:
        UserError: there is no such file in the folder.
    """
    path = Path(str((file or {}).get("path") or "")).resolve()
    if not path.is_relative_to(folder) or not path.is_file():
        raise UserError("no file has arrived: choose one again")
    content = path.read_bytes()
    path.unlink(missing_ok=True)
    return path.name, content
