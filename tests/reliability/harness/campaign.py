"""Rounds of: change the tree, run the indexer, kill it, look at what is left; the next round goes on from there."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from dataclasses import dataclass, field
from random import Random

import numpy as np

from mmsearch import Library
from mmsearch.encoders import registry
from mmsearch.store.check import Problem

from . import oracle
from .child import Job, Outcome, ask, run
from .damage import damage
from .faults import FAULTS
from .oracle import Snapshot, Violation
from .pictures import png, random_pixels
from .world import SIZE, World

ROUNDS = 16
"""Rounds that one library lives through."""

MODELS = ("fake", "fake:64")


@dataclass(slots=True)
class Report:
    """What a campaign saw. ``kills`` counts landed kills by label."""

    rounds: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    completed: int = 0
    damaged: int = 0
    violations: list[Violation] = field(default_factory=list)

    @property
    def landed(self) -> int:
        return sum(self.kills.values())

    def unhit(self) -> list[str]:
        return sorted(label for label, count in self.kills.items() if not count)


@dataclass(slots=True)
class Aim:
    """Which labels there are in each phase of a library's life, and how often a run passes them."""

    passed: dict[tuple[str, str], int] = field(default_factory=dict)
    seconds: float = 0.1

    def learn(self, phase: str, outcome: Outcome) -> None:
        if outcome.done:
            self.seconds = 0.8 * self.seconds + 0.2 * outcome.seconds
        for label, count in outcome.labels.items():
            key = phase, label
            self.passed[key] = max(count, self.passed.get(key, 0))

    def least_hit(self, phase: str, kills: Counter[str], rng: Random) -> tuple[str, int] | None:
        labels = [label for where, label in self.passed if where == phase]
        if not labels:
            return None
        label = min(sorted(labels), key=lambda name: (kills[name], rng.random()))
        return label, rng.randint(1, self.passed[phase, label])


def warm_up(folder: str) -> None:
    """Import and do everything once, so that a fork starts with it."""
    world = World(os.fsencode(os.path.join(folder, "tree")), Random(0))
    world.mutate(5)
    with Library(os.path.join(folder, "library")) as library:
        library.index([world.root], model="fake", index="exact", device="cpu")
        library.repair()
        library.check("data")
        library.search("red", images=[min(world.files)])
    shutil.rmtree(folder)


class Campaign:
    """Everything is drawn from ``seed``, but for the moment of the kills at random times."""

    def __init__(self, folder: str, seed: int, fault: str | None = None, kill: bool = True) -> None:
        self.folder, self.seed, self.fault, self.kill = folder, seed, fault, kill
        self.report, self.aim = Report(), Aim()
        self.lives = 0
        warm_up(os.path.join(folder, "warm"))

    def until(self, kills: int, rounds: int = 10**9) -> Report:
        """Go on until so many kills landed, each label among them, or so many rounds are over, or a violation."""
        while not self.finished(kills, rounds):
            Life(self, Random(f"{self.seed}:{self.lives}")).live(kills, rounds)
            self.lives += 1
        return self.report

    def finished(self, kills: int, rounds: int) -> bool:
        for _, label in self.aim.passed:
            self.report.kills.setdefault(label, 0)
        enough = self.report.landed >= kills and not self.report.unhit()
        return enough or self.report.rounds >= rounds or bool(self.report.violations)


