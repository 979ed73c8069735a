"""Bad recipes: what each is, and the problem it must be told of, to the letter.

`GOOD` is what the snippets are put into. Each message says where, what, and what to do.
"""

LOAD = "load: {path: small.keras}"
EXPORT = "export: [{keras: out.keras}]"


def recipe(*steps, load=LOAD, export=EXPORT, head="surgery: 1"):
    steps = ["steps:", *[f"  - {step}" for step in steps]] if steps else []
    lines = [head, load, *steps, export]
    return "\n".join(lines) + "\n"


SOURCES = {
    "empty": "",
    "not-a-mapping": "- surgery: 1\n",
    "no-version": recipe(head="name: x"),
    "wrong-version": recipe(head="surgery: 2"),
    "unknown-key": recipe(head="surgery: 1\nexprot: []"),
    "bad-name": recipe(head="surgery: 1\nname: a/b"),
    "negative-seed": recipe(head="surgery: 1\nseed: -1"),
    "no-export": "surgery: 1\nload: {path: small.keras}\n",
    "empty-export": recipe(export="export: []"),
    "unknown-format": recipe(export="export: [{kears: out.keras}]"),
    "two-formats": recipe(export="export: [{keras: a.keras, npy: b}]"),
    "no-source": recipe(load="load: {}"),
    "unknown-application": recipe(load="load: {application: VGG17, weights: none}"),
    "argument-of-another": recipe(load="load: {application: VGG16, alpha: 0.5}"),
    "path-with-argument": recipe(load="load: {path: small.keras, classes: 3}"),
    "unknown-op": recipe("scael: {select: a, by: 2}"),
    "two-ops": recipe("{scale: {select: a, by: 2}, zero: {select: a}}"),
    "no-op": recipe("name: nothing"),
    "unknown-op-key": recipe("scale: {select: a, buy: 2}"),
    "missing-key": recipe("scale: {select: a}"),
    "wrong-type": recipe("scale: {select: a, by: two}"),
    "nothing-there": recipe("scale: {select: a, by: }"),
    "not-finite": recipe("scale: {select: a, by: .inf}"),
    "over-100": recipe("zero: {select: a, lowest: 110%}"),
    "not-a-share": recipe("zero: {select: a, lowest: ten}"),
    "wrong-choice": recipe("zero: {select: a, lowest: 10%, scope: globl}"),
    "clip-nothing": recipe("clip: {select: a}"),
    "clip-crossed": recipe("clip: {select: a, min: 2, max: 1}"),
    "set-both": recipe("set: {select: a, to: 1, npy: x.npy}"),
    "unknown-fact": recipe("freeze: {select: {typ: Dense}}"),
    "open-brace": recipe('freeze: {select: "a{b"}'),
    "bad-regex": recipe('freeze: {select: "re:("}'),
    "unquoted-star": recipe("freeze: {select: *}"),
    "unquoted-braces": recipe("freeze: {select: block{1..3}_*}"),
    "tag": recipe("freeze: {select: !x a}"),
    "duplicate-key": recipe("scale: {select: a, by: 2, by: 3}"),
    "unknown-param": recipe('scale: {select: a, by: "${bye}"}', head="surgery: 1\nparams: {by: 2}"),
    "bad-param-name": recipe(head="surgery: 1\nparams: {a-b: 2}"),
    "broken-yaml": recipe("scale: {select: a, by: 2"),
    "two-documents": recipe() + "---\n" + recipe(),
    # These need the model: a (4x3) and b (3x2), Dense with bias.
    "no-match": recipe("scale: {select: a/kernl, by: 2}"),
    "no-layer": recipe("freeze: {select: {layers: a..c}}"),
    "part-of-a-layer": recipe("freeze: {select: a/kernel}"),
    "missing-file": recipe(load="load: {path: smal.keras}"),
    "input-is-output": recipe(export="export: [{keras: small.keras}]"),
    "same-target-twice": recipe(export="export: [{keras: out.keras}, {h5: out.keras}]"),
    "reaches-nothing": recipe("freeze: {select: a}", export="export: [{npy: out}]"),
    "bad-fact": recipe("freeze: {select: [a, {min_size: '1'}]}"),
    "nul-in-path": recipe(export='export: [{keras: "o\\0.keras"}]'),
    "long-path": recipe(export=f"export: [{{keras: {'a' * 300}}}]"),
    "odd-version": recipe(head="surgery: {layers: 3}"),
    "missing-npy": recipe("set: {select: a/bias, npy: x.npy}"),
}
