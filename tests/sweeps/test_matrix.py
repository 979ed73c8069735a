"""What a matrix means, as a table of (matrix, runs)."""

import pytest

from surgery.errors import RecipeError, UsageError
from surgery.execution.metrics import is_lower_better
from surgery.recipe.objective import Objective
from surgery.recipe.reading import RecipeFile
from surgery.report.sweeps import Better, rows, table_csv, table_text
from surgery.sweeps.folder import Record, Run
from surgery.sweeps.planning import plan_sweep
from surgery.sweeps.status import RunStatus
from tests.conftest import dense_model

RECIPE = """surgery: 1
name: prune
seed: 3
params: {{out: out, layer: a}}
load: model.keras
matrix: {matrix}
export:
  - npz: "${{out}}/${{id}}.npz"
"""

MATRICES = [
    ("{by: [1, 2], layer: [a, b]}",
     ["by=1, layer=a", "by=1, layer=b", "by=2, layer=a", "by=2, layer=b"]),
    ("{zip: {by: [1, 2], layer: [a, b]}}", ["by=1, layer=a", "by=2, layer=b"]),
    ("{n: [5], zip: {by: [1, 2], layer: [a, b]}}", ["n=5, by=1, layer=a", "n=5, by=2, layer=b"]),
    ("{by: [1, 2], layer: [a, b], exclude: [{by: 1, layer: b}]}",
     ["by=1, layer=a", "by=2, layer=a", "by=2, layer=b"]),
    ("{by: [1, 2], layer: [a, b], exclude: [{by: 1}]}", ["by=2, layer=a", "by=2, layer=b"]),
    ("{by: [1, true, '1'], exclude: [{by: 1.0}]}", ["by=true", "by=1"]),
    # GitHub's rule: added where no value of the matrix is overwritten, else a run of its own.
    ("{by: [1, 2], include: [{by: 2, extra: x}]}", ["by=1", "by=2, extra=x"]),
    ("{by: [1, 2], include: [{extra: x}]}", ["by=1, extra=x", "by=2, extra=x"]),
    ("{by: [1, 2], include: [{extra: x}, {extra: y, by: 1}]}", ["by=1, extra=y", "by=2, extra=x"]),
    ("{by: [1, 2], include: [{by: 9}]}", ["by=1", "by=2", "by=9"]),
    ("{include: [{by: 1}, {by: 2, layer: b}]}", ["by=1", "by=2, layer=b"]),
    ("{by: [1, 1.0, '1', true, null]}", ["by=1", "by=1.0", "by=1", "by=true", "by=null"]),
    ("{by: [2, 2]}", ["by=2"]),
    ("{by: [[1, 2], {a: x}], layer: [a]}", ["by=[1, 2], layer=a", 'by={"a": "x"}, layer=a']),
    ("{by: [1e-3, 010]}", ["by=1e-3", "by=010"]),
]  # fmt: skip


def runs(tmp_path, matrix, overrides=None):
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.format(matrix=matrix))
    return RecipeFile.read(path, overrides)


def shown(values):
    from surgery.recipe.matrix import shown

    return [shown(each) for each in values]


@pytest.mark.parametrize(("matrix", "expected"), MATRICES)
def test_a_matrix(matrix, expected, tmp_path):
    assert shown(runs(tmp_path, matrix).runs) == expected


def test_values_from_files(tmp_path):
    (tmp_path / "levels.txt").write_text("# shares\n10%\n\n0.5\n")
    (tmp_path / "runs.csv").write_text("by,layer\n1,a\n2.5,b\n")
    (tmp_path / "more.yaml").write_text("- {by: 7}\n")
    assert shown(runs(tmp_path, "{low: {file: levels.txt}}").runs) == ["low=10%", "low=0.5"]
    assert shown(runs(tmp_path, "{by: {file: runs.csv}}").runs) == ["by=1", "by=2.5"]
    zipped = runs(tmp_path, "{zip: {file: runs.csv}, include: {file: more.yaml}}").runs
    assert shown(zipped) == ["by=1, layer=a", "by=2.5, layer=b", "by=7"]


SAMPLES = (
    "{samples: {count: %d, draw: {rate: {log_uniform: [1e-5, 0.01]}, n: {integer: [1, 4]}%s}}}"
)


def test_samples_do_not_depend_on_each_other(tmp_path):
    few = runs(tmp_path, SAMPLES % (5, "")).runs
    many = runs(tmp_path, SAMPLES % (200, ", act: {choice: [relu, gelu]}")).runs
    assert [(r["rate"], r["n"]) for r in many[:5]] == [(r["rate"], r["n"]) for r in few]
    assert all(1e-5 <= r["rate"] <= 0.01 and 1 <= r["n"] <= 4 for r in many)
    assert {r["n"] for r in many} == {1, 2, 3, 4}
    assert {r["act"] for r in many} == {"relu", "gelu"}
    middle = sorted(r["rate"] for r in many)[100]
    assert 1e-4 < middle < 1e-3  # even in the logarithm


