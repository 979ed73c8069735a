"""`compute` against NumPy, on files of every kind, and what its grammar does not have."""

import resource
import time

import ml_dtypes
import numpy as np
import pytest

import surgery
from surgery.errors import RecipeError, SelectorError
from surgery.weights.expressions import Expression
from surgery.weights.model import Model
from surgery.weights.tensor import CHUNK, constant
from surgery.weights.weight import Weight
from tests.ops.sources import ARRAYS, EVERY, WEIGHTS_ONLY, check, opened, source

A, B, C, BIAS = (ARRAYS[name] for name in ("a/kernel", "b/kernel", "c/kernel", "a/bias"))
X = {"x": "a/kernel", "y": "b/kernel", "b": "a/bias"}
F = np.float32

CASES = [
    ("x + 0.5 * (x - b)", A + F(0.5) * (A - BIAS)),
    ("-x / 3 ** 2 + +x", -A / F(9) + A),
    ("abs(x) ** 0.5 - sqrt(abs(x))", np.abs(A) ** F(0.5) - np.sqrt(np.abs(A))),
    ("exp(x) * log(abs(x))", np.exp(A) * np.log(np.abs(A))),
    ("where(x > 0, x, b)", np.where(A > 0, A, BIAS)),
    ("where(abs(x) <= abs(b), 1, -x)", np.where(np.abs(A) <= np.abs(BIAS), F(1), -A)),
    ("clip(minimum(x, 1), maximum(b, -0.5), 2)",
     np.clip(np.minimum(A, F(1)), np.maximum(BIAS, F(-0.5)), F(2))),
    ("x @ y", A @ B),
    ("transpose(transpose(x)) * 2", A * F(2)),
    ("x / sum(x, axis=1, keepdims=True)", A / A.astype(float).sum(1, keepdims=True).astype(F)),
    ("x - mean(x, axis=0)", A - A.astype(float).mean(0).astype(F)),
    ("(x - min(x)) / (max(x) - min(x))", (A - A.min()) / (A.max() - A.min())),
    ("x / std(x)", A / F(A.astype(float).std())),
    ("x * 1e-46 * 1e46", (A.astype(float) * 1e-46 * 1e46).astype(F)),
]  # fmt: skip


def operands(expr):
    return {name: X[name] for name in Expression.parse(expr).names}


@pytest.mark.parametrize(("expr", "expected"), CASES, ids=[expr for expr, _ in CASES])
@pytest.mark.parametrize("kind", EVERY)
def test_against_numpy(kind, expr, expected, tmp_path):
    model = surgery.compute(opened(kind, tmp_path), to="a/kernel", from_=operands(expr), expr=expr)
    found = model["a/kernel"].numpy()
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=3e-7, atol=1e-7)
    check(model, {**ARRAYS, "a/kernel": found}, tmp_path)


@pytest.mark.parametrize("kind", EVERY)
def test_between_models_and_for_a_pattern(kind, tmp_path):
    weights = tuple(Weight(name, constant(array * 3)) for name, array in ARRAYS.items())
    surgery.save(Model(weights), npz=tmp_path / "d.npz")
    other = {"path": str(tmp_path / "d.npz")}
    model = opened(kind, tmp_path)
    merged = surgery.compute(model, to="*/kernel", from_={"x": {"step": "before"}, "y": other},
                             expr="x + 0.5 * (y - x)")  # fmt: skip
    expected = {name: array + F(0.5) * (array * 3 - array) for name, array in ARRAYS.items()
                if name.endswith("kernel")}  # fmt: skip
    check(merged, {**ARRAYS, **expected}, tmp_path)
    one = surgery.compute(model, to="a/bias", from_={"y": {**other, "select": "b/bias"}}, expr="y")
    np.testing.assert_array_equal(one["a/bias"].numpy(), ARRAYS["b/bias"] * 3)
    names = {"x": {"step": "before"}, "b": "*/bias"}
    captured = surgery.compute(model, to="*/kernel", from_=names, expr="x + b")
    for layer in "abc":
        np.testing.assert_array_equal(
            captured[f"{layer}/kernel"].numpy(),
            ARRAYS[f"{layer}/kernel"] + ARRAYS[f"{layer}/bias"],
        )


