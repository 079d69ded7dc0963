"""Time `make quickstart` in a fresh clone, and collect its figures.

    python experiments/benchmarks/quickstart.py [--here]

The checkout's committed state is cloned into a temporary folder and ``make quickstart`` is run there: environment,
installation, preparing, training, merging, evaluation on 200 prompts of the test split, one rendered tune. With
``--here`` the pipeline alone is run, from scratch, in this checkout's environment. The last line is JSON:

- ``total_s``: seconds for everything; ``train_s``: seconds inside the training loops of pretraining and fine-tuning;
- ``bits_per_byte``: of the held-out tunes, under the exported model;
- ``parse_rate``, ``bar_rate``, ``copied_rate``: of the 200 sampled tunes.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Run the quickstart and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--here", action="store_true", help="use this environment: no clone and no installation")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.here:
            command = [sys.executable, "-m", "chatmusician.pipeline", "+experiment=quickstart"]
        else:
            subprocess.run(["git", "clone", "--quiet", str(ROOT), folder], check=True)
            command = ["make", "quickstart"]
        started = time.perf_counter()
        subprocess.run(command, cwd=folder, check=True)
        total = time.perf_counter() - started
        metrics = json.loads((Path(folder) / "outputs" / "quickstart" / "metrics.json").read_text())
    evaluation = metrics["evaluate"]
    figures = {
        "total_s": round(total, 1),
        "train_s": round(metrics["pretrain"]["train_s"] + metrics["finetune"]["train_s"], 1),
        "bits_per_byte": evaluation["bits_per_byte"],
        "parse_rate": evaluation["parse_rate"],
        "bar_rate": evaluation["bar_rate"],
        "copied_rate": evaluation["copied_rate"],
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
