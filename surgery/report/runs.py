"""Reports on a plan and a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from surgery.errors import printable
from surgery.execution.execute import Result
from surgery.execution.observing import Effect
from surgery.execution.plan import Plan, StepPlan, TargetPlan
from surgery.ops.live import LiveOp
from surgery.report.tables import flops_changed, number, plural, shown, size, table
from surgery.weights.matching import pairs_said


def plan_facts(plan: Plan) -> dict[str, Any]:
    """Return a plan as plain data."""
    return {
        "recipe": plan.recipe.file,
        "name": plan.recipe.name,
        "params": dict(plan.recipe.params),
        "seed": plan.recipe.seed,
        "source": plan.source.origin,
        "weights": len(plan.model.weights),
        "parameters": plan.model.parameters,
        "steps": [_step_facts(step) for step in plan.steps],
        "targets": [
            {"format": target.format.name, "path": str(target.path), "bytes": target.bytes}
            for target in plan.targets
        ],
        "passes": plan.passes,
        "bytes_read": plan.bytes_read,
        "bytes_written": plan.bytes_written,
        "memory": plan.memory,
        "threads": plan.threads,
        "tensorflow": plan.needs_tensorflow,
        "notes": list(plan.notes),
    }


def _step_facts(step: StepPlan) -> dict[str, Any]:
    return {
        "op": step.step.op.name,
        "name": step.step.name,
        **({"select": str(select)} if (select := getattr(step.step.op, "select", None)) else {}),
        "matched": [weight.address for weight in step.matched],
        "elements": step.elements,
        "changes_at_most": step.changes,
        **({"renames": dict(step.renames)} if step.renames else {}),
        **({"sizes": dict(step.sizes)} if step.sizes else {}),
    }


def result_facts(result: Result) -> dict[str, Any]:
    """Return a run as plain data: the plan, each step's effect, the outputs."""
    facts = plan_facts(result.plan)
    for step, (done, effect) in zip(facts["steps"], result.effects(), strict=True):
        step["changed"] = effect.changed
        step["before"] = effect.before.as_dict()
        step["after"] = effect.after.as_dict()
        if done.found:
            step["found"] = done.found
    facts["metrics"] = dict(result.metrics)
    facts["outputs"] = [
        {
            "format": written.format,
            "path": str(written.path),
            "bytes": written.bytes,
            **({"check": written.check} if written.check else {}),
        }
        for written in result.outputs
    ]
    facts["manifest"] = str(result.manifest) if result.manifest else None
    facts["seconds"] = round(result.seconds, 3)
    return facts


def plan_text(plan: Plan) -> str:
    """Return a plan as text."""
    return "\n".join(_plan_lines(plan))


def _plan_lines(plan: Plan) -> Iterator[str]:
    yield _head(plan)
    if plan.steps:
        rows = [
            [f"{i}. {step.step.title}", _weights(step), _at_most(step)]
            for i, step in enumerate(plan.steps, 1)
        ]
        yield ""
        yield table(["step", "matches", "changes at most"], rows)
        for i, step in enumerate(plan.steps, 1):
            if told := _sizes(step):
                yield printable(f"{i}. {told}")
            if step.renames:
                yield printable(f"{i}. {pairs_said(step.renames)}")
    yield ""
    for target in plan.targets:
        yield f"{target.format.name} -> {shown(target.path)} ({size(target.bytes)}{_check(target)})"
    for step in plan.steps:
        for path in step.step.op.outputs() if isinstance(step.step.op, LiveOp) else ():
            yield f"{printable(step.step.title)} -> {shown(path)}"
    for note in plan.notes:
        yield printable(f"note: {note}")
    yield (
        f"reads {size(plan.bytes_read)} in {plural(plan.passes, 'pass', 'es')}, "
        f"writes {size(plan.bytes_written)}\n"
        f"takes at most {size(plan.memory)} of memory, {plural(plan.threads, 'thread')}"
        f"{', needs TensorFlow once' if plan.needs_tensorflow else ''}"
    )


def _check(target: TargetPlan) -> str:
    if target.check is None:
        return ""
    skipped = target.check.skipped
    return f", not checked: {skipped}" if skipped else ", checked by Keras before writing"


def _head(plan: Plan) -> str:
    model = plan.model
    return printable(
        f"{plan.recipe.name}: {plan.source.origin}, {plural(len(model.weights), 'weight')}, "
        f"{plural(model.parameters, 'parameter')}, {size(model.nbytes)}"
    )


def _weights(step: StepPlan) -> str:
    if step.sizes:
        return plural(step.sizes["layers"][0] or 0, "layer")
    names = [weight.address for weight in step.matched]
    if not names and isinstance(step.step.op, LiveOp):
        return "the model"
    if len(names) == 1:
        return names[0]
    return f"{plural(len(names), 'weight')}"