class Life:
    """One library from its birth on."""

    def __init__(self, campaign: Campaign, rng: Random) -> None:
        self.campaign, self.rng, self.report = campaign, rng, campaign.report
        self.folder = os.path.join(campaign.folder, f"life{campaign.lives}")
        self.library = os.path.join(self.folder, "library")
        self.log, self.answer = (os.path.join(self.folder, name) for name in ("log", "answer"))
        self.world = World(os.fsencode(os.path.join(self.folder, "tree")), rng)
        self.pictures = [self._query_picture()]
        self.before = Snapshot()
        self.ids: dict[tuple[str, int], str] = {}
        self.damaged: dict[str, bytes | None] = {}
        """Artifacts that were damaged, and what is left in them (None: no file)."""
        self.model = MODELS[0]
        self.planted = FAULTS[campaign.fault] if campaign.fault else None

    def live(self, kills: int, rounds: int) -> None:
        for number in range(ROUNDS):
            self._round(number)
            if self.campaign.finished(kills, rounds):
                break  # what follows from a violation is noise
        if not self.report.violations:
            shutil.rmtree(self.folder)

    def _round(self, number: int) -> None:
        self.world.mutate(self.rng.randint(8, 24) if not number else self.rng.randint(1, 8))
        op = self._operation()
        if unplugged := op == "index" and bool(self.before.rows) and self.rng.random() < 0.08:
            self.world.unplug()
        self._maybe_damage()
        phase = op if os.path.exists(self.library) else "first"
        job = self._job(op, phase)
        outcome = run(job, self.log)
        found, violations = ask(lambda: self._examine(job, outcome, unplugged), self.answer)
        if unplugged:
            self.world.plug()
        self._note(outcome, phase)
        violations += oracle.reused_ids(found, self.ids)
        where = f"seed {self.campaign.seed}, life {self.campaign.lives}, round {number}, {job.op} {outcome.killed}"
        self.report.violations += [(name, f"{why} [{where}]") for name, why in violations]
        self.before = found

    def _operation(self) -> str:
        repair = 6 if self.damaged else 1
        gc = (40 if self.report.unhit() else 12) if len(self.before.dims) > 1 else 1
        weights = {"index": 16, "repair": repair, "gc": gc, "prune": 1}
        return self.rng.choices(list(weights), list(weights.values()))[0] if self.before.rows else "index"

    def _job(self, op: str, phase: str) -> Job:
        many = self.planted is None or self.planted.models
        if many and self.rng.random() < 0.15:
            self.model = self.rng.choice(MODELS)
        at, after = self._kill(phase)
        return Job(
            library=self.library,
            tree=self.world.root,
            op=op,
            model=self.model,
            publish_above=self.rng.choice((0, 0, 12)),
            fault=self.campaign.fault,
            kill_at=at,
            kill_after=after,
        )

    def _kill(self, phase: str) -> tuple[tuple[str, int] | None, float | None]:
        draw = self.rng.random()
        if not self.campaign.kill or draw < 0.15:
            return None, None
        if self.planted and self.planted.kills:
            label = self.rng.choice(self.planted.kills)
            return (label, self.rng.randint(1, self.campaign.aim.passed.get((phase, label), 1))), None
        if draw < 0.4:
            return None, self.rng.uniform(0, self.campaign.aim.seconds)
        return self.campaign.aim.least_hit(phase, self.report.kills, self.rng), None

    def _note(self, outcome: Outcome, phase: str) -> None:
        self.campaign.aim.learn(phase, outcome)
        self.report.rounds += 1
        if outcome.killed:
            self.report.kills[outcome.killed] += 1
        elif outcome.done:
            self.report.completed += 1

    def _maybe_damage(self) -> None:
        wanted = 0.5 if self.planted and self.planted.damage else 0.1
        if self.rng.random() < wanted and (self.planted is None or self.planted.damage):
            done = damage(os.path.join(self.library, "artifacts"), self.rng)
            self.damaged |= done
            self.report.damaged += len(done)

    def _query_picture(self) -> str:
        path, pixels = os.path.join(self.folder, "query.png"), random_pixels(self.rng, SIZE)
        with open(path, "wb") as file:
            file.write(png(pixels))
        np.save(path + ".npy", pixels)
        return path

    # -- looking, in a fresh process ------------------------------------------------------------------------------

    def _examine(self, job: Job, outcome: Outcome, unplugged: bool) -> tuple[Snapshot, list[Violation]]:
        if self.planted:
            self.planted.plant()
        found = Snapshot()
        try:
            seen = self._checked(Library(self.library).check("data") if os.path.exists(self.library) else [])
            found = oracle.snapshot(self.library)
            seen += oracle.queries(self.library, found, self.pictures)
        except Exception as error:
            return found, [("opens", f"{type(error).__name__}: {error}")]
        space = next((s for s, dim in found.dims.items() if dim == registry.load(job.model).spec.dim), -1)
        seen += oracle.content(found, self.world)
        seen += oracle.losses(self.before, found, self.world, outcome.acknowledged, space)
        if not outcome.killed:
            seen += self._completed(job, outcome, found, space, unplugged)
        return found, seen

    def _checked(self, problems: list[Problem]) -> list[Violation]:
        """``check``: what it found and the harness did not do; ``unnoticed``: what it did not find."""
        damaged = {name for name, data in self.damaged.items() if self._artifact(name) == data}
        told = {problem.message.split()[0].rstrip(":") for problem in problems if problem.code == "artifact"}
        seen = [
            ("check", f"{problem.code}: {problem.message}")
            for problem in problems
            if problem.code != "artifact" or not told <= damaged
        ]
        for name in damaged & oracle.broken_artifacts(self.library) - told:
            seen.append(("unnoticed", f"{name} was damaged"))
        return seen

    def _artifact(self, name: str) -> bytes | None:
        try:
            with open(os.path.join(self.library, "artifacts", name), "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None

    def _completed(self, job: Job, outcome: Outcome, found: Snapshot, space: int, unplugged: bool) -> list[Violation]:
        """``exit``, ``incomplete``, ``counts``, ``encodes``: what a run that was not killed must have done."""
        if outcome.done is None:
            return [("exit", outcome.error or "no reason")]
        if job.op != "index" or unplugged:
            return [("encodes", f"{job.op} encoded")] if outcome.done["encoded"] else []
        seen, done, files = list[Violation](), outcome.done, set(self.world.files)
        if missing := files - oracle.current(found, self.world, space):
            seen.append(("incomplete", f"{len(missing)} files are not up to date: {sorted(missing)[:3]}"))
        if done["seen"] - done["missing"] != len(files):
            seen.append(("counts", f"{done} for {len(files)} files"))
        known = {row.sha256 for row in self.before.rows if space in row.vectors}
        new = sum(sha256 not in known for sha256 in self.world.files.values())
        if done["encoded"] > new:
            seen.append(("encodes", f"{done['encoded']} encoded, {new} were new"))
        if found.active != space:
            seen.append(("incomplete", "queries do not use the new space"))
        return seen
