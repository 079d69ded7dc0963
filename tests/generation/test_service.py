"""One model, many threads that ask it. Waits are for a state that must come, not for a time."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tiny import make_model
from transformers import PreTrainedTokenizerBase

from chatmusician.errors import UserError
from chatmusician.generation.backends.transformers_backend import TransformersBackend
from chatmusician.generation.decoding import Decoding
from chatmusician.generation.generator import Answer, Generator
from chatmusician.generation.loading import load_generator
from chatmusician.generation.prompting import Prompt
from chatmusician.generation.service import Busy, Request, Service, Withdrawn

SHORT = Decoding(temperature=0.8, max_new_tokens=20)
ENDLESS = Decoding(temperature=0.8, min_new_tokens=3900, max_new_tokens=3900)


def make_generator(tokenizer: PreTrainedTokenizerBase) -> Generator:
    model = make_model(len(tokenizer), window=4096)
    return Generator(backend=TransformersBackend(model=model, tokenizer=tokenizer))


@pytest.fixture
def service(tokenizer: PreTrainedTokenizerBase) -> Iterator[Service]:
    service = Service(make_generator(tokenizer), slots=2, queue=6, each=4)
    yield service
    service.close()


def request(text: str, decoding: Decoding = SHORT, **settings: str) -> Request:
    return Request(prompt=Prompt(text=text), decoding=decoding, **settings)


def answer(service: Service, asked: Request) -> Answer:
    pieces = service.ask(asked)
    while True:
        try:
            next(pieces)
        except StopIteration as end:
            return end.value


def wait_until(state: Callable[[], bool]) -> None:
    while not state():
        threading.Event().wait(0.001)


def test_answers_are_those_of_the_generator_alone_whatever_the_settings(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    settings = [
        SHORT,
        Decoding(temperature=0, max_new_tokens=30),
        Decoding(temperature=1.1, top_k=5, max_new_tokens=40, seed=9),
        Decoding(temperature=0.8, max_new_tokens=25, repetition_penalty=1.5, min_new_tokens=25),
    ]
    asked = [request(f"Compose {i}", settings[i % 4], who=str(i % 5)) for i in range(20)]
    alone = make_generator(tokenizer)
    expected = [alone.generate([one.prompt], one.decoding)[0].text for one in asked]
    service = Service(make_generator(tokenizer), slots=8)
    with ThreadPoolExecutor(20) as pool:
        found = [found.text for found in pool.map(lambda one: answer(service, one), asked)]
    service.close()
    assert found == expected


def test_a_stopped_answer_is_computed_no_further(service: Service) -> None:
    pieces = service.ask(request("Compose", ENDLESS))
    next(pieces)
    assert service.live == 1
    pieces.close()
    wait_until(lambda: service.live == 0)
    assert answer(service, request("A jig")).tokens == 20


def test_a_request_that_gives_up_leaves_the_queue(service: Service) -> None:
    running = [service.ask(request("Compose", ENDLESS, who=who)) for who in "ab"]
    for pieces in running:
        next(pieces)
    with ThreadPoolExecutor(1) as pool:
        waiting = service.ask(request("A jig", who="c"))
        first = pool.submit(next, waiting)
        wait_until(lambda: service.waiting == 1)
        running[0].close()
        first.result()
    waiting.close()
    running[1].close()
    wait_until(lambda: service.live == service.waiting == 0)


def test_a_request_is_withdrawn_while_it_waits_and_while_it_is_answered(service: Service) -> None:
    running = [service.ask(request("Compose", ENDLESS, who=who)) for who in "abc"]
    for pieces in running[:2]:
        next(pieces)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(next, running[2])
        wait_until(lambda: service.waiting == 1)
        service.withdraw("c")
        assert service.waiting == 0
        with pytest.raises(Withdrawn, match=r"^the question was withdrawn$"):
            first.result()
    service.withdraw("a")
    with pytest.raises(Withdrawn):
        list(running[0])
    wait_until(lambda: service.live == 1)
    service.withdraw("a")  # nothing is left of it
    running[1].close()
    wait_until(lambda: service.live == 0)


def test_a_free_slot_goes_to_whoever_has_the_fewest(tokenizer: PreTrainedTokenizerBase) -> None:
    service = Service(make_generator(tokenizer), slots=2)
    running = [service.ask(request("Compose", ENDLESS, who="a")) for _ in range(2)]
    for pieces in running:
        next(pieces)
    with ThreadPoolExecutor(2) as pool:
        own = service.ask(request("A reel", ENDLESS, who="a"))
        other = service.ask(request("A waltz", ENDLESS, who="b"))
        second = pool.submit(next, own)
        wait_until(lambda: service.waiting == 1)
        first = pool.submit(next, other)
        wait_until(lambda: service.waiting == 2)
        running[0].close()  # a has one in progress still, b none
        first.result()
        assert service.waiting == 1
        running[1].close()
        second.result()
    for pieces in (own, other):
        pieces.close()
    service.close()


def test_too_many_requests_are_refused_politely(service: Service) -> None:
    running = [service.ask(request("Compose", ENDLESS, who=who)) for who in "ab"]
    for pieces in running:
        next(pieces)
    with ThreadPoolExecutor(6) as pool:
        waiting = [service.ask(request("A jig", who=who)) for who in "aaacde"]
        firsts = [pool.submit(next, pieces) for pieces in waiting]
        wait_until(lambda: service.waiting == 6)
        with pytest.raises(Busy, match=r"^4 of your requests are not answered yet: wait for them, or stop one$"):
            next(service.ask(request("A jig", who="a")))
        with pytest.raises(Busy, match=r"^6 requests are waiting already: try again in a minute$"):
            next(service.ask(request("A jig", who="f")))
        for pieces in running:
            pieces.close()
        for first in firsts:
            first.result()
    for pieces in waiting:
        pieces.close()


def test_adapters_take_turns(model_folder: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    torch.manual_seed(1)
    lora = LoraConfig(r=4, lora_alpha=16, target_modules=["q_proj", "up_proj"], init_lora_weights=False)
    get_peft_model(make_model(len(tokenizer)), lora).save_pretrained(tmp_path / "adapter")
    source = {"model": str(model_folder), "adapters": {"reels": str(tmp_path / "adapter")}, "device": "cpu"}
    alone = load_generator(**source)
    expected = {name: alone.generate(["A jig"], SHORT, adapter=name)[0].text for name in ("reels", "base")}
    assert expected["reels"] != expected["base"]
    service = Service(load_generator(**source), slots=2)
    assert service.adapters == ("reels",)
    with ThreadPoolExecutor(12) as pool:
        asked = [request("A jig", adapter=name, who=str(i)) for i, name in enumerate(["reels", "base"] * 6)]
        found = list(pool.map(lambda one: answer(service, one).text, asked))
    with pytest.raises(UserError, match="adapter='polkas' is not loaded"):
        next(service.ask(request("A jig", adapter="polkas")))
    service.close()
    assert found == [expected["reels"], expected["base"]] * 6


def test_a_model_that_fails_tells_all_who_wait_for_it_and_goes_on(tokenizer: PreTrainedTokenizerBase) -> None:
    generator = make_generator(tokenizer)
    service = Service(generator, slots=2)
    pieces = service.ask(request("Compose", ENDLESS))
    next(pieces)
    weights = generator.model.model.norm.weight
    good = weights.detach().clone()
    with torch.no_grad():
        weights.fill_(float("nan"))
    with pytest.raises(UserError, match="logits are not finite"):
        list(pieces)
    with torch.no_grad():
        weights.copy_(good)
    assert answer(service, request("A jig")).tokens == 20
    service.close()


def test_who_waits_for_what_cannot_be_opened_is_told_and_the_next_are_answered(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    class Narrow(TransformersBackend):
        """Has room for nothing, at first."""

        tried = 0

        def open(self, **settings: Any) -> Any:
            self.tried += 1
            if self.tried <= 2:
                raise UserError("no room: set a smaller batch_size")
            return super().open(**settings)

    backend = Narrow(model=make_model(len(tokenizer), window=4096), tokenizer=tokenizer)
    service = Service(Generator(backend=backend))
    for _ in range(2):
        with pytest.raises(UserError, match=r"^no room: set a smaller batch_size$"):
            answer(service, request("A jig"))
    assert answer(service, request("A jig")).tokens == 20
    assert backend.tried == 3
    service.close()


def test_closing_fails_what_is_not_answered(service: Service) -> None:
    pieces = service.ask(request("Compose", ENDLESS))
    next(pieces)
    service.close()
    with pytest.raises(Busy, match="the model is being shut down"):
        list(pieces)
    with pytest.raises(Busy, match="the model is being shut down"):
        next(service.ask(request("A jig")))


def test_a_prompt_that_does_not_fit_is_refused_before_it_waits(service: Service) -> None:
    with pytest.raises(UserError, match="the model's window of 4096 tokens"):
        next(service.ask(request("long " * 5000)))
    assert service.live == service.waiting == 0


@pytest.mark.parametrize("name", ["slots", "queue", "each"])
def test_limits_below_one_are_refused(tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    with pytest.raises(UserError, match=rf"^{name}=0 is out of range: it must be 1 or more$"):
        Service(make_generator(tokenizer), **{name: 0})
