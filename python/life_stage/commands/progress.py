"""Progress of a run: a line per phase, with the remaining time by the last successful run."""

from collections import Counter
from collections.abc import Mapping, Set
from dataclasses import dataclass, field

LABEL = 12  # width of a line's first word


@dataclass
class Progress:
    """Finished nodes and seconds of each phase; nodes that run at the same time share the seconds equally.

    Moments are in seconds since the run began. The phase `start` lasts until the nodes are known.
    """

    before: Mapping[str, float] = field(default_factory=dict)  # seconds by phase of the last successful run
    phases: Mapping[str, str] = field(default_factory=dict)  # of the nodes
    seconds: Counter[str] = field(default_factory=Counter)
    running: set[str] = field(default_factory=set)
    finished: dict[str, bool] = field(default_factory=dict)  # whether a node was built, or its test passed
    moment: float = 0

    def pass_time(self, now: float) -> None:
        """Add the time since the last event to the phases of the running nodes."""
        shared = [self.phases[node] for node in self.running] or ["start"] * (not self.phases)
        for phase in shared:
            self.seconds[phase] += (now - self.moment) / len(shared)
        self.moment = now

    def plan(self, phases: Mapping[str, str], now: float) -> str:
        """The nodes are known; returns the line of the phase `start`."""
        self.pass_time(now)
        self.phases = phases
        return self.line("start", "settings and source checked")

    def begin(self, node: str, now: float) -> None:
        """A node begins."""
        self.pass_time(now)
        self.running |= {node} & self.phases.keys()

    def end(self, node: str, is_ok: bool, now: float) -> str | None:
        """A node ends, or is skipped; returns the line of its phase if no other node of it is left."""
        self.pass_time(now)
        self.running.discard(node)
        if node not in self.phases or node in self.finished:
            return None
        self.finished[node] = is_ok
        phase = self.phases[node]
        if self.done()[phase] < Counter(self.phases.values())[phase]:
            return None
        results = [self.finished[name] for name, of in self.phases.items() if of == phase]
        return self.line(phase, f"{sum(results)} of {len(results)} nodes") if any(results) else None

    def done(self) -> Counter[str]:
        """Finished nodes by phase."""
        return Counter(self.phases[node] for node in self.finished)

    def line(self, label: str, text: str) -> str:
        """The text of a phase with its seconds, the share of all nodes, the elapsed and the remaining time."""
        took = f" in {duration(self.seconds[label])}" if label in self.seconds else ""
        n_done, n_all = len(self.finished), len(self.phases)
        line = f"{label:<{LABEL}}{text}{took}; {100 * n_done // max(n_all, 1)} % of all nodes"
        line += f" after {duration(self.moment)}"
        totals = Counter(self.phases.values())
        left = {phase: 1 - n / totals[phase] for phase, n in self.done().items()}
        remain = remaining(self.before, self.seconds, left, {"start"}) if all(self.finished.values()) else None
        return line if remain is None else f"{line}, about {duration(remain)} remain"

    def waiting(self, now: float) -> str:
        """A line about the nodes that run, in a long phase."""
        self.pass_time(now)
        nodes = sorted(node.split(".")[2] for node in self.running)
        return self.line("", f"... {', '.join(nodes) or 'dbt'}")


def remaining(
    before: Mapping[str, float], seconds: Mapping[str, float], left: Mapping[str, float], over: Set[str] = frozenset()
) -> float | None:
    """Seconds that remain by the last run's seconds of each phase; None without a last run.

    Of each phase, the smaller of its share of nodes that are left, and of the time that it has not yet had.
    """
    if not before:
        return None
    return sum(
        min(last * left.get(phase, 1), max(last - seconds.get(phase, 0), 0))
        for phase, last in before.items()
        if phase not in over
    )


def duration(seconds: float) -> str:
    """Seconds, from 100 on minutes, as text."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{round(seconds)} s" if seconds < 99.5 else f"{minutes} min {rest} s"
