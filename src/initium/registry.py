"""Names -> classes. `WEIGHT_INITIALIZERS` holds what `type=` may say in an `init_cfg`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from initium.errors import InitKeyError, InitTypeError, did_you_mean
from initium.signatures import check_arguments as check_arguments
from initium.signatures import known_arguments as known_arguments
from initium.signatures import unknown_argument as unknown_argument

T = TypeVar("T", bound=Callable[..., Any])


class Registry:
    """Classes or functions by name, to be built from a config `dict(type=NAME, **arguments)`.

    Args:
        name: what the registry is called in messages.

    >>> SHAPES = Registry("shape")
    >>> @SHAPES.register_module()
    ... class Square:
    ...     def __init__(self, side): self.side = side
    >>> SHAPES.build(dict(type="Square", side=3)).side
    3
    >>> SHAPES.build(dict(type="Sqare", side=3))
    Traceback (most recent call last):
    initium.errors.InitKeyError: 'Sqare' is not in the shape registry. Did you mean 'Square'? \
It has: Square
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._module_dict: dict[str, Callable[..., Any]] = {}

    def __len__(self) -> int:
        return len(self._module_dict)

    def __contains__(self, name: object) -> bool:
        return name in self._module_dict

    def __iter__(self) -> Iterator[str]:
        return iter(self._module_dict)

    def __repr__(self) -> str:
        return f"Registry({self.name!r}: {', '.join(self)})"

    @property
    def module_dict(self) -> Mapping[str, Callable[..., Any]]:
        """The registered classes and functions by name."""
        return self._module_dict

    def get(self, name: str) -> Callable[..., Any] | None:
        """The class or function registered as `name`, or None."""
        return self._module_dict.get(name)

    def register_module(
        self,
        name: str | list[str] | None = None,
        force: bool = False,
        module: Callable[..., Any] | None = None,
    ) -> Any:
        """Register a class or function: as a decorator, or at once with `module=`.

        Args:
            name: one name or several; None takes the class's own.
            force: replace what bears the name already.
            module: the class or function, where this is not used as a decorator.

        Raises:
            InitTypeError: a TypeError; `force` is no bool, `name` no str or list of them, or
                `module` cannot be called.
            InitKeyError: a KeyError; the name is taken and `force` is False.
        """
        if not isinstance(force, bool):
            raise InitTypeError(f"force must be a bool, but got {force!r}")
        names = [name] if isinstance(name, str) else name
        if names is not None and not (
            isinstance(names, (list, tuple)) and all(isinstance(n, str) for n in names)
        ):
            raise InitTypeError(
                f"name must be None, a str or a list of str, but got {name!r}; "
                "as a decorator it is written with brackets: @REGISTRY.register_module()"
            )
        if module is not None:
            return self._add(module, names, force)
        return lambda target: self._add(target, names, force)

    def register(self, name: str | list[str]) -> Callable[[T], T]:
        """A decorator that registers under a name (or several): `register_module(name=name)`."""
        decorator: Callable[[T], T] = self.register_module(name)
        return decorator

    def _add(self, module: T, names: list[str] | None, force: bool) -> T:
        if not callable(module):
            raise InitTypeError(f"module must be a class or a function, but got {module!r}")
        names = names or [getattr(module, "__name__", type(module).__name__)]
        taken = [name for name in names if name in self and not force]
        if taken:
            raise InitKeyError(
                f"{taken[0]} is already registered in {self.name}: {self.get(taken[0])}; "
                "pass force=True to replace it"
            )
        self._module_dict.update(dict.fromkeys(names, module))
        return module

    def lookup(self, kind: object) -> Callable[..., Any]:
        """The class or function that `type=kind` means: a registered name, or a class itself."""
        if isinstance(kind, str):
            found = self.get(kind)
            if found is None:
                raise InitKeyError(
                    f"{kind!r} is not in the {self.name} registry.{did_you_mean(kind, self)} "
                    f"It has: {', '.join(sorted(self))}"
                )
            return found
        if callable(kind):
            return kind
        raise InitTypeError(f"type must be a registered name or a class, but got {kind!r}")

    def build(self, cfg: Mapping[str, Any], default_args: Mapping[str, Any] | None = None) -> Any:
        """Build what `cfg` describes: `build_from_cfg(cfg, self, default_args)`."""
        return build_from_cfg(cfg, self, default_args)

    def build_list(self, what: str, value: Any, kind: type[Any]) -> tuple[Any, ...]:
        """What each config of a list describes; an object of `kind` is taken as it is.

        Args:
            what: the name of the argument, for messages.
            value: the list.
            kind: of what all must be.

        Raises:
            InitTypeError: a TypeError; `value` is no list, or something else is built.
            InitKeyError: a KeyError; a type that is not registered.
        """
        if not isinstance(value, (list, tuple)):
            raise InitTypeError(f"{what} must be a list of {self.name}s, but got {value!r}")
        built = [each if isinstance(each, kind) else self.build(each) for each in value]
        for each in built:
            if not isinstance(each, kind):
                raise InitTypeError(
                    f"a {self.name} must derive from {kind.__name__}, but got {each!r}"
                )
        return tuple(built)


def build_from_cfg(
    cfg: Mapping[str, Any], registry: Registry, default_args: Mapping[str, Any] | None = None
) -> Any:
    """Call the class or function that `cfg["type"]` names with the rest of `cfg`.

    Args:
        cfg: `dict(type=NAME_OR_CLASS, **arguments)`; it is not changed.
        registry: where names are looked up.
        default_args: arguments (or `type`) for what `cfg` does not say.

    Raises:
        InitTypeError: a TypeError; `cfg` is no dict, `registry` no Registry, or an argument is
            unknown or missing: the known ones are listed.
        InitKeyError: a KeyError; no `type`, or a type that is not registered.

    >>> build_from_cfg(dict(type="Kaiming", layr="Conv2d"), WEIGHT_INITIALIZERS)
    Traceback (most recent call last):
    initium.errors.InitTypeError: KaimingInit got an unknown argument 'layr'. Did you mean \
'layer'? It takes: a, mode, nonlinearity, distribution, bias, bias_prob, layer, name
    """
    for what, value in {"cfg": cfg, "default_args": default_args or {}}.items():
        if not isinstance(value, Mapping):
            raise InitTypeError(f"{what} must be a dict, but got {type(value).__name__}: {value!r}")
    if not isinstance(registry, Registry):
        raise InitTypeError(f"registry must be a Registry, but got {registry!r}")
    arguments = {**(default_args or {}), **cfg}
    if "type" not in arguments:
        raise InitKeyError(f"a config must contain the key 'type', but got {dict(cfg)!r}")
    target = registry.lookup(arguments.pop("type"))
    check_arguments(target, arguments)
    return target(**arguments)


WEIGHT_INITIALIZERS = Registry("weight initializer")
