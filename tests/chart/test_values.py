"""Values that are wrong are refused before anything is installed, with their place. Rows of the form d.N are those of
`shared/reference/deployments.md`: mistakes with which real sites lived for months.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from dask_sluice.server.settings import Settings
from scripts import chart_values

from .helm import CHART, VALUES, Refused, rendered, rights, template, values_of

WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("d.1 of the scheduler, a level too high", {"config": {"scheduler": {}}}, "/config': additional properties"),
    ("d.1 pods under the backend itself", {"config": {"backend": {"scheduler": {}}}}, "'scheduler' not allowed"),
    ("d.1 worker and backend the wrong way round", {"config": {"worker": {"backend": {}}}}, "'worker' not allowed"),
    ("d.1 settings without config", {"backend": {"kind": "kubernetes"}}, "'backend' not allowed"),
    ("d.1 the chart's name above its values", {"dask-sluice": {"config": {}}}, "'dask-sluice' not allowed"),
    ("d.1 dask-gateway's values", {"gateway": {"backend": {}}}, "/gateway': additional properties 'backend'"),
    ("d.1 dask-gateway's traefik", {"traefik": {"service": {"type": "ClusterIP"}}}, "'traefik' not allowed"),
    ("d.1 extraConfig in Python", {"gateway": {"extraConfig": {"a": "c.x = 1"}}}, "'extraConfig' not allowed"),
    ("d.2 Kubernetes' keys with underscores", {"placement": {"node_selector": {}}}, "'node_selector' not allowed"),
    ("d.2 a toleration's", {"placement": {"tolerations": [{"Operator": "Exists"}]}}, "/placement/tolerations/0"),
    (
        "d.2 of clusters' pods, Kubernetes' key where ours belongs",
        {"config": {"backend": {"kubernetes": {"pods": {"nodeSelector": {}}}}}},
        "/config/backend/kubernetes/pods': additional properties 'nodeSelector' not allowed",
    ),
    ("d.3 a setting misspelt", {"config": {"limits": {"clusters": {}}}}, "/config/limits': additional properties"),
    ("d.3 of another backend", {"config": {"timeouts": {"cluster_start_timeout": 1}}}, "/config/timeouts"),
    ("d.11 a text where a number belongs", {"config": {"listen": {"hello_timeout_s": "10 s"}}}, "want number"),
    ("what the chart decides", {"config": {"listen": {"port": 8000}}}, "/config/listen': additional properties 'port'"),
    ("a key of the image under the server", {"server": {"image": {}}}, "/server': additional properties 'image'"),
    ("a type that does not exist", {"service": {"type": "Loadbalancer"}}, "/service/type"),
    ("no replica", {"proxy": {"replicas": 0}}, "/proxy/replicas"),
    ("two servers, one SQLite file", {"server": {"replicas": 2}}, "set config.database.url to a PostgreSQL"),
    ("clusters in the server's pod", {"config": {"backend": {"kind": "local"}}}, "leave it out for 'kubernetes'"),
    (
        "namespaces of users without rights in them",
        {"config": {"backend": {"kubernetes": {"namespace": "dask-{user.escaped}"}}}},
        "name them in rbac.namespaces, or set rbac.clusterWide",
    ),
    ("a route without a Gateway", {"gateway": {"enabled": True}}, "needs gateway.parentRefs"),
    ("metrics without a token", {"monitoring": {"serviceMonitor": {"enabled": True}}}, "needs tokenSecret.name"),
]


@pytest.mark.parametrize(("values", "says"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_a_wrong_value_is_refused_with_its_place(values: dict[str, Any], says: str) -> None:
    with pytest.raises(Refused) as refused:
        template(values)
    assert says in str(refused.value)


@pytest.mark.parametrize("name", chart_values.files())
def test_what_is_written_from_the_code_is_current(name: str) -> None:
    written = (CHART / name).read_text()
    assert written == chart_values.files()[name], "python scripts/chart_values.py --write"


def test_the_defaults_in_values_yaml_are_those_of_the_schema() -> None:
    given = yaml.safe_load((CHART / "values.yaml").read_text())
    assert given.pop("config") == {}
    chart_values.Chart.model_validate(given)
    assert chart_values.Chart.model_validate(given) == chart_values.Chart()


def leaves(section: dict[str, Any], *above: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Paths of the values that are no section, and what they are."""
    for key, value in section.items():
        if isinstance(value, dict) and value and key not in ("resources", "labels"):
            yield from leaves(value, *above, key)
        else:
            yield (*above, key), value


def said(values: Any, path: tuple[str, ...], default: Any) -> Any:
    """What stands at this place, or the default."""
    for key in path:
        if not isinstance(values, dict) or key not in values:
            return default
        values = values[key]
    return values


def test_every_value_is_tried_in_one_of_the_files_of_values() -> None:
    """But for those that only leave something out: what is written is looked at by Kubernetes in `test_schemas.py`."""
    files = [values_of(name) for name in VALUES]
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    leaving_out = {("server", "data", "type"), ("server", "data", "existingClaim")}
    untried = [
        ".".join(path)
        for path, default in leaves(defaults)
        if default is not True
        and path not in leaving_out
        and all(said(each, path, default) == default for each in files)
    ]
    assert untried == []


def test_every_setting_of_the_server_can_be_given_but_for_what_the_chart_decides() -> None:
    document = chart_values.schema()
    known = set(document["$defs"]["config"]["properties"])
    assert set(Settings.model_fields) - known == {"data_dir"}
    assert document["$defs"]["config"]["additionalProperties"] is False


def test_every_section_is_closed_but_for_those_of_kubernetes() -> None:
    sections = [section for section in chart_values.schema()["$defs"].values() if "properties" in section]
    assert sections
    assert [section for section in sections if section["additionalProperties"] is not False] == []


def test_helm_may_say_that_the_chart_is_enabled_and_hand_down_what_is_global() -> None:
    assert rendered({"enabled": True, "global": {"storageClass": "fast"}})


def test_the_board_shows_metrics_that_there_are() -> None:
    board = json.loads((CHART / "files" / "grafana.json").read_text())
    expressions = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    shown = {name for each in expressions for name in re.findall(r"dask_sluice_\w+", each)}
    known = set(re.findall(r"^dask_sluice_\w+", described(), re.MULTILINE))
    assert shown
    assert {re.sub(r"_(bucket|count|total)$", "", name) for name in shown} <= known


def described() -> str:
    """Names of the server's metrics, one a line."""
    page = (CHART.parents[1] / "docs" / "operating.md").read_text()
    table = page.partition("| name (`dask_sluice_...`)")[2].partition("\n\n")[0]
    names = re.findall(r"`(\w+)`", "\n".join(line.split("|")[1] for line in table.splitlines()[2:]))
    return "\n".join("dask_sluice_" + re.sub(r"_total$", "", name) for name in names)


def test_the_rights_in_the_documents_are_those_of_the_role() -> None:
    page = (CHART.parents[1] / "docs" / "kubernetes-install.md").read_text()
    table = page.partition("<!-- rights -->\n")[2].partition("\n\n")[0].splitlines()[2:]
    told = [f"| {', '.join(rule['resources'])} | {', '.join(rule['verbs'])} |" for rule in rights()]
    assert table == told
