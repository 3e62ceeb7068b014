"""The estimate for a full dump."""

from __future__ import annotations

from typing import Any

from llmill.views.show import amount, print_table


def print_plan(plan: dict[str, Any]) -> None:
    """All tables of `plan_dump`, and what they rest on."""
    dump, sample = plan["dump"], plan["sample"]
    print(
        f"{dump['dump']}: {dump['pages']:,.0f} pages in {dump['files']:,} files, from a sample of {sample['read']:,} "
        f"pages in {sample['files']} files ({sample['cpu_seconds']:,.1f} s of CPU)\n"
    )
    rows = [
        [row["step"], row["ms_a_page"], _range(row["ms_a_page_ci95"], "{:.3g}"), round(row["core_hours"])]
        for row in plan["steps"]
    ]
    print_table("CPU time", ["step", "ms a page", "95% interval", "core-hours"], rows)
    total, disk, memory = plan["total"], plan["disk"], plan["memory"]
    hours = _range(total["core_hours_ci95"], "{:,.0f}")
    bound = "at most " if plan["overall"]["mostly_start_up"] else ""  # the assumptions printed below say why
    print_table(
        "in all",
        ["what", "how much"],
        [
            ["core-hours", f"{total['core_hours']:,.0f}" + (f"  (95%: {hours})" if hours else "")],
            ["core-hours, if cost follows bytes", f"{plan['by_bytes']['core_hours']:,.0f}"],
            ["cost", f"{total['cost']:,.0f} at {dump['price']:g} a core-hour"],
            ["wall time", f"{bound}{total['wall_hours']:,.1f} h on {dump['cores']:,} cores, the last part on one"],
            ["the last part alone", f"{bound}{plan['overall']['core_hours']:,.1f} h"],
            ["memory of a worker", amount(memory["worker"])],
            ["memory of the last part", amount(memory["overall"])],
            ["input", amount(disk["input"])],
            ["work directory", amount(disk["work_directory"])],
            ["corpus", amount(disk["corpus"])],
            ["dropped table", amount(disk["dropped"])],
            ["disk, at most at once", amount(disk["at_most_at_once"])],
        ],
    )
    print("This assumes:")
    for line in plan["assumptions"]:
        print(f"- {line}")


def _range(bounds: list[float] | None, form: str) -> str:
    return "" if bounds is None else f"{form.format(bounds[0])} to {form.format(bounds[1])}"
