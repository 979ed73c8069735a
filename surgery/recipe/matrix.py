"""`matrix`: the combinations of values that make one recipe many runs."""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from surgery.declared.fields import recipe_path
from surgery.errors import Problem, RecipeError, printable
from surgery.recipe.document import Document, Place, Real, Whole, parse, scalar
from surgery.weights.random import generator

MOST_RUNS = 100_000
"""The most runs of a matrix; more are probably a mistake."""

Values = Mapping[str, Any]
"""The values of one run, by parameter name."""

NAME = r"^[A-Za-z_][A-Za-z0-9_]*$"
"""The pattern of names of parameters and environment variables."""

VALUE = {"type": ["string", "number", "boolean", "null", "array", "object"]}
"""The JSON Schema of a parameter's value."""

_PAIR = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
_OWN = ("include", "exclude", "zip", "samples")


def _described(description: str, example: object, **schema: Any) -> dict[str, Any]:
    return {"description": description, "examples": [example], **schema}


_FILE = _described(
    "A file of values: .txt (one a line), .csv (by its header), .yaml or .json.",
    "levels.txt",
    type="string",
    minLength=1,
)
_AXIS = _described(
    "The values of a parameter: a list, or {file: ...}.",
    ["10%", "20%"],
    type=["array", "object"],
    minItems=1,
    items=VALUE,
    properties={"file": _FILE},
    required=["file"],
    additionalProperties=False,
)
_ROWS: dict[str, Any] = {
    "type": ["array", "object"],
    "items": {"type": "object", "additionalProperties": VALUE, "minProperties": 1},
    "properties": {"file": _FILE},
    "required": ["file"],
    "additionalProperties": False,
}
_DRAWN = _described(
    "The distribution of the values.",
    {"log_uniform": [0.00001, 0.01]},
    type="object",
    minProperties=1,
    maxProperties=1,
    additionalProperties=False,
    properties={
        "uniform": _described("Uniform from low to high.", [0, 0.5], **_PAIR),
        "log_uniform": _described("Uniform in the logarithm, from low to high.", [1e-5, 0.01],
                                  **_PAIR),
        "integer": _described("An integer from low to high, both included.", [1, 8], **_PAIR),
        "choice": _described("One of a list.", ["adam", "sgd"], type="array", minItems=1,
                             items=VALUE),
    },
)  # fmt: skip
SCHEMA = _described(
    "Values that make this recipe many runs, one for each combination; see surgery sweep.",
    {"lowest": ["10%", "20%", "40%"], "layer": ["fc1", "fc2"]},
    type="object",
    minProperties=1,
    propertyNames={"pattern": NAME},
    additionalProperties=_AXIS,
    properties={
        "zip": _described(
            "Parameters whose values are paired: lists of one length, or {file: ...}.",
            {"lowest": ["10%", "20%"], "bits": [8, 4]},
            type="object",
            minProperties=1,
            additionalProperties={"type": "array", "items": VALUE, "minItems": 1},
            properties={"file": {**_FILE, "type": ["string", "array"]}},
        ),
        "samples": _described(
            "Random search: a number of draws, by the recipe's seed.",
            {"count": 20, "draw": {"rate": {"log_uniform": [1e-5, 0.01]}}},
            type="object",
            required=["count", "draw"],
            additionalProperties=False,
            properties={
                "count": _described("The number of draws.", 20, type="integer", minimum=1),
                "draw": _described(
                    "Each parameter's distribution.",
                    {"rate": {"log_uniform": [1e-5, 0.01]}},
                    type="object",
                    minProperties=1,
                    propertyNames={"pattern": NAME},
                    additionalProperties=_DRAWN,
                ),
            },
        ),
        "exclude": _described(
            "Combinations to leave out; one with some of the parameters leaves out all that agree.",
            [{"lowest": "40%", "layer": "fc2"}],
            **_ROWS,
        ),
        "include": _described(
            "Values to add to the combinations that agree with them; if none does, a new one.",
            [{"lowest": "90%", "layer": "fc1"}],
            **_ROWS,
        ),
    },
)
"""The JSON Schema of the key `matrix`."""


def run_id(values: Values) -> str:
    """Return the id of a run with these values, 10 hex digits, independent of its number."""
    return hashlib.blake2b(_key(values).encode(), digest_size=5).hexdigest()


def _key(values: Values) -> str:
    return json.dumps(values, sort_keys=True)


def shown(values: Values) -> str:
    """Return the values as text: `lowest=10%, layer=fc1`."""
    return printable(", ".join(f"{name}={as_text(value)}" for name, value in values.items()))


def as_text(value: object) -> str:
    """Return a value as text, lists and mappings as JSON."""
    return str(value) if isinstance(value, str | Whole | Real) else json.dumps(value)