def _at_most(step: StepPlan) -> str:
    if isinstance(step.step.op, LiveOp):
        return "trained" if step.step.op.changes_weights else "nothing"
    if step.checked is not None:
        return "nothing"
    if not step.step.op.changes_weights:
        return "names only" if step.renames else "config only"
    return f"{step.changes:,} of {step.elements:,}" if step.changes is not None else "unknown"


def result_text(result: Result, verbose: bool = False) -> str:
    """Return a run as text: each step's effect, and the outputs."""
    return "\n".join(_result_lines(result, verbose))


def _result_lines(result: Result, verbose: bool) -> Iterator[str]:
    yield _head(result.plan)
    for index, (step, effect) in enumerate(result.effects(), 1):
        yield printable(f"{index}. {step.step.title}: {_done(step, effect)}")
        if step.step.op.changes_weights and effect.before.count:
            yield from _statistics_lines(effect)
        if verbose:
            for address, inner in step.observer.effects():
                changed = f"{inner.changed:,} of {inner.before.count:,} changed"
                yield printable(f"   {address}: {changed}")
    for note in result.plan.notes:
        yield printable(f"note: {note}")
    for written in result.outputs:
        check = f", {written.check}" if written.check else ""
        yield f"wrote {shown(written.path)} ({written.format}, {size(written.bytes)}{check})"
    if result.manifest:
        yield f"wrote {shown(result.manifest)} (manifest)"
    if result.outputs:  # none after failed expectations
        yield f"done in {result.seconds:.1f} s"


def _sizes(step: StepPlan) -> str:
    """Return how a step changes the numbers of layers, parameters, bytes and FLOPs."""
    changed = {name: pair for name, pair in step.sizes.items() if pair[0] != pair[1]}
    told = [
        f"{name} {old:,} -> {new:,}"
        for name, (old, new) in changed.items()
        if name in ("layers", "parameters") and old is not None and new is not None
    ]
    if "flops" in changed and (cost := flops_changed(*changed["flops"])):
        told.append(cost)
    return ", ".join(told)


def _verified(step: StepPlan) -> str:
    """Return how far the outputs after a step are from those before it, where that was measured."""
    if "verified" not in step.found:
        return ""
    found = step.found["verified"]
    same = plural(found["examples"], "example")
    return f", outputs differ by {found['difference']:.2g} at most ({same})"


def _done(step: StepPlan, effect: Effect) -> str:
    matched = plural(len(step.matched), "weight")
    if step.sizes:
        return (_sizes(step) or "config only") + _verified(step)
    if isinstance(step.step.op, LiveOp):
        return found_text(step.found)
    if step.checked is not None:
        return f"{matched}, checked"
    if not step.step.op.changes_weights:
        return f"{matched}, {'renamed' if step.renames else 'in the config'}"
    if step.step.op.changes_table and not effect.before.count:
        return f"{matched}: {pairs_said(step.renames)}" if step.renames else matched
    text = f"{matched}, {effect.changed:,} of {effect.before.count:,} elements changed"
    if grown := effect.after.nonfinite - effect.before.nonfinite:
        text += f"; {grown:,} became infinite or NaN" if grown > 0 else ""
    return text


def found_text(found: Mapping[str, Any]) -> str:
    """Return the measurements of a live step, on a line or as a table."""
    if "layers" in found:
        return _activity_text(found["layers"])
    if "arrays" in found:
        shapes = (f"{name} {'x'.join(map(str, s))}" for name, s in found["arrays"].items())
        return ", ".join(shapes)
    metrics = ", ".join(f"{name} {number(value)}" for name, value in found["metrics"].items())
    if "epochs" not in found:
        return metrics
    resumed = f", resumed after {found['resumed_from']}" if found["resumed_from"] else ""
    return f"{plural(found['epochs'], 'epoch')}{resumed}: {metrics}"


def _activity_text(layers: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        [
            f"   {name}",
            "x".join(map(str, facts["shape"])),
            number(facts["mean"]),
            f"{facts['zeros']:.1%}",
            f"{facts['dead_units']:,} of {facts['units']:,}",
        ]
        for name, facts in layers.items()
    ]
    header = ["   layer", "output", "mean", "zeros", "dead units"]
    return plural(len(layers), "layer") + "\n" + table(header, rows, right=range(2, 5))


def _statistics_lines(effect: Effect) -> Iterator[str]:
    rows = []
    for name, statistics in (("before", effect.before), ("after", effect.after)):
        numbers = [statistics.low, statistics.high, statistics.mean, statistics.std]
        known = [number(n) if statistics.finite else "-" for n in numbers]
        rows.append([f"   {name}", *known, f"{statistics.zeros:,}"])
    yield table(["   ", "min", "max", "mean", "std", "zeros"], rows, right=range(1, 6))
