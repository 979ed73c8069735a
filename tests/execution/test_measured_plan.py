"""`surgery plan --measure` reads the weights that shapes depend on."""

import json

from tests.conftest import command, dense_model


def test_the_rank_that_an_energy_needs(tmp_path):
    dense_model(tmp_path, layers=("a", "b"))
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        "surgery: 1\nload: model.keras\nsteps:\n"
        "  - factorize: {select: a, energy: 1%}\nexport:\n  - keras: out.keras\n"
    )
    bound, measured = (
        json.loads(command("plan", recipe, "--json", *more).stdout)["steps"][0]["sizes"]
        for more in ([], ["--measure"])
    )
    assert bound["parameters"][0] == measured["parameters"][0]
    assert bound["parameters"][1] > measured["parameters"][1] == 4 + 3 + 3 + 3 * 2 + 2
    assert not (tmp_path / "out.keras").exists()
