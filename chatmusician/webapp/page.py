"""The page: Gradio components, laid out and wired to the `Desk`.

A thin shell: every event calls a method of the desk and shows its views. The conversation is shown as plain text (no
Markdown, no HTML), scores and sound by markup that ``cards`` has escaped. Gradio is told to run any number of answers
side by side, as the queue that is fair to everyone is the model's `Service`; its own queue only bounds how many events
of all kinds are kept.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from chatmusician.errors import UserError
from chatmusician.generation.decoding import Decoding
from chatmusician.music.sanitising import TEXT_CHARACTERS
from chatmusician.webapp import forms
from chatmusician.webapp.cards import EMPTY, notice, notices
from chatmusician.webapp.desk import Desk, Settings, View, with_seed
from chatmusician.webapp.uploads import ENDINGS

TITLE = "ChatMusician"
EXAMPLES = (
    "Compose a jig in G major with two sections of eight bars, each repeated.",
    "Write a slow air in D minor that climbs in its second half and comes home at the end.",
    "Add chords to this tune.\nX:1\nL:1/8\nM:3/4\nK:D\nd2 f2 a2 | g2 f2 e2 | f2 d2 e2 | d6 |]",
    "Explain in a few sentences what a dominant seventh chord is, and give one in ABC notation.",
)
WITHOUT_ADAPTER = "base"
STATE_SESSIONS = 500
"""Sessions whose page Gradio remembers; none of ours is kept there."""
UPLOADS_FOLDER = "uploads"

FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "DejaVu Sans", "sans-serif")
MONOSPACE = ("ui-monospace", "DejaVu Sans Mono", "Menlo", "Consolas", "monospace")
STYLE = Path(__file__).with_name("page.css")
KEYS = (
    "<script>document.addEventListener('keydown', (event) => {"
    "if (event.key === 'Escape') document.getElementById('stop')?.click(); });</script>"
)
"""Escape stops the answer, wherever the cursor is."""


class Page:
    """The components, and their wiring. ``blocks`` is what Gradio serves.

    Args:
        desk: who does the work.
        decoding: what the sliders begin with.
        uploads: the folder in which Gradio puts what is uploaded.
        most_events: events of all visitors that are kept; beyond it they are refused.
    """

    def __init__(self, *, desk: Desk, decoding: Decoding, uploads: Path, most_events: int) -> None:
        self.desk, self.decoding, self.uploads = desk, decoding, uploads.resolve()
        with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(60, 600), fill_width=True) as self.blocks:
            gr.HTML(f"<h1>{TITLE}</h1><p class='hint'>Music as text: ask for a tune, read it, hear it, change it.</p>")
            with gr.Row(equal_height=False, elem_id="main"):
                with gr.Column(scale=3, min_width=320):
                    self._lay_out_chat()
                    self._lay_out_asking()
                    self._lay_out_settings()
                with gr.Column(scale=2, min_width=320):
                    self._lay_out_tune()
            self._wire()
        self.blocks.state_session_capacity = STATE_SESSIONS
        self.blocks.queue(api_open=False, max_size=most_events, default_concurrency_limit=None)

    def _lay_out_chat(self) -> None:
        self.chat = gr.Chatbot(
            label="Conversation",
            show_label=False,
            elem_id="chat",
            height="26rem",
            render_markdown=False,
            buttons=["copy"],
            feedback_options=None,
            allow_file_downloads=False,
            placeholder="Ask for a tune, or fill in one of the forms below.",
        )
        self.status = gr.HTML(elem_id="status")
        with gr.Row(elem_id="controls"):
            self.stop = gr.Button("Stop", variant="stop", elem_id="stop", size="sm", min_width=80)
            self.again = gr.Button("Regenerate", elem_id="again", size="sm", min_width=80)
            self.clear = gr.Button("New conversation", elem_id="clear", size="sm", min_width=80)

    def _lay_out_asking(self) -> None:
        with gr.Tabs():
            with gr.Tab("Ask freely"):
                self.question = gr.Textbox(
                    label="Question",
                    placeholder="Compose a reel in D major. (Enter sends, Shift+Enter begins a new line.)",
                    max_lines=12,
                    elem_id="question",
                    max_length=self.desk.question_characters,
                )
                self.send = gr.Button("Send", variant="primary", elem_id="send")
            self._lay_out_forms()
        with gr.Column(elem_classes="later"):
            self.upload = gr.UploadButton(
                f"Fill the forms from a file ({', '.join(ENDINGS)})",
                file_types=list(ENDINGS),
                elem_id="upload",
                size="sm",
            )
            gr.Examples([[example] for example in EXAMPLES], [self.question], label="Examples", elem_id="examples")

    def _lay_out_forms(self) -> None:
        with gr.Tab("From chords"):
            self.chords = gr.Textbox(label="Chords, in their order", placeholder="G D7 Em C", elem_id="chords")
            self.ask_chords = gr.Button("Write a tune over them", variant="primary", elem_id="ask-chords")
        with gr.Tab("Form and motif"):
            self.form = gr.Dropdown(
                list(forms.FORMS),
                value=forms.FORMS[3],
                label="Form, by its terms or in letters such as AABA",
                allow_custom_value=True,
                elem_id="form",
            )
            self.motifs = gr.Textbox(
                label="Motifs, one a line (may be left empty)",
                placeholder="G2BG A2cA B2dB\n(gf)(ge) (ed)(cB)",
                lines=2,
                elem_id="motifs",
            )
            self.of_form = self._header_fields("form")
            self.ask_form = gr.Button("Develop a tune", variant="primary", elem_id="ask-form")
        with gr.Tab("Harmonise"):
            self.melody = gr.Textbox(
                label="Melody in ABC notation",
                placeholder="X:1\nL:1/8\nM:6/8\nK:G\nGAB d2B | ...",
                lines=6,
                max_lines=16,
                max_length=TEXT_CHARACTERS,
                elem_id="melody",
                elem_classes="abc",
            )
            self.take_tune = gr.Button("Take the tune of the editor", size="sm", elem_id="take-tune")
            self.ask_harmony = gr.Button("Add chords to it", variant="primary", elem_id="ask-harmony")
        with gr.Tab("From a description"):
            self.of_description = self._header_fields("description")
            self.rhythm = gr.Dropdown(
                list(forms.RHYTHMS),
                value="jig",
                label="Kind of tune (may be left empty)",
                allow_custom_value=True,
                elem_id="rhythm",
            )
            self.ask_description = gr.Button("Write it as a score", variant="primary", elem_id="ask-description")

    def _header_fields(self, of: str) -> list[Any]:
        """Meter, unit note length and key."""
        with gr.Row():
            return [
                gr.Dropdown(
                    list(forms.METERS), value="6/8", label="Meter", allow_custom_value=True, elem_id=f"{of}-meter"
                ),
                gr.Dropdown(
                    list(forms.UNIT_NOTE_LENGTHS),
                    value="1/8",
                    label="Unit note length",
                    allow_custom_value=True,
                    elem_id=f"{of}-unit",
                ),
                gr.Textbox(value="G", label="Key", max_lines=1, elem_id=f"{of}-key"),
            ]

    def _lay_out_settings(self) -> None:
        first = next(iter(self.desk.services))
        with gr.Accordion("Settings", open=False, elem_id="settings", elem_classes="later"):
            with gr.Row():
                self.model = gr.Dropdown(list(self.desk.services), value=first, label="Model", elem_id="model")
                self.adapter = gr.Dropdown(
                    self._adapters(first), value=WITHOUT_ADAPTER, label="Adapter", elem_id="adapter"
                )
            given = self.decoding
            self.sliders = [
                gr.Slider(0, 2, given.temperature, step=0.05, label="Temperature (0: the likeliest token each time)"),
                gr.Slider(0.05, 1, given.top_p, step=0.05, label="Top-p"),
                gr.Slider(0, 200, given.top_k, step=1, label="Top-k (0: no limit)"),
                gr.Slider(1, 2, given.repetition_penalty, step=0.05, label="Repetition penalty"),
            ]
            self.seed = gr.Number(None, label="Seed (empty: another one each time)", precision=0, elem_id="seed")

    def _lay_out_tune(self) -> None:
        self.tunes = gr.Dropdown([], label="Tunes of this conversation", visible=False, elem_id="tunes")
        self.card = gr.HTML(EMPTY, elem_id="card")
        self.editor = gr.Textbox(
            label="ABC notation of the tune",
            placeholder="X:1\nT:A tune of your own\nL:1/8\nM:4/4\nK:D\nd2fd Adfd | ...",
            info="Change it and draw it again (Shift+Enter).",
            lines=8,
            max_lines=24,
            max_length=TEXT_CHARACTERS,
            elem_id="editor",
            elem_classes="abc",
        )
        self.draw = gr.Button("Draw and play", variant="primary", elem_id="draw")

    def _wire(self) -> None:
        hidden: dict[str, Any] = {"api_visibility": "undocumented", "show_progress": "hidden"}
        shown = [self.chat, self.question, self.status, self.tunes, self.card, self.editor]
        settings = [self.model, self.adapter, *self.sliders, self.seed]
        gr.on(
            [self.send.click, self.question.submit],
            self._ask(lambda question: question),
            [self.question, *settings],
            shown,
            api_name="ask",
            **hidden,
        )
        for button, write, fields, name in (
            (self.ask_chords, forms.ask_for_chords, [self.chords], "ask_chords"),
            (self.ask_form, _form_question, [self.form, self.motifs, *self.of_form], "ask_form"),
            (self.ask_harmony, forms.ask_for_harmony, [self.melody], "ask_harmony"),
            (self.ask_description, _description_question, [*self.of_description, self.rhythm], "ask_description"),
        ):
            button.click(self._ask(write, fields=len(fields)), [*fields, *settings], shown, api_name=name, **hidden)
        self.again.click(self._again, settings, shown, api_name="again", **hidden)
        self.stop.click(self._stop, None, None, queue=False, api_name="stop", **hidden)
        gr.on([self.clear.click, self.chat.clear], self._clear, None, shown, queue=False, api_name="clear", **hidden)
        gr.on([self.draw.click, self.editor.submit], self._draw, self.editor, self.card, api_name="draw", **hidden)
        self.tunes.input(self._choose, self.tunes, [self.card, self.editor], api_name="choose", **hidden)
        self.take_tune.click(lambda abc: abc, self.editor, self.melody, api_name="take_tune", **hidden)
        self.model.input(self._offer_adapters, self.model, self.adapter, api_name="adapters", **hidden)
        filled = [self.chords, self.form, self.motifs, *self.of_form, self.melody, *self.of_description, self.rhythm]
        # Not preprocessed by Gradio, which would fetch an address that stands in place of a file.
        self.upload.upload(
            self._take_up, self.upload, [*filled, self.editor, self.card, self.status], preprocess=False,
            api_name="take_up", **hidden,
        )  # fmt: skip
        self.blocks.unload(self._leave)

    def _ask(self, write: Callable[..., str], *, fields: int = 1) -> Callable[..., AsyncIterator[dict[Any, Any]]]:
        """The handler of a button that asks: ``write`` makes the question of its fields."""

        async def ask(request: gr.Request, *values: Any) -> AsyncIterator[dict[Any, Any]]:
            try:
                question = write(*(f"{value or ''}" for value in values[:fields]))
                settings = self._settings(*values[fields:])
            except UserError as error:
                yield {self.status: notice(f"{error}.", fault=True)}
                return
            async for view in self.desk.ask(_who(request), question, settings):
                yield self._show(view)

        return ask

    async def _again(self, request: gr.Request, *values: Any) -> AsyncIterator[dict[Any, Any]]:
        try:
            settings = self._settings(*values)
        except UserError as error:
            yield {self.status: notice(f"{error}.", fault=True)}
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
        return gr.Dropdown(self._adapters(model), value=WITHOUT_ADAPTER)

    async def _take_up(self, file: Mapping[str, Any] | None, request: gr.Request) -> dict[Any, Any]:
        try:
            name, content = _read_upload(file, self.uploads)
            found = await self.desk.take_up(_who(request), name, content)
        except UserError as error:
            return {self.status: notice(f"{error}.", fault=True)}
        header = [found.meter, found.unit_note_length, found.key]
        texts = [found.chords, found.form, "\n".join(found.motifs), *header, found.abc, *header, found.rhythm]
        components = [self.chords, self.form, self.motifs, *self.of_form]
        components += [self.melody, *self.of_description, self.rhythm]
        view = await self.desk.draw(_who(request), found.abc)
        return {
            **dict(zip(components, texts, strict=True)),
            self.editor: found.abc,
            self.card: view.card,
            self.status: notices((f"{name} fills the forms and the editor.", *found.notes)),
        }

    def _settings(self, model: str, adapter: str, temperature: float, top_p: float, top_k: float, *rest: Any) -> Any:
        penalty, seed = rest
        decoding = replace(
            self.decoding, temperature=temperature, top_p=top_p, top_k=int(top_k), repetition_penalty=penalty
        )
        chosen = None if adapter == WITHOUT_ADAPTER else adapter
        return Settings(model=model, adapter=chosen, decoding=with_seed(decoding, seed))

    def _adapters(self, model: str) -> list[str]:
        service = self.desk.services.get(model)
        return [WITHOUT_ADAPTER, *(service.adapters if service else ())]

    def _show(self, view: View) -> dict[Any, Any]:
        """What changes on the page, as Gradio wants it."""
        shown: dict[Any, Any] = {}
        if view.turns is not None:
            shown[self.chat] = [
                {"role": role, "content": text}
                for turn in view.turns
                for role, text in (("user", turn.question), ("assistant", turn.answer))
                if text is not None
            ]
        if view.tunes is not None:
            newest = view.tunes[-1] if view.tunes else None
            shown[self.tunes] = gr.Dropdown(list(view.tunes), value=newest, visible=len(view.tunes) > 1)
        texts = {self.question: view.question, self.status: view.status, self.card: view.card, self.editor: view.abc}
        return shown | {component: text for component, text in texts.items() if text is not None}


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
