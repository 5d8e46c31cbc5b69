"""A token of the hub is its owner here, if the hub says that it may use us; whoever may not is told what is missing.

Everything goes by way of the hub's own proxy at `/services/dask-gateway`, as it does for users.
"""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from .conftest import CONFIG, Pair, running_pair, server_for
from .hub import wait_a_little

pytestmark = pytest.mark.real
SCOPE = "access:services!service=dask-gateway"


def test_a_token_with_the_scope_is_its_owner_with_the_hubs_groups(pair: Pair) -> None:
    token = pair.hub.token("ada", SCOPE)
    assert pair.ask(token).json()["user"] == "ada"
    assert not pair.ask(token).json()["is_admin"]
    plan = pair.ask(token, "/api/v2/clusters?dry_run=true", "POST", json={}).json()
    assert sorted(plan["groups"]) == ["class", "lab"]


def test_a_users_whole_token_has_the_scope_by_the_role_that_the_extension_gives(pair: Pair) -> None:
    assert pair.ask(pair.hub.token("ada")).json()["user"] == "ada"


def test_a_token_without_the_scope_is_refused_with_the_name_of_the_scope(pair: Pair) -> None:
    token = pair.hub.token("ada", "read:users!user=ada")
    answer = pair.ask(token)
    assert answer.status_code == 403
    assert answer.json()["detail"] == f"the token of ada lacks the scope {SCOPE}"
    assert "roles" in answer.json()["hint"]
    old = pair.ask(token, "/api/v1/clusters/")
    assert old.status_code == 403
    assert SCOPE in old.json()["error"], "dask_gateway's clients show this text"


def test_no_token_and_a_wrong_one_ask_for_a_login(pair: Pair) -> None:
    assert httpx.get(f"{pair.hub.gateway}/api/v2/").status_code == 401
    assert pair.ask("a guess").status_code == 401
    old = httpx.get(f"{pair.hub.gateway}/api/v1/options")
    assert (old.status_code, old.headers["www-authenticate"]) == (401, "jupyterhub")


def test_a_service_is_not_the_user_of_its_name(pair: Pair) -> None:
    answer = pair.ask("token-of-the-service-ada").json()
    assert answer["user"] == "service:ada"
    assert not answer["is_admin"]


def test_the_hubs_administrators_see_everybodys_clusters_and_other_users_only_their_own(pair: Pair) -> None:
    ada, grace, root = (pair.hub.token(user) for user in ("ada", "grace", "root"))
    name = pair.ask(ada, "/api/v2/clusters", "POST", json={}).json()["name"]
    assert pair.ask(root).json()["is_admin"]
    assert pair.ask(root, f"/api/v2/clusters/{name}").json()["owner"] == "ada"
    assert pair.ask(grace, f"/api/v2/clusters/{name}").status_code == 404
    assert pair.ask(ada, f"/api/v2/clusters/{name}", "DELETE").status_code == 202


def test_a_revoked_token_is_refused_once_the_answer_about_it_is_forgotten(pair: Pair) -> None:
    made = pair.hub.api("POST", "/users/ada/tokens", json={"scopes": [SCOPE]})
    assert pair.ask(made["token"]).status_code == 200
    pair.hub.api("DELETE", f"/users/ada/tokens/{made['id']}")
    wait_a_little(0.6)  # authenticator.jupyterhub.remember_s is 0.5
    assert pair.ask(made["token"]).status_code == 401


def test_only_the_hub_can_say_that_notebook_servers_have_ended(pair: Pair) -> None:
    for token in (pair.hub.token("root"), "token-of-the-service-ada"):
        assert pair.ask(token, "/api/v2/notebooks", "POST", json={"user": "ada"}).status_code == 401


def test_a_hub_that_is_away_is_not_a_wrong_token_and_interrupts_nobody(hub_python: Path, tmp_path: Path) -> None:
    with running_pair(hub_python, tmp_path, CONFIG, {"backend": {"kind": "fake"}}) as own:
        known, unknown = own.hub.token("ada"), own.hub.token("grace")
        direct = f"{own.hub.server_url}{own.hub.prefix}/api/v2/"
        assert httpx.get(direct, headers={"Authorization": f"token {known}"}).json()["user"] == "ada"
        own.hub.kill()
        wait_a_little(0.6)
        refused = httpx.get(direct, headers={"Authorization": f"token {unknown}"})
        assert refused.status_code == 503
        assert refused.json()["code"] == "identity_unavailable"
        assert "Nothing is wrong with your token" in refused.json()["hint"]
        assert int(refused.headers["retry-after"]) >= 1
        assert httpx.get(direct, headers={"Authorization": f"token {known}"}).json()["user"] == "ada", "still known"


def test_without_scopes_only_where_the_administrator_says_so(pair: Pair, tmp_path: Path) -> None:
    token = pair.hub.token("ada", "read:users!user=ada")
    with server_for(pair.hub, tmp_path, {"backend": {"kind": "fake"}}, port=0, require_scope=False) as lax:
        answer = httpx.get(f"{lax.address}/api/v2/", headers={"Authorization": f"token {token}"})
        assert answer.json()["user"] == "ada"
