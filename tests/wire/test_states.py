"""The state tables are complete, and what has ended stays ended."""

from dask_sluice.wire.states import CLUSTER_CHANGES, WORKER_CHANGES, ClusterState, WorkerState


def test_every_state_has_its_row() -> None:
    assert set(CLUSTER_CHANGES) == set(ClusterState)
    assert set(WORKER_CHANGES) == set(WorkerState)


def test_only_final_states_have_no_way_out() -> None:
    assert all(state.is_final == (not ways) for state, ways in CLUSTER_CHANGES.items())
    assert all(state.is_final == (not ways) for state, ways in WORKER_CHANGES.items())


def test_every_cluster_state_leads_to_an_end() -> None:
    for start in ClusterState:
        reached, frontier = {start}, {start}
        while frontier:
            frontier = {nxt for state in frontier for nxt in CLUSTER_CHANGES[state]} - reached
            reached |= frontier
        assert any(state.is_final for state in reached)
