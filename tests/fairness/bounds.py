"""What must hold in every world, judged from its history: who waited when, what was leased, what each end gave back.

The accounts themselves are not believed: a wrong account agrees with itself. Only the hook and the band compare the planner's figures, and
against a naive recomputation. Every ``ratio`` is the worst seen over its bound: above 1 the promise is broken.
"""

from dataclasses import dataclass, field
from math import inf

from jobs.job import JobId, UserId
from jobs.planner import Plan
from tests.fairness.world import SimJob, Watcher, World

SLACK = 1e-6
Flow = tuple[UserId, str]


@dataclass
class Lease:
    user: UserId
    pool: str
    predicted: float
    weight: float
    others: dict[str, float]


class History(Watcher):
    """Queued and active jobs by flow, kept apart from the line."""

    def __init__(self) -> None:
        self.queued: dict[UserId, dict[JobId, str]] = {}
        self.active: dict[UserId, int] = {}
        self.leases: dict[JobId, Lease] = {}
        self.contending: set[Flow] = set()
        self.between_weights: set[UserId] = set()
        """Whose weight has changed since they last began to wait, or while they had leases: the theorems speak of constant weights."""
        self._pools: dict[str, str] = {}

    def pools(self, world: World) -> dict[str, str]:
        """Pool by model, from the workers alone."""
        if self._pools:
            return self._pools
        able: dict[str, frozenset[str]] = {}
        for worker in world.workers.values():
            for model in worker.models:
                able[model] = able.get(model, frozenset()) | {worker.name}
        names: dict[frozenset[str], str] = {}
        for model in sorted(able):
            names.setdefault(able[model], model)
        self._pools = {model: names[workers] for model, workers in able.items()}
        return self._pools

    def now_contending(self, world: World, user: UserId) -> set[str]:
        if self.active.get(user, 0) >= world.rules.active_max:
            return set()
        pools = self.pools(world)
        return {pools[model] for model in self.queued.get(user, {}).values() if model in pools}

    def refresh(self, world: World, user: UserId) -> None:
        now = {(user, pool) for pool in self.now_contending(world, user)}
        if user in self.between_weights:
            same = all(lease.weight == world.users[user].weight for lease in self.leases.values() if lease.user == user)
            if now or not same:
                return
            self.between_weights.discard(user)
        before = {flow for flow in self.contending if flow[0] == user}
        self.contending = (self.contending - before) | now
        for flow in before - now:
            self.stopped(world, flow)
        for flow in now - before:
            self.began(world, flow)

    def began(self, world: World, flow: Flow) -> None: ...
    def stopped(self, world: World, flow: Flow) -> None: ...
    def charged(self, world: World, flow: Flow, virtual: float, *, own: bool) -> None: ...
    def chosen(self, world: World, flow: Flow) -> None: ...

    def waits(self, world: World, job: SimJob) -> None:
        self.queued.setdefault(job.user, {})[job.id] = job.key.model
        self.refresh(world, job.user)

    def leaves(self, world: World, job: SimJob) -> None:
        del self.queued[job.user][job.id]
        self.refresh(world, job.user)

    def leased(self, world: World, plan: Plan) -> None:
        pools = self.pools(world)
        for lease in plan.leases:
            user, pool = lease.job.user_id, pools[lease.job.key.model]
            weight, predicted = world.users[user].weight, world.queued[lease.job.id].predicted
            others = {name: v for name, v in lease.charged.items() if name != pool}
            self.leases[lease.job.id] = Lease(user, pool, predicted, weight, others)
            self.charged(world, (user, pool), predicted / weight, own=True)
            for name, virtual in others.items():
                self.charged(world, (user, name), virtual, own=False)
            self.chosen(world, (user, pool))
            del self.queued[user][lease.job.id]
            self.active[user] = self.active.get(user, 0) + 1
            self.refresh(world, user)

    def ended(self, world: World, job: SimJob, kept: float, *, done: bool) -> None:
        lease = self.leases.pop(job.id)
        self.charged(world, (lease.user, lease.pool), lease.predicted / lease.weight * (kept - 1), own=True)
        for name, virtual in lease.others.items():
            self.charged(world, (lease.user, name), virtual * (kept - 1), own=False)
        self.active[lease.user] -= 1
        self.refresh(world, lease.user)

    def reweighed(self, world: World, user: UserId) -> None:
        """Whatever this person's interval was ends here."""
        self.between_weights.add(user)
        for flow in [flow for flow in self.contending if flow[0] == user]:
            self.contending.discard(flow)
            self.stopped(world, flow)

    def realigned(self, world: World) -> None:
        """And of a constant fleet."""
        for flow in list(self.contending):
            self.stopped(world, flow)
        self.contending, self._pools = set(), {}
        for user in list(self.queued):
            self.refresh(world, user)