def texts(values: Values) -> Mapping[str, str]:
    """Return the text of the numbers that JSON would write differently, by name."""
    return {name: str(value) for name, value in values.items() if isinstance(value, Whole | Real)}


def with_texts(values: Values, texts: Mapping[str, str]) -> Values:
    """Return the values with the numbers' original texts restored."""
    return {name: scalar(texts[name]) if name in texts else each for name, each in values.items()}


def combinations(
    matrix: Mapping[str, Any], document: Document, folder: Path, seed: int
) -> list[Values]:
    """Return the values of every run, in order.

    Exclusions are applied before inclusions, which follow the rule of GitHub's workflows. Raises
    RecipeError.
    """
    return _Reader(document, folder, seed).combinations(matrix)


def with_fixed(runs: Iterable[Values], fixed: Values) -> list[Values]:
    """Return the runs with `fixed` values in all of them, without duplicates."""
    return list({_key(values): values for values in ({**run, **fixed} for run in runs)}.values())


class _Reader:
    def __init__(self, document: Document, folder: Path, seed: int) -> None:
        self.document, self.folder, self.seed = document, folder, seed

    def fail(self, place: Place, message: str) -> RecipeError:
        # The caller fills in the file's name.
        return RecipeError("", [self.document.problem(("matrix", *place), message)])

    def combinations(self, matrix: Mapping[str, Any]) -> list[Values]:
        axes = [
            [{name: value} for value in self.axis(name, given)]
            for name, given in matrix.items()
            if name not in _OWN
        ]
        if "zip" in matrix:
            axes.append(self.zipped(matrix["zip"]))
        if "samples" in matrix:
            axes.append(self.samples(**matrix["samples"]))
        names = [name for rows in axes for name in rows[0]]
        if twice := [name for name in names if names.count(name) > 1]:
            raise self.fail((), f"{twice[0]} has values in two places; keep one of them")
        if math.prod(map(len, axes)) > MOST_RUNS:
            raise self.fail((), f"it makes more than {MOST_RUNS:,} runs")
        made: list[Values] = (
            [
                {name: value for part in parts for name, value in part.items()}
                for parts in itertools.product(*axes)
            ]
            if axes
            else []
        )
        for number, row in enumerate(self.rows(matrix, "exclude")):
            if unknown := [name for name in row if name not in names]:
                place = ("exclude", number, unknown[0])
                raise self.fail(place, f"{unknown[0]} is not a parameter of the matrix")
            kept = [values for values in made if not _agrees(values, row, row)]
            if len(kept) == len(made):
                raise self.fail(("exclude", number), f"no combination has {shown(row)}")
            made = kept
        made = _included(made, list(self.rows(matrix, "include")), set(names))
        if not made:
            raise self.fail((), "every combination is excluded; remove some of the exclusions")
        return made

    def axis(self, name: str, given: Any) -> list[Any]:
        """Return the values of a parameter: a list as it is, or a list or column of a file.

        Raises RecipeError if the file has none.
        """
        if isinstance(given, list):
            return given
        found = self.file(given["file"], (name, "file"))
        rows = [row[name] if isinstance(row, dict) and name in row else row for row in found]
        if not rows or any(isinstance(row, dict) and row in found for row in rows):
            raise self.fail((name, "file"), f"{given['file']} has no list of values for {name}")
        return rows

    def zipped(self, given: Mapping[str, Any]) -> list[dict[str, Any]]:
        if isinstance(given.get("file"), str):
            return self.table(given["file"], ("zip", "file"))
        if len({len(values) for values in given.values()}) > 1:
            lengths = ", ".join(f"{name} has {len(values)}" for name, values in given.items())
            raise self.fail(("zip",), f"paired lists must have the same length; {lengths}")
        return [dict(zip(given, row, strict=True)) for row in zip(*given.values(), strict=True)]

    def samples(self, count: int, draw: Mapping[str, Any]) -> list[dict[str, Any]]:
        for name, how in draw.items():
            ((kind, given),) = how.items()
            place = ("samples", "draw", name, kind)
            if kind != "choice" and not (
                given[0] < given[1] and math.isfinite(given[1] - given[0])
            ):
                raise self.fail(place, "low must be less than high, and both must be finite")
            if kind == "integer" and (
                not all(float(each).is_integer() for each in given)
                or max(map(abs, given)) > 1 << 62
            ):
                raise self.fail(place, "low and high must be 64-bit integers")
            if kind == "log_uniform" and given[0] <= 0:
                raise self.fail(place, "low must be more than 0")
        if count > MOST_RUNS:
            raise self.fail(("samples", "count"), f"it makes more than {MOST_RUNS:,} runs")
        return [
            {name: self.drawn(name, number, *next(iter(how.items()))) for name, how in draw.items()}
            for number in range(count)
        ]

    def drawn(self, name: str, number: int, kind: str, given: Sequence[Any]) -> Any:
        """Draw the value of a parameter; other parameters and the count do not change it."""
        random = generator(self.seed, "samples", name, number)
        if kind == "choice":
            return given[int(random.integers(len(given)))]
        low, high = given
        if kind == "integer":
            return int(random.integers(math.ceil(low), math.floor(high) + 1))
        if kind == "log_uniform":
            low, high = math.log(low), math.log(high)
        drawn = float(random.uniform(low, high))
        # Six digits, to be readable in a table and usable with -p.
        return float(f"{math.exp(drawn) if kind == 'log_uniform' else drawn:.6g}")

    def rows(self, matrix: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
        given = matrix.get(name, [])
        return given if isinstance(given, list) else self.table(given["file"], (name, "file"))

    def table(self, text: str, place: Place) -> list[dict[str, Any]]:
        found = self.file(text, place)
        if not found or not all(isinstance(row, dict) and row for row in found):
            raise self.fail(place, f"{text} has no rows of parameters; give a .csv with a header")
        if len({tuple(sorted(row)) for row in found}) > 1:
            raise self.fail(place, f"the rows of {text} have different parameters")
        return found

    def csv_rows(self, text: str) -> list[dict[str, Any]]:
        """Return the rows of a CSV text with a header; raises ValueError."""
        rows = csv.reader(io.StringIO(text, newline=""), strict=True)
        header = [name.strip() for name in next(rows, [])]
        for name in header:
            if not re.fullmatch(NAME, name):
                raise ValueError(f"{name!r} in its header is not a parameter's name")
            if header.count(name) > 1:
                raise ValueError(f"{name} occurs twice in its header")
        found = []
        for row in rows:
            if row and len(row) != len(header):
                raise ValueError(f"line {rows.line_num} has {len(row)} values, not {len(header)}")
            if row:
                found.append({n: scalar(v.strip()) for n, v in zip(header, row, strict=True)})
        return found

    def file(self, text: str, place: Place) -> list[Any]:
        path = recipe_path(text, self.folder)
        try:
            data = path.read_bytes()
            if path.suffix == ".csv":
                found = self.csv_rows(data.decode("utf-8-sig"))
            elif path.suffix in (".yaml", ".yml", ".json"):
                found = parse(data, str(path)).value
            else:
                lines = (line.strip() for line in data.decode("utf-8-sig").splitlines())
                found = [scalar(line) for line in lines if line and not line.startswith("#")]
        except OSError as error:
            raise self.fail(place, f"{path}: {error.strerror}") from None
        except RecipeError as error:
            (problem,) = error.problems[:1]
            message = f"{path}:{problem.line}:{problem.column}: {problem.message}"
            raise self.fail(place, message) from None
        except (ValueError, csv.Error) as error:
            raise self.fail(place, f"{path} cannot be read: {error}") from None
        if not isinstance(found, list):
            raise self.fail(place, f"{path} does not contain a list")
        return found


def _agrees(values: Values, row: Values, names: Iterable[str]) -> bool:
    """Return whether both have the same value for each of the names."""
    return all(name in values and _alike(values[name], row[name]) for name in names)


def _alike(a: object, b: object) -> bool:
    """Return whether two values are the same: 1 equals 1.0, but not true, nor the text 1."""
    numbers = all(isinstance(each, int | float) and not isinstance(each, bool) for each in (a, b))
    return a == b if numbers else json.dumps(a) == json.dumps(b)


def _included(made: Sequence[Values], rows: Iterable[Values], names: set[str]) -> list[Values]:
    """Add each row to the combinations that agree with it; if none does, as a combination."""
    extended = [dict(values) for values in made]
    own: list[Values] = []
    for row in rows:
        fitting = [values for values in extended if _agrees(values, row, names & row.keys())]
        for values in fitting:
            values.update(row)
        if not fitting:
            own.append(row)
    return [*extended, *own]


def grouped(problems: Mapping[int, Sequence[Problem]], runs: Sequence[Values]) -> list[Problem]:
    """Merge equal problems of many runs, each with the runs that have it unless all do."""
    having: dict[Problem, list[int]] = {}
    for index, found in problems.items():
        for problem in found:
            having.setdefault(problem, []).append(index)
    return [
        problem
        if len(indices) == len(runs)
        else Problem(
            problem.line, problem.column, problem.where, problem.message + _which(indices, runs)
        )
        for problem, indices in having.items()
    ]


def _which(indices: Sequence[int], runs: Sequence[Values]) -> str:
    more = f", and {len(indices) - 1} more of {len(runs)}" if len(indices) > 1 else ""
    return f" (run {indices[0]}: {shown(runs[indices[0]])}{more})"
