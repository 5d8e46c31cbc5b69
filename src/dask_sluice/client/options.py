"""Cluster options as a user handles them: attributes, items, completion, and a form where ipywidgets is installed.

options = gateway.cluster_options()
options.worker_cores = 2            # refused here and now if it is out of range
cluster = gateway.new_cluster(options)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any

from ..wire.options import Option, check_options, unknown_option

Listener = Callable[[str, Any], None]


class Options(MutableMapping[str, Any]):
    """The options that a server offers, with their values. Unknown names and wrong values raise `OptionInvalid`."""

    _known: Sequence[Option]

    def __init__(self, known: Sequence[Option], values: Mapping[str, Any] | None = None) -> None:
        fields = {option.name: option for option in known}
        object.__setattr__(self, "_known", tuple(known))
        object.__setattr__(self, "_fields", fields)
        object.__setattr__(self, "_values", check_options(known, values or {}))
        object.__setattr__(self, "_listeners", [])
        object.__setattr__(self, "_form", None)

    @property
    def specification(self) -> Sequence[Option]:
        """Every option as the server describes it: type, bounds, choices, help."""
        return self._known

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __setitem__(self, name: str, value: Any) -> None:
        if name not in self._fields:
            raise unknown_option(list(self._fields), name)
        self._values[name] = self._fields[name].check(value)
        for listener in self._listeners:
            listener(name, self._values[name])

    def __delitem__(self, name: str) -> None:
        raise TypeError("options cannot be deleted; set another value")

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self._fields:
            raise AttributeError(str(unknown_option(list(self._fields), name).message))
        return self._values[name]

    def __setattr__(self, name: str, value: Any) -> None:
        try:
            self[name] = value
        except ValueError as error:
            if name in self._fields:
                raise
            raise AttributeError(str(error)) from error

    def __dir__(self) -> list[str]:
        shown = (name for name, option in self._fields.items() if name.isidentifier() and not option.hidden)
        return [*super().__dir__(), *shown]

    def __repr__(self) -> str:
        """Without secrets, and without hidden options that are at their default."""
        shown = [o for o in self._known if not o.hidden or self[o.name] != o.default]
        return f"Options<{', '.join(f'{o.name}={o.shown(self[o.name])!r}' for o in shown)}>"

    def _ipython_key_completions_(self) -> list[str]:
        return [name for name, option in self._fields.items() if not option.hidden]

    def on_change(self, listener: Listener) -> None:
        """Call `listener(name, value)` after every change."""
        self._listeners.append(listener)

    def form(self) -> Any:
        """The options as ipywidgets, both ways: a change here shows there. None without ipywidgets."""
        if self._form is None:
            try:
                from .form import make_form
            except ImportError:
                return None
            object.__setattr__(self, "_form", make_form(self))
        return self._form

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        form = self.form()
        bundle: dict[str, Any] = dict(form._repr_mimebundle_(**kwargs) or {}) if form is not None else {}
        return {**bundle, "text/plain": repr(self)}
