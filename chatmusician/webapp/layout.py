"""What is on the page and where: Gradio components, without what they do (``page``).

    conversation, status, stop       the tune: choice, card, editor
    question or one of the forms
    file, examples, settings

On a phone the tune comes between the forms and what is below them (page.css).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from chatmusician.generation.decoding import Decoding
from chatmusician.music.sanitising import TEXT_CHARACTERS
from chatmusician.webapp import forms, transcript
from chatmusician.webapp.cards import EMPTY
from chatmusician.webapp.uploads import ENDINGS

TITLE = "ChatMusician"
CONSTRAINTS = (("as they come", "none"), ("keep to valid ABC", "syntax"), ("keep bars full", "bars"))
"""Words for what `chatmusician.generation.decoding.Decoding.constraint` may be."""
EXAMPLES = (
    "Compose a jig in G major with two sections of eight bars, each repeated.",
    "Write a slow air in D minor that climbs in its second half and comes home at the end.",
    "Add chords to this tune.\nX:1\nL:1/8\nM:3/4\nK:D\nd2 f2 a2 | g2 f2 e2 | f2 d2 e2 | d6 |]",
    "Explain in a few sentences what a dominant seventh chord is, and give one in ABC notation.",
)


class Layout:
    """The components by their names; made inside the Blocks that show them.

    Args:
        models: names of models, each with the names of its adapters.
        adapter: the one to begin with, of the first model's.
        decoding: what the sliders begin with.
        question_characters: length of a question.
    """

    def __init__(
        self, *, models: Mapping[str, Sequence[str]], adapter: str, decoding: Decoding, question_characters: int
    ) -> None:
        gr.HTML(f"<h1>{TITLE}</h1><p class='hint'>Music as text: ask for a tune, read it, hear it, change it.</p>")
        with gr.Row(equal_height=False, elem_id="main"):
            with gr.Column(scale=3, min_width=320):
                self._lay_out_chat()
                self._lay_out_asking(question_characters)
                self._lay_out_settings(models, adapter, decoding)
            with gr.Column(scale=2, min_width=320):
                self._lay_out_tune()

    @property
    def settings(self) -> list[Any]:
        """What each answer is made with, in the order of the page's ``_settings``."""
        return [self.model, self.adapter, *self.sliders, self.constraint, self.seed]

    @property
    def material(self) -> list[Any]:
        """What a file fills, in the order of the page's ``_take_up``."""
        of_form = [self.form, self.motifs, *self.of_form]
        return [self.chords, *of_form, self.melody, *self.of_description, self.rhythm]

    def _lay_out_chat(self) -> None:
        with gr.Column(elem_id="chat"):
            self.past = gr.HTML(transcript.EMPTY)
            self.now = gr.HTML()
        self.status = gr.HTML(elem_id="status")
        with gr.Row(elem_id="controls"):
            self.stop = gr.Button("Stop", variant="stop", elem_id="stop", size="sm", min_width=80)
            self.again = gr.Button("Regenerate", elem_id="again", size="sm", min_width=80)
            self.clear = gr.Button("New conversation", elem_id="clear", size="sm", min_width=80)

    def _lay_out_asking(self, question_characters: int) -> None:
        with gr.Tabs():
            with gr.Tab("Ask freely"):
                self.question = gr.Textbox(
                    label="Question",
                    placeholder="Compose a reel in D major. (Enter sends, Shift+Enter begins a new line.)",
                    max_lines=12,
                    elem_id="question",
                    max_length=question_characters,
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

    def _lay_out_settings(self, models: Mapping[str, Sequence[str]], adapter: str, given: Decoding) -> None:
        first = next(iter(models))
        with gr.Accordion("Settings", open=False, elem_id="settings", elem_classes="later"):
            with gr.Row():
                self.model = gr.Dropdown(list(models), value=first, label="Model", elem_id="model")
                self.adapter = gr.Dropdown(list(models[first]), value=adapter, label="Adapter", elem_id="adapter")
            self.sliders = [
                gr.Slider(0, 2, given.temperature, step=0.05, label="Temperature (0: the likeliest token each time)"),
                gr.Slider(0.05, 1, given.top_p, step=0.05, label="Top-p"),
                gr.Slider(0, 200, given.top_k, step=1, label="Top-k (0: no limit)"),
                gr.Slider(1, 2, given.repetition_penalty, step=0.05, label="Repetition penalty"),
            ]
            self.constraint = gr.Dropdown(
                list(CONSTRAINTS), value=given.constraint, label="Tunes", elem_id="constraint"
            )
            self.seed = gr.Textbox("", label="Seed (empty: another one each time)", max_lines=1, elem_id="seed")

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
