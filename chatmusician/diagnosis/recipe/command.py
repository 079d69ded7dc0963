"""The verdict on a run, as the doctor asks for it: estimated while other checks wait, then held against the machine."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatmusician.diagnosis.computing import Peaks
from chatmusician.diagnosis.findings import Finding, State
from chatmusician.diagnosis.resources import Resources
from chatmusician.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from chatmusician.diagnosis.recipe.estimate import Estimate

OWN_KEYS = ("json", "output", "hydra")
"""First parts of keys of the doctor; whatever else is overridden is of a training run, and asks for its verdict."""


def is_asked(overrides: Sequence[str]) -> bool:
    """Whether overrides of the command line are about a run.

    >>> is_asked(["json=true"]), is_asked(["json=true", "+experiment=sft_78k"])
    (False, True)
    """
    return any(override.lstrip("+~").partition("=")[0].partition(".")[0] not in OWN_KEYS for override in overrides)


class Recipe:
    """The run that a configuration of ``train`` describes."""

    def __init__(self, cfg: "DictConfig", asked: Sequence[str]) -> None:
        self._cfg = cfg
        self._asked = [override for override in asked if is_asked([override])]
        self._estimate: Future[Estimate] | None = None
        self._report: dict[str, Any] = {"overrides": self._asked}
        self.lacking: list[str] = []
        """What does not fit, once `findings` has told it."""

    @property
    def title(self) -> str:
        """The heading of its section."""
        return f"The run: {' '.join(self._asked)}"

    def begin(self, executor: Executor) -> None:
        """Estimate in the background."""
        self._estimate = executor.submit(self._estimated, self._cfg)

    @staticmethod
    def _estimated(cfg: "DictConfig") -> "Estimate":
        from chatmusician.diagnosis.recipe.estimate import estimate
        from chatmusician.machine import this_machine

        return estimate(cfg, machine=this_machine())

    def findings(self, machine: Resources, peaks: Peaks) -> Iterator[Finding]:
        """The run in numbers, and whether it fits."""
        from chatmusician.diagnosis.recipe.verdict import figures, shortages

        assert self._estimate is not None, "begin() was called"
        try:
            estimate = self._estimate.result()
        except UserError as error:
            reason, _, remedy = str(error).partition("; ")
            self.lacking = [reason]
            yield Finding(name="estimate", state=State.MISSING, found=reason, remedy=remedy)
            return
        self._report["estimate"] = asdict(estimate)
        yield from figures(estimate, machine, peaks)
        for problem in estimate.problems:
            reason, _, remedy = problem.message.partition(": ")
            yield Finding(name="problem", state=State.MISSING, found=f"{problem.path}: {reason}", remedy=remedy)
        too_much = shortages(estimate, machine)
        for line in too_much:
            yield Finding(name="too much", state=State.MISSING, found=line)
        self._report["shortages"] = too_much
        self.lacking = [*(problem.path for problem in estimate.problems), *too_much]
        yield self._verdict(estimate, machine, peaks)

    def _verdict(self, estimate: "Estimate", machine: Resources, peaks: Peaks) -> Finding:
        from chatmusician.diagnosis.recipe.verdict import duration, remedies, step_seconds

        if not self.lacking:
            return Finding(name="verdict", state=State.OK, found="fits on this machine")
        overrides, fitting = remedies(estimate, machine, lambda more: self._estimated(self._composed(more)))
        self._report["remedies"] = overrides
        if fitting is None:
            found, remedy = "does not fit on this machine", "use a larger one"
            return Finding(name="verdict", state=State.MISSING, found=found, remedy=remedy)
        seconds = step_seconds(fitting, machine, peaks)
        speed = "" if seconds is None else f", at best {duration(seconds)} a step"
        whole = "" if seconds is None or fitting.steps is None else f" and {duration(seconds * fitting.steps)} in all"
        found = f"does not fit as it is; with these it does{speed}{whole}"
        return Finding(name="verdict", state=State.MISSING, found=found, remedy=" ".join(overrides))

    def _composed(self, more: Sequence[str]) -> "DictConfig":
        """The configuration with further overrides, which replace those that were given."""
        from hydra.core.hydra_config import HydraConfig

        from chatmusician.config.composition import compose

        sources = HydraConfig.get().runtime.config_sources
        folder = next((Path(source.path) for source in sources if source.provider == "command-line"), None)
        replaced = {override.partition("=")[0] for override in more}
        kept = [override for override in self._asked if override.partition("=")[0] not in replaced]
        return compose("doctor", [*kept, *more], config_dir=folder)

    def report(self) -> dict[str, Any]:
        """For programs: the overrides, the estimate, and what is lacking."""
        return self._report