class Drift(History):
    """Theorem 1: any two who contend in a pool, over any interval in which both do."""

    def __init__(self) -> None:
        super().__init__()
        self.ratio = self.worst = 0.0
        self._pairs: dict[tuple[Flow, Flow], list[float]] = {}
        """(now, least, greatest) of W_u/w_u − W_x/w_x since both contend."""

    def began(self, world: World, flow: Flow) -> None:
        for other in self.contending:
            if other[1] == flow[1] and other != flow:
                self._pairs[min(flow, other), max(flow, other)] = [0.0, 0.0, 0.0]

    def stopped(self, world: World, flow: Flow) -> None:
        for pair in [pair for pair in self._pairs if flow in pair]:
            del self._pairs[pair]

    def charged(self, world: World, flow: Flow, virtual: float, *, own: bool) -> None:
        for other in self.contending:
            pair = (min(flow, other), max(flow, other))
            state = self._pairs.get(pair)
            if state is None:
                continue
            state[0] += virtual if pair[0] == flow else -virtual
            state[1], state[2] = min(state[1], state[0]), max(state[2], state[0])
            drift = state[2] - state[1]
            bound = world.rules.drift_bound(world.users[pair[0][0]].weight, world.users[pair[1][0]].weight)
            if drift / bound > self.ratio:
                self.ratio, self.worst = drift / bound, drift


class Comings(History):
    """Theorem 1': somebody who does what they like, against somebody who contends throughout."""

    def __init__(self) -> None:
        super().__init__()
        self.ratio = 0.0
        self._rises: dict[tuple[UserId, Flow], list[float]] = {}
        """(now, least) of P_x/w_x − W_u/w_u since u contends."""
        self._since: dict[Flow, dict[UserId, list[float]]] = {}

    def began(self, world: World, flow: Flow) -> None:
        self._since[flow] = {}

    def stopped(self, world: World, flow: Flow) -> None:
        self._since.pop(flow, None)

    def reweighed(self, world: World, user: UserId) -> None:
        for known in self._since.values():
            known.pop(user, None)
        super().reweighed(world, user)

    def charged(self, world: World, flow: Flow, virtual: float, *, own: bool) -> None:
        if flow in self._since:
            for state in self._since[flow].values():
                state[0] -= virtual
                state[1] = min(state[1], state[0])
        if not own:
            return
        for other, known in self._since.items():
            if other[1] == flow[1] and other[0] != flow[0]:
                state = known.setdefault(flow[0], [0.0, 0.0])
                state[0] += virtual
                state[1] = min(state[1], state[0])
                self._judge(world, flow[0], other[0], state[0] - state[1])

    def _judge(self, world: World, comer: UserId, stayer: UserId, rise: float) -> None:
        rules, weight = world.rules, world.users[comer].weight
        bound = rules.drift_bound(weight, world.users[stayer].weight) + rules.active_max * rules.cost_error * rules.cost_max / weight
        self.ratio = max(self.ratio, rise / bound)


class Starving(History):
    """Theorem 2: what others get while somebody contends and is not chosen. Sums start at the best moment for the accused."""

    def __init__(self) -> None:
        super().__init__()
        self.ratio = 0.0
        self._since: dict[Flow, dict[UserId, list[float]]] = {}

    def began(self, world: World, flow: Flow) -> None:
        self._since[flow] = {}

    def stopped(self, world: World, flow: Flow) -> None:
        self._since.pop(flow, None)

    def chosen(self, world: World, flow: Flow) -> None:
        if flow in self._since:
            self._since[flow] = {}

    def reweighed(self, world: World, user: UserId) -> None:
        for known in self._since.values():
            known.pop(user, None)
        super().reweighed(world, user)

    def charged(self, world: World, flow: Flow, virtual: float, *, own: bool) -> None:
        if not own:
            return
        rules, weight = world.rules, world.users[flow[0]].weight
        for (waiter, pool), known in self._since.items():
            if pool != flow[1] or waiter == flow[0]:
                continue
            state = known.setdefault(flow[0], [0.0, 0.0])
            state[0] += virtual * weight
            state[1] = min(state[1], state[0])
            reach = rules.reach + rules.overshoot / world.users[waiter].weight
            bound = weight * (reach + rules.reach) + rules.overshoot + rules.sag
            self.ratio = max(self.ratio, (state[0] - state[1]) / bound)


