"""Limits and the queue: what admission never gives, and in which order it gives."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from dask_sluice.server.admission import Admission, Demand
from dask_sluice.server.amounts import DIMENSIONS, GIB, Amounts, total
from dask_sluice.server.backends.protocol import Size
from dask_sluice.server.limits import SITE, LimitBook, Scope, scopes
from dask_sluice.server.model import Grant
from dask_sluice.server.settings_limits import Ceiling, ClusterCeiling, Limits, Shares
from dask_sluice.server.shares import Standing
from dask_sluice.wire.errors import LimitExceeded

MANY = 10_000
GROUPS = {"ada": ("lab",), "bob": ("lab", "class"), "eve": ()}
OWNERS = tuple(GROUPS)


def demand(cluster: str, owner: str = "ada", *, wanted: int = 0, cores: float = 1, since: float = 0.0) -> Demand:
    return Demand(
        cluster=cluster,
        owner=owner,
        groups=GROUPS.get(owner, ()),
        scheduler=Amounts(1, 0, 1000, 0, 0),
        worker=Amounts(0, 1, round(1000 * cores), GIB, 0),
        wanted=wanted,
        grant=Grant(),
        occupied=0,
        unsubmitted=0,
        since=since,
    )


@dataclass
class Clusters:
    """The records, as far as admission knows them, and what it has given."""

    admission: Admission
    now: float = 0.0
    demands: dict[str, Demand] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    """To whose cluster each unit went."""

    def put(self, demand: Demand) -> None:
        self.demands[demand.cluster] = demand
        self.admission.update(demand, self.now)

    def decide(self) -> dict[str, Grant]:
        granted, _ = self.admission.decide(self.now)
        return granted

    def written(self, granted: dict[str, Grant], *, submitted: bool = True) -> None:
        """What was given is in the records."""
        for name, grant in granted.items():
            was = self.demands[name]
            occupied = max(was.occupied, grant.workers)
            self.put(replace(was, grant=grant, occupied=occupied, unsubmitted=0 if submitted else was.unsubmitted))
            self.admission.settled(name, grant, self.now)


def clusters(**limits: object) -> Clusters:
    return Clusters(Admission(LimitBook(Limits.model_validate({"submits_at_once": MANY, **limits}))))


class Crowd(RuleBasedStateMachine):
    """Three users in two groups, any clusters, writes late or early, limits on everything."""

    @initialize(user=st.integers(1, 8), group=st.integers(1, 12), site=st.integers(1, 16), at_once=st.integers(1, 20))
    def limits(self, user: int, group: int, site: int, at_once: int) -> None:
        self.book = LimitBook(
            Limits(
                user=Ceiling(cores=user, clusters=3),
                group=Ceiling(workers=group),
                site=Ceiling(cores=site, memory=2 * site),
                groups={"class": Ceiling(cores=4)},
                submits_at_once=at_once,
            )
        )
        self.at_once = at_once
        self.all = Clusters(Admission(self.book))
        self.unwritten: dict[str, Grant] = {}

    @rule(number=st.integers(0, 6), owner=st.sampled_from(OWNERS), wanted=st.integers(0, 9), cores=st.integers(1, 3))
    def ask(self, number: int, owner: str, wanted: int, cores: int) -> None:
        name = f"{owner}-{number}"
        if (old := self.all.demands.get(name)) is not None:
            self.all.put(replace(old, wanted=wanted, grant=replace(old.grant, workers=min(old.grant.workers, wanted))))
        else:
            self.all.put(demand(name, owner, wanted=wanted, cores=cores, since=self.all.now))

    @rule()
    def decide(self) -> None:
        self.unwritten.update(self.all.decide())

    @rule(submitted=st.booleans())
    def write(self, submitted: bool) -> None:
        granted, self.unwritten = self.unwritten, {}
        granted = {name: grant for name, grant in granted.items() if name in self.all.demands}
        limited = {n: Grant(g.scheduler, min(g.workers, self.all.demands[n].wanted)) for n, g in granted.items()}
        self.all.written(limited, submitted=submitted)

    @rule(number=st.integers(0, 6), owner=st.sampled_from(OWNERS))
    def worker_ends(self, number: int, owner: str) -> None:
        if (old := self.all.demands.get(f"{owner}-{number}")) is not None and old.occupied:
            self.all.put(replace(old, occupied=old.occupied - 1))

    @rule(number=st.integers(0, 6), owner=st.sampled_from(OWNERS))
    def cluster_ends(self, number: int, owner: str) -> None:
        name = f"{owner}-{number}"
        if self.all.demands.pop(name, None) is not None:
            self.unwritten.pop(name, None)
            self.all.admission.forget(name, self.all.now)

    @rule(seconds=st.floats(0, 1000))
    def time_passes(self, seconds: float) -> None:
        self.all.now += seconds

    @invariant()
    def never_over_a_limit(self) -> None:
        if not hasattr(self, "all"):
            return
        for scope in {scope for each in self.all.demands.values() for scope in scopes(each.owner, each.groups)}:
            used = total(
                replace(
                    each,
                    grant=max(each.grant, self.unwritten.get(name, Grant()), key=lambda g: (g.scheduler, g.workers)),
                ).use
                for name, each in self.all.demands.items()
                if scope in scopes(each.owner, each.groups)
            )
            for bound in self.book.bounds(scope):
                assert used[bound.dimension] <= bound.most, (scope, bound)

    @invariant()
    def the_sums_are_those_of_the_parts(self) -> None:
        if not hasattr(self, "all"):
            return
        counted = [self.all.admission.demand(name) for name in self.all.demands]
        assert self.all.admission.used(SITE) == total(each.use for each in counted if each)
        assert self.all.admission.waiting == sum(each.waits for each in counted if each)

    @invariant()
    def nobody_waits_while_there_is_room(self) -> None:
        """After a decision everyone who waits is told why; deciding again gives nothing more."""
        if not hasattr(self, "all"):
            return
        self.unwritten.update(self.all.decide())
        assert not self.all.decide()
        for name in self.all.admission.line(self.all.now):
            assert self.all.admission.why(name) is not None


Crowd.TestCase.settings = settings(max_examples=max(100, settings().max_examples), stateful_step_count=30)
TestCrowd = Crowd.TestCase


@given(wants=st.lists(st.integers(1, 20), min_size=1, max_size=12), room=st.integers(0, 60))
def test_everybody_has_a_first_worker_before_anybody_has_a_third(wants: list[int], room: int) -> None:
    everybody = clusters(site={"workers": room})
    for number, wanted in enumerate(wants):
        everybody.put(demand(f"c{number}", f"user{number}", wanted=wanted))
    granted = everybody.decide()
    counts = [granted[f"c{number}"].workers for number in range(len(wants))]
    assert sum(counts) == min(room, sum(wants))
    for mine in range(len(wants)):
        assert counts[mine] >= min(wants[mine], max(counts) - 1)


def test_a_small_request_passes_a_large_one_that_does_not_fit() -> None:
    all_ = clusters(site={"cores": 10})
    all_.put(demand("a", "ada", wanted=3, cores=4))
    all_.put(demand("b", "bob", wanted=1, cores=1))
    granted = all_.decide()
    assert granted["b"] == Grant(True, 1)
    assert granted["a"].workers == 1
    block = all_.admission.why("a")
    assert block is not None
    assert block.bound is not None
    assert (block.scope, block.used, block.bound.shown) == (SITE, 7000, "10 cores (limits.site.cores)")


def test_one_users_thousand_do_not_stand_before_anothers_one() -> None:
    all_ = clusters(submits_at_once=16)
    all_.put(demand("a", "ada", wanted=1000))
    all_.written(all_.decide(), submitted=False)
    assert all_.demands["a"].grant.workers == 15  # the scheduler is one of the sixteen
    all_.put(demand("b", "bob", wanted=1))
    assert all_.decide()["b"] == Grant(True, 1)


def test_who_used_much_lately_is_served_later_and_less_so_with_time() -> None:
    standing = Standing(Shares(half_life_s=100))
    standing.used("ada", "", 10, 0.0)
    standing.used("ada", "", -10, 100.0)
    assert standing.of("ada", "", 100.0)[1] == pytest.approx(5)
    assert standing.of("ada", "", 200.0)[1] == pytest.approx(2.5)
    assert standing.of("bob", "", 200.0)[1] == 0


def test_what_was_used_before_a_restart_counts_as_if_there_had_been_none() -> None:
    through, anew = Standing(Shares(half_life_s=100)), Standing(Shares(half_life_s=100))
    through.used("ada", "lab", 4, 50.0)
    through.used("ada", "lab", -4, 130.0)
    anew.remember("ada", "lab", 4, 50.0, 130.0, time=300.0)
    assert anew.of("ada", "lab", 300.0) == pytest.approx(through.of("ada", "lab", 300.0))


@given(weight=st.integers(1, 5))
def test_weights_divide_what_there_is(weight: int) -> None:
    all_ = clusters(site={"workers": 60}, shares={"users": {"flo": weight}})
    all_.put(demand("a", "flo", wanted=100))
    all_.put(demand("e", "eve", wanted=100))
    granted = all_.decide()
    assert granted["a"].workers == pytest.approx(60 * weight / (weight + 1), abs=weight + 1)


def test_groups_share_before_their_members_do() -> None:
    all_ = clusters(site={"workers": 12})
    GROUPS.update({f"s{n}": ("class",) for n in range(5)})
    for name in ("ada", *(f"s{n}" for n in range(5))):
        all_.put(demand(f"c-{name}", name, wanted=100))
    granted = all_.decide()
    ada = granted.pop("c-ada").workers
    assert 1 + ada == pytest.approx(5 + sum(grant.workers for grant in granted.values()), abs=1)  # schedulers count


def test_starts_come_at_a_rate() -> None:
    all_ = clusters(starts_per_minute=60)
    all_.put(demand("a", "ada", wanted=100))
    granted, again_at = all_.admission.decide(0.0)
    assert granted["a"].workers == 9
    assert again_at == pytest.approx(1.0)
    all_.written(granted)
    assert all_.admission.decide(3.0)[0]["a"].workers == 12


def test_special_limits_replace_general_ones_key_by_key() -> None:
    book = LimitBook(Limits(user=Ceiling(cores=10, clusters=2), users={"ada": Ceiling(cores=100)}))
    shown = [bound.shown for bound in book.bounds(Scope("user", "ada"))]
    assert shown == ["2 clusters (limits.user.clusters)", "100 cores (limits.users.ada.cores)"]
    assert [bound.shown for bound in book.bounds(Scope("user", "bob"))][1] == "10 cores (limits.user.cores)"


@pytest.mark.parametrize(
    ("limits", "most", "by"),
    [
        (Limits(), 16, "16 workers (limits.cluster.workers, by the size of this machine)"),
        (Limits(cluster=ClusterCeiling(workers=40, cores=9)), 4, "9 cores (limits.cluster.cores)"),
        (Limits(user=Ceiling(memory=7.5)), 3, "7.5 GiB of memory (limits.user.memory)"),
        (Limits(groups={"lab": Ceiling(workers=2)}), 2, "2 workers (limits.groups.lab.workers)"),
    ],
)
def test_a_cluster_never_gets_more_than_its_tightest_limit(limits: Limits, most: int, by: str) -> None:
    assert LimitBook(limits).most_workers("ada", ("lab",), Size(1, 0, 1), Size(2, 2 * GIB, 2), 16) == (most, by)


def test_what_can_never_fit_is_refused_with_the_limit() -> None:
    with pytest.raises(LimitExceeded, match=r"one worker of this size would need 9 cores.*limits.site.cores") as caught:
        LimitBook(Limits(site=Ceiling(cores=8))).most_workers("ada", (), Size(1, 0, 1), Size(8, GIB, 8), 16)
    assert caught.value.details == {"limit": "limits.site.cores", "value": 8, "unit": "cores"}


def test_every_dimension_has_its_setting() -> None:
    assert tuple(d.name for d in DIMENSIONS) == tuple(Ceiling.model_fields)
    assert len(DIMENSIONS) == len(Amounts._fields)


def test_what_was_promised_since_still_counts_when_an_earlier_promise_is_written() -> None:
    all_ = clusters(site={"workers": 2})
    ada, bob = (replace(demand(name, name, wanted=1), grant=Grant(scheduler=True)) for name in ("ada", "bob"))
    all_.put(ada)
    first = all_.decide()["ada"]
    all_.put(replace(ada, wanted=2))
    assert all_.decide()["ada"].workers == 2
    all_.put(replace(ada, wanted=2, grant=first, occupied=1))
    all_.admission.settled("ada", first, all_.now)
    all_.put(bob)
    assert all_.decide() == {}