def test_a_value_of_the_command_line_holds_for_all_runs(tmp_path):
    file = runs(tmp_path, "{by: [1, 2], layer: [a, b]}", {"by": "7"})
    assert shown(file.runs) == ["by=7, layer=a", "by=7, layer=b"]
    assert str(runs(tmp_path, "{by: [1]}", {"out": "x"}).only(0).export[0].path).startswith(
        str(tmp_path / "x")
    )


def test_a_run_is_named_by_its_values_not_by_its_place(tmp_path):
    first = runs(tmp_path, "{by: [1, 2]}").only(1)
    second = runs(tmp_path, "{by: [0, 1, 2]}").only(2)
    assert first.name == second.name
    assert first.export[0].path == second.export[0].path


FILES = {
    "bad.json": "[1,",
    "long.csv": "by,layer\n1,a,b\n",
    "twice.csv": "by,by\n1,2\n",
    "name.csv": "a b,c\n1,2\n",
    "mappings.yaml": "- {a: [1, 2]}\n",
}
WRONG = [
    ("{by: []}", "6:14: matrix.by: the list is empty"),
    ("{by: 3}", "6:14: matrix.by: expected a list or a mapping, not 3"),
    ("{by: [1], zip: {by: [2]}}", "matrix: by has values in two places"),
    ("{zip: {by: [1, 2], layer: [a]}}", "matrix.zip: paired lists must have the same length; "
     "by has 2, layer has 1"),
    ("{by: [1], exclude: [{layr: 2}]}", "matrix.exclude[0].layr: layr is not a parameter"),
    ("{by: [1], exclude: [{by: 1}]}", "matrix: every combination is excluded"),
    ("{by: {file: no.txt}}", "No such file"),
    ("{samples: {count: 2, draw: {a: {uniform: [2, 1]}}}}", "low must be less than high"),
    ("{samples: {count: 2, draw: {a: {log_uniform: [0, 1]}}}}", "low must be more than 0"),
    ("{samples: {count: 2, draw: {a: {normal: [0, 1]}}}}", "unknown key 'normal'"),
    ("{samples: {count: 200000, draw: {a: {uniform: [0, 1]}}}}", "more than 100,000 runs"),
    ("{1x: [2]}", "'1x' is not a name for a parameter"),
    ("{by: {file: mappings.yaml}}", "mappings.yaml has no list of values for by"),
    ("{by: [1, 2], exclude: [{by: 7}]}", "matrix.exclude[0]: no combination has by=7"),
    ("{samples: {count: 2, draw: {a: {integer: [1.2, 1.8]}}}}", "must be 64-bit integers"),
    ("{samples: {count: 2, draw: {a: {integer: [1, 1.0e+30]}}}}", "must be 64-bit integers"),
    ("{samples: {count: 2, draw: {a: {uniform: [0, .inf]}}}}", "both must be finite"),
    ("{samples: {count: 2, draw: {a: {uniform: [-1.0e+308, 1.0e+308]}}}}", "both must be finite"),
    ("{by: {file: bad.json}}", "bad.json:1:4: is not YAML"),
    ("{zip: {file: long.csv}}", "long.csv cannot be read: line 2 has 3 values, not 2"),
    ("{zip: {file: twice.csv}}", "twice.csv cannot be read: by occurs twice in its header"),
    ("{zip: {file: name.csv}}", "'a b' in its header is not a parameter's name"),
]  # fmt: skip


