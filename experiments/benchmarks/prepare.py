"""Speed and memory of preparing data, and of reading what was prepared.

    python experiments/benchmarks/prepare.py [--rounds 3] [--megabytes 40] [--times 30]

The corpus is English (texts and docstrings of installed packages), code (their modules) and ABC (music21's tunes),
mixed, as JSON lines; the tokenizer is the 32,000-piece one of LLaMA's kind inside mistral-common (pip install
mistral-common); every contender has two processes. Contenders take turns, each in a process of its own. The last line
is JSON:

- ``speed_vs_batched_map``, ``speed_vs_row_map``: tokens a second of our whole preparation (reading, tokenising,
  packing, writing, flushed) over those of ``datasets.map`` with the same fast tokenizer, in batches and row by row as
  the original does it; medians of the rounds' ratios. All start with the tokenizer loaded, and the others with the rows
  in Arrow files;
- ``ids_identical``: whether every document has the tokenizer's own ids, and the shards have every document;
- ``fill``: the share of the rows' space that holds tokens, at 2,048 tokens a row;
- ``peak_mib``, ``peak_mib_30x``: the most memory of all our processes together, for the corpus once and ``--times``
  over;
- ``loader_tokens_per_s``, ``first_batch_s``, ``resume_s``, and the last two with ``_30x``: see ``loader_figures.py``.
"""

import argparse
import ast
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

from random_llama import write_tokenizer

PROCESSES = 2
SEQ_LEN = 2048
CONTENDERS = ("row_map", "batched_map", "ours")


def main() -> None:
    """Take every measurement and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="turns that each contender takes")
    parser.add_argument("--megabytes", type=int, default=40, help="size of the corpus")
    parser.add_argument("--times", type=int, default=30, help="how many copies of it the large corpus has")
    parser.add_argument("--turn", nargs=3, metavar=("CONTENDER", "FOLDER", "COPIES"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_DISABLE_PROGRESS_BARS="1", TOKENIZERS_PARALLELISM="false")
    if arguments.turn:
        contender, folder, copies = arguments.turn
        take_turn(contender, Path(folder), int(copies))
        return
    sys.path.insert(0, str(Path(__file__).parent))
    from loader_figures import loader_figures

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_corpus(folder, megabytes=arguments.megabytes)
        figures: dict[str, Any] = compare(folder, rounds=arguments.rounds)
        figures |= {"ids_identical": ids_are_identical(folder)}
        small = loader_figures(folder / "prepared")
        large_turn = run_turn("ours", folder, copies=arguments.times)
        large = loader_figures(folder / "prepared")
        print(
            f"{arguments.times} copies: {large_turn['tokens'] / large_turn['seconds']:,.0f} tokens a second", flush=True
        )
    figures |= {
        "peak_mib_30x": round(large_turn["peak_mib"]),
        "loader_tokens_per_s": round(small.tokens_per_s),
        "first_batch_s": round(small.first_batch_s, 3),
        "resume_s": round(small.resumed_batch_s, 3),
        "first_batch_s_30x": round(large.first_batch_s, 3),
        "resume_s_30x": round(large.resumed_batch_s, 3),
    }
    print(json.dumps(figures))


def make_corpus(folder: Path, *, megabytes: int) -> None:
    """Write ``mix.jsonl`` and the tokenizer."""
    sources = {"english": (english(), 0.375), "code": (code(), 0.5), "abc": (tunes(), 0.125)}
    rows = []
    for source, (texts, share) in sources.items():
        left = share * megabytes * 1_000_000
        for text in texts:
            rows.append({"text": text, "src": source})
            left -= len(text.encode())
            if left < 0:
                break
    random.Random(0).shuffle(rows)
    lines = [json.dumps({"id": number, **row}, ensure_ascii=False) + "\n" for number, row in enumerate(rows)]
    (folder / "mix.jsonl").write_text("".join(lines), encoding="utf-8")
    sizes = {source: sum(len(row["text"].encode()) for row in rows if row["src"] == source) for source in sources}
    print(f"{len(rows)} rows:", ", ".join(f"{size / 1e6:.1f} MB of {name}" for name, size in sizes.items()), flush=True)
    model = folder / "tokenizer"
    model.mkdir()
    write_tokenizer(model)


def package(name: str) -> Path:
    """The folder of an installed package."""
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise SystemExit(f"error: {name} is not installed; pip install {name.replace('_', '-')}")
    return Path(spec.origin).parent


def installed(*patterns: str) -> Iterator[str]:
    """The texts of files of installed packages, in an order of names."""
    files = chain.from_iterable(sorted(package("numpy").parent.rglob(pattern)) for pattern in patterns)
    for file in files:
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        if text.strip() and "\0" not in text:
            yield text


def english() -> Iterator[str]:
    """Descriptions and documentation, then docstrings, a module's as one text."""
    yield from installed("METADATA", "*.md", "*.rst")
    for module in code():
        try:
            tree = ast.parse(module)
        except (SyntaxError, ValueError, RecursionError):
            continue
        kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
        found = [ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, kinds)]
        if text := "\n\n".join(docstring for docstring in found if docstring):
            yield text


def code() -> Iterator[str]:
    """Modules."""
    return installed("*.py")


def tunes() -> Iterator[str]:
    """Every tune of music21's ABC files."""
    for file in sorted((package("music21") / "corpus").rglob("*.abc")):
        for text in file.read_text(encoding="utf-8", errors="replace").split("\nX:")[1:]:
            yield "X:" + text