@pytest.mark.parametrize("kind", WEIGHTS_ONLY)
def test_a_result_that_is_not_there_is_made(kind, tmp_path):
    model = opened(kind, tmp_path)
    made = surgery.compute(model, to="ab/kernel", from_={"x": "a/kernel", "y": "c/kernel"},
                           expr="x @ y")  # fmt: skip
    np.testing.assert_allclose(made["ab/kernel"].numpy(), A @ C, rtol=1e-5)
    check(made, {**ARRAYS, "ab/kernel": made["ab/kernel"].numpy()}, tmp_path)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64])
def test_it_is_rounded_once(dtype):
    array = np.random.default_rng(0).standard_normal(1000).astype(dtype)
    model = Model((Weight("x", constant(array)), Weight("n", constant(np.arange(1000) + 2**40))))
    found = surgery.compute(model, to="y", from_={"x": "x"}, expr="x * x * x / 3 + 0.1")
    wide = np.float64 if dtype is np.float64 else np.float32
    w = array.astype(wide)
    assert found["y"].numpy().dtype == dtype
    np.testing.assert_array_equal(
        found["y"].numpy(), (w * w * w / wide(3) + wide(0.1)).astype(dtype)
    )
    exact = surgery.compute(model, to="z", from_={"n": "n"}, expr="n + 1")["z"].numpy()
    np.testing.assert_array_equal(exact, np.arange(1000) + 2**40 + 1.0)