@pytest.mark.parametrize(("matrix", "said"), WRONG, ids=[said[:40] for _, said in WRONG])
def test_a_wrong_matrix(matrix, said, tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(RecipeError) as error:
        runs(tmp_path, matrix)
    assert said in str(error.value)
    assert str(error.value).startswith(str(tmp_path / "recipe.yaml:"))


def test_a_mistake_is_told_once_with_the_runs_that_have_it(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(
        RECIPE.format(matrix="{by: [1, x, y], name: [n]}").replace(
            "export:", 'steps:\n  - scale: {select: a, by: "${by}"}\nexport:'
        )
    )
    with pytest.raises(RecipeError) as error:
        RecipeFile.read(path).all()
    (line,) = str(error.value).splitlines()[:1]
    assert 'expected a number, not "x"' in line
    assert line.endswith("(run 1: by=x, name=n)")


def test_one_run_of_a_matrix(tmp_path):
    file = runs(tmp_path, "{by: [1, 2]}")
    assert file.only(1).values == {"by": 2}
    with pytest.raises(UsageError, match="has a matrix of 2 runs: surgery sweep does all of them"):
        file.only(None)
    with pytest.raises(UsageError, match="has the runs 0 to 1, and no run 2"):
        file.only(2)
    (tmp_path / "plain.yaml").write_text("surgery: 1\nload: m.keras\nexport: [{npz: x.npz}]\n")
    with pytest.raises(UsageError, match="has no matrix, so it has no run 1"):
        RecipeFile.read(tmp_path / "plain.yaml").only(1)


DIRECTIONS = {
    True: ["loss", "val_loss", "out_loss", "test/loss", "perplexity", "wer", "cer", "brier_score",
           "root_mean_squared_err", "mean_squared_error", "RMSE", "nll", "hamming", "fid",
           "log_cosh", "kl_divergence", "sparse_categorical_crossentropy", "false_positives_1",
           "accuracy_loss", "MeanAbsoluteError"],
    False: ["accuracy", "val/accuracy", "acc", "auc_2", "AUC", "f1_score", "F1Score", "mean_io_u",
            "r2_score", "cosine_similarity", "true_negatives", "hamming_accuracy", "bleu",
            "top_k_categorical_accuracy", "precision_at_recall"],
    None: ["power", "answer", "score", "lower", "mine", "seconds"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "lower"), [(name, lower) for lower, names in DIRECTIONS.items() for name in names]
)
def test_whether_less_of_a_metric_is_better_or_not_known(name, lower):
    assert is_lower_better(name) is lower


def status(index, values, metrics):
    run = Run(index, str(index), values)
    record = Record(id=run.id, index=index, values=values, state="done", key="", metrics=metrics)
    return RunStatus(run, "done", record)


SCORES = [status(n, {"n": n}, {"mine": mine}) for n, mine in enumerate([3.0, 1.0, 2.0])]


def test_a_metric_of_an_unknown_direction_has_no_star_and_is_asked_for():
    assert "*" not in table_text(SCORES, None, Better())
    with pytest.raises(UsageError, match="is unknown which values of mine are better; give --dir"):
        rows(SCORES, "mine")


@pytest.mark.parametrize(
    ("objective", "sort", "direction", "order", "star"),
    [
        (None, None, "minimize", [0, 1, 2], "lowest"),
        (None, "mine", "minimize", [1, 2, 0], "lowest"),
        (None, "mine", "maximize", [0, 2, 1], "highest"),
        ({"metric": "mine", "direction": "minimize"}, None, None, [0, 1, 2], "lowest"),
        ({"metric": "mine", "direction": "minimize"}, "mine", None, [1, 2, 0], "lowest"),
        ({"metric": "mine", "direction": "minimize"}, "mine", "maximize", [0, 2, 1], "highest"),
        ({"metric": "other", "direction": "minimize"}, "mine", "maximize", [0, 2, 1], "highest"),
    ],
)
def test_the_best_by_an_objective_or_an_option(objective, sort, direction, order, star):
    better = Better.of(objective, sort, direction)
    assert [row["run"] for row in rows(SCORES, sort, better)] == order
    assert table_text(SCORES, sort, better).endswith(f"* the best mine ({star})")


def test_an_objective_stands_in_the_recipe(tmp_path):
    path = tmp_path / "recipe.yaml"
    text = RECIPE.format(matrix="{by: [1]}")
    path.write_text(text + "objective: {metric: mine, direction: minimize}\n")
    assert RecipeFile.read(path).objective == Objective(metric="mine", direction="minimize")
    assert "objective" not in RecipeFile.read(path).all()[0].resolved  # of which no run depends
    path.write_text(text + "objective: {metric: mine}\n")
    dense_model(tmp_path)
    with pytest.raises(RecipeError, match="it is unknown which values of mine are better"):
        plan_sweep(RecipeFile.read(path), 1)


def test_a_table_is_sorted_as_people_read_it():
    given = [("10%", 0.5), ("5%", 0.9), ("all", None), (1, 0.7)]
    found = [status(n, {"lowest": lowest}, {} if accuracy is None else {"accuracy": accuracy})
             for n, (lowest, accuracy) in enumerate(given)]  # fmt: skip
    assert [row["run"] for row in rows(found, "lowest")] == [1, 0, 3, 2]
    assert [row["run"] for row in rows(found, "accuracy")] == [1, 3, 0, 2]  # the best first
    assert table_csv(rows(found)).splitlines()[3] == "2,all,done,,,0,0.0"
