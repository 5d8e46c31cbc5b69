"""What the hub's answers make of a caller, and where the hub is; the hub itself is in tests/hub.

Whatever a hub answers, only its own words decide: nobody is an administrator, in a group or a notebook by accident.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_sluice.server.clock import ManualClock
from dask_sluice.server.identity.jupyterhub.authenticator import JupyterHubAuthenticator
from dask_sluice.server.identity.jupyterhub.callers import caller_of, running
from dask_sluice.server.identity.jupyterhub.place import Place, place
from dask_sluice.server.identity.jupyterhub.settings import JupyterHubSettings
from dask_sluice.server.identity.protocol import Closes, KnowsNotebooks, LogsInElsewhere, Shown
from dask_sluice.server.identity.registry import make_authenticator
from dask_sluice.server.model import Caller
from dask_sluice.server.settings_schema import Authenticator as AuthenticatorSettings
from dask_sluice.server.startup import CannotStart
from dask_sluice.wire.errors import IdentityUnavailable, PermissionDenied

SCOPE = "access:services!service=dask-gateway"
API = {"JUPYTERHUB_API_URL": "http://hub:8081/hub/api"}


def here(**environ: str) -> Place:
    return place(JupyterHubSettings(), {**API, **environ})


def model(name: str = "ada", **changes: Any) -> dict[str, Any]:
    return {"kind": "user", "name": name, "admin": False, "groups": [], "scopes": [SCOPE], **changes}


def told(answer: dict[str, Any], **settings: Any) -> Caller:
    return caller_of(answer, here(), JupyterHubSettings(**settings))


@pytest.mark.parametrize("scope", [SCOPE, "access:services"])
def test_the_scope_of_our_service_or_of_all_lets_in(scope: str) -> None:
    assert told(model(scopes=["read:users", scope])) == Caller("ada")


@pytest.mark.parametrize(
    "scopes", [[], ["access:services!service=other"], ["access:services!user=ada"], "access:services", None]
)
def test_any_other_scope_does_not_and_the_sentence_names_the_right_one(scopes: Any) -> None:
    with pytest.raises(PermissionDenied, match="lacks the scope access:services!service=dask-gateway"):
        told(model(scopes=scopes))
    assert told(model(scopes=scopes), require_scope=False).name == "ada"


def test_a_hub_that_knows_no_scopes_is_told_apart_from_a_user_without_them() -> None:
    answer = model()
    del answer["scopes"]
    with pytest.raises(PermissionDenied, match=r"as hubs before 2\.0 did"):
        told(answer)


def test_a_service_and_a_user_of_its_name_are_two() -> None:
    names = {told(model(name, kind=kind)).name for kind in ("user", "service") for name in ("ci", "service:ci")}
    assert names == {"ci", "service:ci", "user:service:ci", "service:service:ci"}


def test_groups_and_the_admin_flag_are_the_hubs() -> None:
    root = model("root", admin=True, groups=["lab", "a/b", "class"])
    assert told(root) == Caller("root", is_admin=True, groups=("lab", "class"))
    assert not told(root, hub_admins=False).is_admin
    assert told(model(groups=["ops"]), admin_groups=("ops",)).is_admin
    assert not told(model(admin="yes", groups="lab")).is_admin


def test_only_members_of_the_groups_that_are_named_come_in() -> None:
    allowed = {"allowed_groups": ("lab", "ops")}
    assert told(model(groups=["lab"]), **allowed).groups == ("lab",)
    with pytest.raises(PermissionDenied, match="in none of the groups that may use Dask here: lab, ops"):
        told(model(groups=["class"]), **allowed)
    assert told(model("root", admin=True), **allowed).is_admin
    assert told(model("ci", kind="service"), **allowed).name == "service:ci"


@pytest.mark.parametrize(
    ("scopes", "notebook"),
    [
        (["access:servers!server=ada/"], "ada/"),
        (["access:servers!server=ada/second", "users:activity!user=ada"], "ada/second"),
        (["access:servers!user=ada"], ""),
        (["access:servers!server=ada/", "access:servers!server=ada/second"], ""),
        (["access:servers", "access:servers!server=ada/"], ""),
        ([], ""),
    ],
)
def test_a_notebooks_token_says_which_notebook_and_one_made_by_hand_says_none(scopes: list[str], notebook: str) -> None:
    assert told(model(scopes=[SCOPE, *scopes])).notebook == notebook


@pytest.mark.parametrize("name", ["auth0|12", "ada lovelace", "josé", "ada@example.org", "0000-0002-1825-0097"])
def test_names_that_hubs_give_are_taken_as_they_are(name: str) -> None:
    assert told(model(name)).name == name


@pytest.mark.parametrize("name", ["../ada", "a/b", "-rf", ".ada", "ada\n", " ada", "ada ", "<b>", "a" * 129])
def test_names_that_would_do_harm_are_refused_as_such(name: str) -> None:
    with pytest.raises(PermissionDenied, match="cannot be used here"):
        told(model(name))


@given(
    st.dictionaries(
        st.sampled_from(["kind", "admin", "groups", "scopes", "server"]),
        st.recursive(
            st.none() | st.booleans() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3), max_leaves=5
        ),
    )
)
def test_whatever_a_hub_answers_is_a_caller_without_powers_or_a_refusal(answer: dict[str, Any]) -> None:
    try:
        caller = told({"name": "ada", **answer})
    except PermissionDenied:
        return
    assert caller.is_admin == (answer.get("admin") is True)


def test_servers_that_are_stopping_or_have_stopped_do_not_run() -> None:
    servers = {
        "": {"started": "monday", "pending": None, "ready": True},
        "second": {"started": "tuesday", "pending": "spawn", "ready": False},
        "third": {"started": "monday", "pending": "stop"},
        "fourth": {"started": None, "stopped": True},
        "broken": None,
    }
    assert running(servers, "ada") == {"ada/": "monday", "ada/second": "tuesday"}


def test_the_hub_is_found_by_setting_environment_or_kubernetes_service() -> None:
    kubernetes = {"HUB_SERVICE_HOST": "10.0.0.7", "HUB_SERVICE_PORT": "8081"}
    assert place(JupyterHubSettings(), kubernetes).api_url == "http://10.0.0.7:8081/hub/api"
    based = place(JupyterHubSettings(base_url="/lab"), kubernetes)
    assert (based.api_url, based.authorize_url) == (
        "http://10.0.0.7:8081/lab/hub/api",
        "/lab/hub/api/oauth2/authorize",
    )
    v6 = place(JupyterHubSettings(), {"HUB_SERVICE_HOST": "fd00::7", "JUPYTERHUB_BASE_URL": "/x/"})
    assert v6.api_url == "http://[fd00::7]:8081/x/hub/api"
    assert here().api_url == API["JUPYTERHUB_API_URL"]
    given = place(JupyterHubSettings(api_url="https://hub.example.org/lab/hub/api"), API)
    assert (given.api_url, given.authorize_url) == (
        "https://hub.example.org/lab/hub/api",
        "/lab/hub/api/oauth2/authorize",
    )
    with pytest.raises(CannotStart, match="nothing says where the JupyterHub is"):
        place(JupyterHubSettings(), {})


def test_a_managed_service_learns_everything_from_the_hub() -> None:
    mine = here(
        JUPYTERHUB_SERVICE_NAME="dask",
        JUPYTERHUB_API_TOKEN="secret",
        JUPYTERHUB_HOST="https://hub.example.org",
        JUPYTERHUB_OAUTH_CALLBACK_URL="https://dask.example.org/services/dask/oauth_callback",
    )
    assert (mine.scope, mine.client_id, mine.service_token()) == (
        "access:services!service=dask",
        "service-dask",
        "secret",
    )
    assert mine.authorize_url == "https://hub.example.org/hub/api/oauth2/authorize"


async def test_a_mounted_token_is_read_anew_and_one_that_is_not_there_keeps_the_server_from_starting(
    tmp_path: Path,
) -> None:
    file = tmp_path / "token"
    settings = JupyterHubSettings.model_validate({"service_token": {"file": str(file)}})
    with pytest.raises(CannotStart, match="service_token: its file cannot be read"):
        await JupyterHubAuthenticator(settings=settings, environ=API).start(tmp_path)
    file.write_text("first-token\n")
    door = JupyterHubAuthenticator(settings=settings, environ=API)
    await door.start(tmp_path)
    assert door.is_herald(Shown("token", "first-token"))
    file.write_text("second-token\n")
    assert not door.is_herald(Shown("token", "first-token"))
    assert door.is_herald(Shown("token", "second-token"))
    await door.close()


async def test_a_hub_that_does_not_answer_is_asked_once_in_a_while_and_everybody_is_told_the_same(
    tmp_path: Path,
) -> None:
    environ = {"JUPYTERHUB_API_URL": "http://127.0.0.1:9/hub/api"}  # discard: nobody listens there
    clock = ManualClock()
    door = JupyterHubAuthenticator(clock=clock, environ=environ)
    await door.start(tmp_path)
    for token in ("one", "two"):
        with pytest.raises(IdentityUnavailable) as caught:
            await door.authenticate(Shown("jupyterhub", token))
        assert caught.value.retry_after_s
        assert "token" not in str(caught.value.details)
    assert await door.authenticate(Shown("negotiate", "one")) is None
    assert await door.authenticate(Shown("bearer", "")) is None
    assert await door.authenticate(Shown("bearer", "tökén")) is None
    assert await door.notebooks("ada") is None
    await door.close()


def test_the_settings_choose_it_and_it_can_all_that_the_pages_ask_for() -> None:
    made = make_authenticator(AuthenticatorSettings.model_validate({"kind": "jupyterhub"}))
    assert isinstance(made, JupyterHubAuthenticator)
    assert isinstance(made, LogsInElsewhere)
    assert isinstance(made, KnowsNotebooks)
    assert isinstance(made, Closes)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"service_token": "1234567"}, "at least 8 characters"),
        ({"service_token": {"path": "/x"}}, "'file:' with the path"),
        ({"key_file": "/x"}, "belong together"),
        ({"api_url": "hub:8081"}, "must be an address"),
        ({"base_url": "lab"}, "must be a path"),
        ({"service_name": "a b"}, "must be the name of a service"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(wrong: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        JupyterHubSettings(**wrong)
