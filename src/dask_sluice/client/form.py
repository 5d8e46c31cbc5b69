"""The options form of a notebook. Imported only where ipywidgets is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
import yaml

from ..wire.errors import OptionInvalid
from ..wire.options import Option, OptionType

if TYPE_CHECKING:
    from .options import Options


def make_form(options: Options) -> Any:
    """A grid of label, input and status, one row per option, bound to `options` both ways."""
    rows: list[Any] = []
    inputs: dict[str, Any] = {}
    for option in options.specification:
        if option.hidden:
            continue
        field, status = _input(option, options[option.name]), widgets.HTML()
        field.observe(_setter(options, option, status), names="value")
        inputs[option.name] = field
        rows += [widgets.Label(option.title, tooltip=option.help), field, status]
    options.on_change(lambda name, value: _show(inputs[name], value) if name in inputs else None)
    grid = widgets.GridBox(rows, layout=widgets.Layout(grid_template_columns="max-content max-content auto"))
    return widgets.VBox([widgets.HTML("<b>Cluster options</b>"), grid])


def _input(option: Option, value: Any) -> Any:
    common = {"value": value, "tooltip": option.help, "continuous_update": False}
    if option.type is OptionType.BOOL:
        return widgets.Checkbox(value=value, indent=False, tooltip=option.help)
    if option.type is OptionType.SELECT:
        return widgets.Dropdown(value=value, options=option.choices, tooltip=option.help)
    if option.type is OptionType.MAPPING:
        return widgets.Textarea(**{**common, "value": _as_yaml(value)}, placeholder="name: value, one a line", rows=2)
    if option.secret:
        return widgets.Password(**common)
    kinds = {OptionType.INT: widgets.IntText, OptionType.FLOAT: widgets.FloatText, OptionType.STRING: widgets.Text}
    return kinds[option.type](**common)


def _setter(options: Options, option: Option, status: Any) -> Any:
    def changed(change: Any) -> None:
        try:
            value = yaml.safe_load(change["new"]) or {} if option.type is OptionType.MAPPING else change["new"]
            if value != options[option.name]:
                options[option.name] = value
            status.value = ""
        except (OptionInvalid, yaml.YAMLError) as error:
            # The wrong value stays in the field for its writer to mend; `options` keeps the last right one.
            status.value = f'<span style="color:#b00020">{getattr(error, "message", "not YAML")}</span>'

    return changed


def _show(field: Any, value: Any) -> None:
    field.value = _as_yaml(value) if isinstance(value, dict) else value


def _as_yaml(value: Any) -> str:
    return yaml.safe_dump(value) if value else ""