def compare(folder: Path, *, rounds: int) -> dict[str, Any]:
    """All contenders in turns."""
    turns: dict[str, list[dict[str, float]]] = {contender: [] for contender in CONTENDERS}
    for number in range(1, rounds + 1):
        for contender, results in turns.items():
            results.append(run_turn(contender, folder, copies=1))
        speeds = {name: results[-1]["tokens"] / results[-1]["seconds"] for name, results in turns.items()}
        print(
            f"round {number}:", ", ".join(f"{name} {speed:,.0f} tokens/s" for name, speed in speeds.items()), flush=True
        )

    def ratio(other: str) -> float:
        pairs = zip(turns["ours"], turns[other], strict=True)
        return round(statistics.median(a["tokens"] / a["seconds"] * b["seconds"] / b["tokens"] for a, b in pairs), 2)

    return {
        "speed_vs_batched_map": ratio("batched_map"),
        "speed_vs_row_map": ratio("row_map"),
        "fill": turns["ours"][-1]["fill"],
        "peak_mib": round(max(turn["peak_mib"] for turn in turns["ours"])),
    }


def run_turn(contender: str, folder: Path, *, copies: int) -> dict[str, float]:
    """One turn in a process of its own."""
    shutil.rmtree(folder / "prepared", ignore_errors=True)
    os.sync()  # what the turn before left to be written is not this one's
    command = [sys.executable, __file__, "--turn", contender, str(folder), str(copies)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def take_turn(contender: str, folder: Path, copies: int) -> None:
    """Do one contender's work in this process and its children, and print what it took."""
    batched = contender == "batched_map"
    work = prepared_here(folder, copies) if contender == "ours" else mapped(folder, batched=batched)
    with MemoryOfAll() as memory:
        started = time.perf_counter()
        result = work()
        result["seconds"] = time.perf_counter() - started
    print(json.dumps(result | {"peak_mib": memory.peak_mib}))


def mapped(folder: Path, *, batched: bool) -> Callable[[], dict[str, float]]:
    """``datasets.map`` with the tokenizer, as the original and as most others do it."""
    import datasets
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")
    cache = tempfile.mkdtemp(dir=folder)
    rows = datasets.load_dataset("json", data_files=str(folder / "mix.jsonl"), split="train", cache_dir=cache)

    def tokenize(sample: dict[str, Any]) -> dict[str, Any]:
        ids = tokenizer(sample["text"], return_attention_mask=False, add_special_tokens=False)["input_ids"]
        return {"input_ids": ids, "labels": ids}

    def work() -> dict[str, float]:
        made = rows.map(tokenize, batched=batched, num_proc=PROCESSES, remove_columns=rows.column_names)
        ids = made.with_format("arrow")[:]["input_ids"]
        shutil.rmtree(cache)
        return {"tokens": sum(len(chunk.flatten()) for chunk in ids.chunks)}

    return work


def prepared_here(folder: Path, copies: int) -> Callable[[], dict[str, float]]:
    """Ours, from the file to shards; like the others it starts with the tokenizer loaded."""
    from chatmusician.data.preparation import PackingSettings, prepare
    from chatmusician.data.tokenizers import PretrainedTokenizer

    tokenizer = PretrainedTokenizer(path=str(folder / "tokenizer"))
    tokenizer.describe()

    def work() -> dict[str, float]:
        manifest = prepare(
            corpus=corpus(folder, copies),
            tokenizer=tokenizer,
            settings=PackingSettings(seq_len=SEQ_LEN),
            directory=folder / "prepared",
            workers=PROCESSES,
        )
        train = manifest.summary()["train"]
        return {"tokens": train["tokens"], "fill": train["fill"]}

    return work


def corpus(folder: Path, copies: int) -> Any:
    """The file, so many times."""
    from chatmusician.data.columns import TextColumn
    from chatmusician.data.rows import RowCorpus, RowSource

    files = [str(folder / "mix.jsonl")] * copies
    return RowCorpus(sources={"mix": RowSource(columns=TextColumn(), files=files, source="src")}, held_out=0.0)


class MemoryOfAll:
    """The most memory that this process and its children hold together, pages that they share counted once."""

    def __init__(self) -> None:
        self.peak_mib = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "MemoryOfAll":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.05):
            self.peak_mib = max(self.peak_mib, sum(map(_proportional_mib, _family(os.getpid()))))


def _family(process: int) -> Iterable[int]:
    """A process and all below it."""
    try:
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:
        children = []
    return chain([process], *(_family(int(child)) for child in children))


def _proportional_mib(process: int) -> float:
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def ids_are_identical(folder: Path) -> bool:
    """Every document against the tokenizer itself, and every document's ids against the shards."""
    import numpy as np

    from chatmusician.data.packed_rows import PackedRows
    from chatmusician.data.piece_encoding import exact_encoder
    from chatmusician.data.shards import load_manifest
    from chatmusician.data.tokenizers import load_tokenizer

    tokenizer = load_tokenizer(folder / "tokenizer")
    texts = [document.text for document in corpus(folder, 1).documents("train")]
    encode = exact_encoder(tokenizer)
    same, whole = True, set()
    for first in range(0, len(texts), 500):
        batch = texts[first : first + 500]
        encoding = encode(batch)
        ours = np.split(encoding.ids, encoding.ends[:-1])
        for ids, own in zip(ours, tokenizer(batch, add_special_tokens=False)["input_ids"], strict=True):
            same &= ids.tolist() == own
            if len(own) <= SEQ_LEN:
                whole.add(ids.tobytes())
    manifest = load_manifest(folder / "prepared")
    assert manifest is not None
    rows = PackedRows(folder / "prepared" / "train", manifest.splits["train"], seq_len=SEQ_LEN)
    for number in range(len(rows)):
        ids, _, lengths = rows[number]
        ends = np.cumsum(lengths)
        whole -= {
            ids[end - length : end].astype(np.uint32).tobytes() for end, length in zip(ends, lengths, strict=True)
        }
    return bool(same) and not whole


if __name__ == "__main__":
    main()