def test_chunks_are_the_same_as_the_whole(monkeypatch):
    rng = np.random.default_rng(0)
    shapes = {"x": (2000, 700), "row": (700,), "column": (2000, 1), "y": (700, 600)}
    arrays = {n: rng.standard_normal(shape).astype(np.float32) for n, shape in shapes.items()}
    model = Model(tuple(Weight(name, constant(array)) for name, array in arrays.items()))
    names = {"x": "x", "r": "row", "c": "column"}
    tensor = surgery.compute(model, to="x", from_=names, expr="x * r + c")["x"].tensor
    expected = arrays["x"] * arrays["row"] + arrays["column"]
    np.testing.assert_array_equal(tensor.numpy(), expected)
    assert tensor.size > CHUNK
    for start, stop in ((5, 9), (CHUNK - 3, CHUNK + 800), (699, 1401)):
        np.testing.assert_array_equal(tensor.read(start, stop), expected.reshape(-1)[start:stop])
    product = surgery.compute(model, to="p", from_={"x": "x", "y": "y"}, expr="x @ y")["p"].tensor
    whole = product.numpy()
    np.testing.assert_allclose(whole, arrays["x"] @ arrays["y"], rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(product.read(590, 901000), whole.reshape(-1)[590:901000])
    assert (tensor.held, product.held) == (0, arrays["y"].nbytes)


def test_the_plan_counts_what_is_held(tmp_path):
    path = source("npz", tmp_path)

    def memory(expr):
        steps = [{"compute": {"to": "a/kernel", "from": {"x": "a/kernel"}, "expr": expr}}]
        recipe = {"surgery": 1, "load": str(path), "steps": steps,
                  "export": [{"npz": str(tmp_path / "o.npz")}]}  # fmt: skip
        return surgery.plan(recipe).memory

    assert memory("x - mean(x)") - memory("x - 1") == A.nbytes


REFUSED = [
    ({"from_": {"x": "a/kernel"}, "expr": "x + y"}, "expr: y is not in from"),
    ({"from_": {"x": "a/kernel", "y": "a/bias"}, "expr": "x"}, "y is not in the expression"),
    ({"from_": {"x": "z/kernel"}, "expr": "x"}, "x: z/kernel is not in"),
    ({"from_": {"x": "a/bias"}, "expr": "x"}, "is [4, 6], and the expression gives [6]"),
    ({"from_": {"x": "a/kernel", "y": "c/bias"}, "expr": "x + y"}, "x [4, 6], y [3]: shape mism"),
    ({"from_": {"x": "a/kernel", "y": "c/kernel"}, "expr": "y @ x"}, "is not a matrix product"),
    ({"from_": {"x": "a/kernel"}, "expr": "sum(x, axis=2)"}, "[4, 6] has no axis 2"),
    ({"from_": {}, "expr": "1"}, "from has no operand"),
    ({"from_": {"x": "*/bias"}, "expr": "x"}, "has more * than"),
    ({"from_": {"x": {"pth": "b"}}, "expr": "x"}, "give one of path"),
]  # fmt: skip


@pytest.mark.parametrize(("keys", "said"), REFUSED)
def test_what_is_refused(keys, said, tmp_path):
    with pytest.raises((SelectorError, RecipeError)) as error:
        surgery.compute(opened("npz", tmp_path), to="a/kernel", **keys)
    assert said in str(error.value)


def test_no_weight_is_made_where_there_are_layers(tmp_path):
    with pytest.raises(SelectorError, match="insert and append make layers"):
        surgery.compute(opened("keras", tmp_path), to="x/y", from_={"x": "a/kernel"}, expr="x")


HOSTILE = [
    # Attributes, items, and calls of what is no function here.
    "x.__class__", "x.T", "().__class__.__bases__[0].__subclasses__()", "x.tofile('y')",
    "x[0]", "x[...]", "__import__('os')", "__import__('os').system('true')", "eval('1')",
    "exec('1')", "open('y')", "getattr(x, 'y')", "abs.__call__(x)", "abs(x)(x)", "(lambda: 1)()",
    "print(x)", "globals()", "vars()", "type(x)", "np.zeros(9)", "x()", "abs", "abs + 1",
    # What Python has and an expression has not.
    "[x for x in x]", "{x for x in x}", "(x for x in x)", "{1: x}", "(y := x)", "f'{x}'", "'x'",
    "b'x'", "lambda x: x", "x if x else x", "x and x", "not x", "x or 1", "~x", "x // 2", "x % 2",
    "x << 9", "x | x", "x & x", "1 < x < 2", "x is x", "x in x", "*x", "x, x", "...", "None",
    "True", "1j", "yield x", "await x", "x; x", "x = 1", "import os", "", " ", "x +", "#",
    "abs(*x)", "abs(**x)", "abs(x, out=x)", "sum(x, axis=9**9)", "sum(x, dtype='O')",
    "sum(x, axis=(0, 1))", "abs(x, x)", "where(x, x, x)", "x > 0", "(x > 0) + 1",
    # What grows.
    "x**y**z", "9**9**9**9", "x**(2**99)", "x" + "**2" * 300, "9" * 999, "9" * 10_000, "1e999",
    "0x" + "f" * 900, "(" * 400 + "x" + ")" * 400, "-" * 900 + "x", "x" + "+x" * 400,
    "x" * 100_000, "+".join(["x" * 40] * 100_000), "abs(" * 100 + "x" + ")" * 100,
    "\x00", "x\x00", "\ud800", "x" + "\\" * 50, "1_0" * 300,
]  # fmt: skip


@pytest.mark.parametrize("expr", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_expressions(expr):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    with pytest.raises(ValueError, match=r"\w"):
        Expression.parse(expr)
    assert time.process_time() - start < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000
    assert len(HOSTILE) >= 50


def test_reductions_do_not_warn(recwarn):
    x = constant(np.array([-1.0, 1.0], np.float32))
    assert np.isnan(Expression.parse("sum(log(x))").result({"x": x}, np.dtype("f4")).numpy())
    assert not recwarn.list
