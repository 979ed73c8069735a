"""The contract of formats."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from surgery.errors import SurgeryError
from surgery.execution.saving import save
from surgery.formats.base import Format, refusing
from surgery.recipe.language import Target
from surgery.storage.states import files_in
from surgery.testing.models import dense_layers, same_bytes, values
from surgery.weights.model import Model
from surgery.weights.tensor import Array


def check_format(form: Format, folder: Path) -> None:
    """Raise AssertionError if a format breaks the contract; `folder` must be empty."""
    for number, check in enumerate(CHECKS):
        place = folder / str(number)
        place.mkdir()
        check(form, small(), place)


def small() -> Model:
    """Return the model for the contract: Dense layers `a` and `b`."""
    return dense_layers(["a", "b"], [4, 3, 2])


def _path(form: Format, folder: Path) -> Path:
    return folder / f"model{'' if form.is_folder else form.suffix}"


def head(path: Path) -> bytes:
    """Return the first bytes of a file, for `sniff`."""
    return b"" if path.is_dir() else path.read_bytes()[:16]


def opened(form: Format, path: Path) -> Model:
    """Open a file of the format; raises AssertionError if the format does not recognise it."""
    assert form.sniff(path, head(path)), f"{form.name} does not recognise its own file"
    return form.open(path)


def check_round_trip(form: Format, model: Model, folder: Path) -> None:
    """Check that a written file is recognised by its content, and is the same model."""
    path = folder / "odd.name"
    save(model, [Target(format=form, path=path)])
    back = opened(form, path)
    assert same_bytes(model, back)
    assert [w.address for w in back.weights] == [w.address for w in model.weights]


def check_same_bytes(form: Format, model: Model, folder: Path) -> None:
    """Check that writing a model twice gives the same files."""
    written = []
    for name in ("one", "two"):
        path = _path(form, folder / name)
        save(model, [Target(format=form, path=path)])
        written.append({file.relative_to(path): file.read_bytes() for file in files_in(path)})
    assert written[0] == written[1]


def check_replaced_whole(form: Format, model: Model, folder: Path) -> None:
    """Check that nothing is left of an old output, or beside the new one."""
    path = _path(form, folder)
    changed = model.map(model.weights, lambda chunk, _: chunk * 3)
    save(changed, [Target(format=form, path=path)])
    save(model, [Target(format=form, path=path)])
    assert same_bytes(opened(form, path), model)
    assert [found.name for found in folder.iterdir()] == [path.name]


def check_nothing_half_written(form: Format, model: Model, folder: Path) -> None:
    """Check that a failed write leaves nothing behind."""

    class BrokenError(Exception):
        pass

    def fail(_values: Array, _start: int) -> Array:
        raise BrokenError

    try:
        save(
            model.map(model.weights[1:2], fail),
            [Target(format=form, path=folder / "deep" / "er" / "out")],
        )
    except BrokenError:
        assert not list(folder.iterdir()), "a failed write left something behind"
    else:
        raise AssertionError("the tensor that fails was not read")


def check_cut_short(form: Format, model: Model, folder: Path) -> None:
    """Check that a truncated file is refused by a SurgeryError, wherever it is cut."""
    path = _path(form, folder)
    save(model, [Target(format=form, path=path)])
    file = max(files_in(path), key=lambda f: (f.suffix != ".json", f.stat().st_size))
    whole = file.read_bytes()
    for keep in (0, 1, 7, 20, len(whole) // 4, len(whole) // 2, len(whole) - 30, len(whole) - 1):
        file.write_bytes(whole[:keep])
        try:
            with refusing(path):
                known = form.sniff(path, head(path))
                read = values(form.open(path)) if known else None
        except SurgeryError:
            continue
        if read is not None:
            raise AssertionError(f"of {len(whole)} bytes, the first {keep} are taken for a model")


Check = Callable[[Format, Model, Path], None]
CHECKS: tuple[Check, ...] = (
    check_round_trip,
    check_same_bytes,
    check_replaced_whole,
    check_nothing_half_written,
    check_cut_short,
)