class Hook(Watcher):
    """At every lease v ≤ L + its window, with L and v recomputed by looking at everybody; the band; nobody idle while somebody waits."""

    def __init__(self) -> None:
        self.ratio = self.band = 0.0
        self.misread = 0
        """Leases whose L or v is not what a look at everybody says."""
        self.idle: list[str] = []
        self._v: dict[Flow, float] = {}
        self._waiting: dict[str, list[Flow]] = {}

    def planning(self, world: World, views: tuple) -> None:
        line = world.line
        self._v = {(user, pool): line.books.v(user, pool) for user in line.people for pool in line.books.pools}
        self._active = {user: person.active for user, person in line.people.items()}
        self._queued: dict[UserId, dict[JobId, str]] = {}
        for job in line.waiting.values():
            self._queued.setdefault(job.user_id, {})[job.id] = line.pool_of(line.need(job.key, job.exclude)) or ""

    def _least(self, world: World, worker: str) -> float:
        pools = set(world.line.pools_of(worker))
        free = [user for user in self._queued if self._active[user] < world.rules.active_max]
        return min((self._v[user, pool] for user in free for pool in set(self._queued[user].values()) & pools), default=inf)

    def leased(self, world: World, plan: Plan) -> None:
        low: dict[str, float] = {}
        for lease in plan.leases:
            job, worker = lease.job, lease.worker
            pool = self._queued[job.user_id][job.id]
            least = low.setdefault(worker, self._least(world, worker))
            v = self._v[job.user_id, pool]
            self.misread += abs(least - lease.low) > SLACK or abs(v - lease.v) > SLACK
            self.ratio = max(self.ratio, (v - least) / world.rules.reach if world.rules.reach else float(v > least + SLACK))
            for name, virtual in lease.charged.items():
                self._v[job.user_id, name] += virtual
            self._active[job.user_id] += 1
            del self._queued[job.user_id][job.id]

    def planned(self, world: World) -> None:
        line, rules = world.line, world.rules
        waiting = list(line.contending())
        between_weights = world.watchers[0].between_weights if isinstance(world.watchers[0], History) else ()
        for user, pool in waiting:
            if user in between_weights:
                continue
            v, clock, weight = line.books.v(user, pool), line.books.pools[pool].clock, line.person(user).weight
            above, below = rules.reach + rules.overshoot / weight, rules.sag / weight
            self.band = max(self.band, (v - clock) / above, (clock - v) / below if below else float(clock - v > SLACK))
        for worker in world.workers.values():
            if not worker.running and any(worker.name in line.books.pools[pool].workers for _, pool in waiting):
                self.idle.append(f"{worker.name} at {world.now:.1f}")


@dataclass
class Residency:
    leader: UserId
    model: str
    charged: float = 0.0


class Swaps(History):
    """Theorem 3, on one worker with one lane: a residency that is ended against its first leader's will charged them w·D_s at least."""

    def __init__(self) -> None:
        super().__init__()
        self.least = inf
        """The least growth of a first leader's account seen, over D_s: at least 1."""
        self.seen = 0
        self._now: Residency | None = None
        self._broken = False

    def charged(self, world: World, flow: Flow, virtual: float, *, own: bool) -> None:
        if self._now is not None and self._now.leader == flow[0]:
            self._now.charged += virtual

    def stopped(self, world: World, flow: Flow) -> None:
        if self._now is not None and flow[0] == self._now.leader:
            self._broken = True

    def leased(self, world: World, plan: Plan) -> None:
        leader = plan.leases[0]
        model, known = leader.job.key.model, self._now
        if leader.reason != "joiner" and (known is None or known.model != model):
            if known is not None and not self._broken and known.model in self.queued.get(known.leader, {}).values():
                self.seen += 1
                self.least = min(self.least, known.charged / world.rules.swap)
            self._now, self._broken = Residency(leader.job.user_id, model), False
        super().leased(world, plan)


@dataclass
class Verdict:
    """Worst over bound of each promise in one world."""

    drift: float = 0.0
    comings: float = 0.0
    starving: float = 0.0
    hook: float = 0.0
    band: float = 0.0
    misread: int = 0
    idle: list[str] = field(default_factory=list)
    jobs: int = 0

    @property
    def kept(self) -> bool:
        figures = (self.drift, self.comings, self.starving, self.hook, self.band)
        return max(figures) <= 1 + SLACK and not self.misread and not self.idle


def watchers() -> tuple[Drift, Comings, Starving, Hook]:
    return Drift(), Comings(), Starving(), Hook()


def verdict(world: World) -> Verdict:
    drift, comings, starving, hook = world.watchers[:4]
    assert isinstance(drift, Drift) and isinstance(comings, Comings) and isinstance(starving, Starving) and isinstance(hook, Hook)
    return Verdict(
        drift=drift.ratio,
        comings=comings.ratio,
        starving=starving.ratio,
        hook=hook.ratio,
        band=hook.band,
        misread=hook.misread,
        idle=hook.idle,
        jobs=len(world.done),
    )
