"""An agent's snippets against tools that keep state, fail, take time, and may only be called so often."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from agent import Agent
from tracker import Issue, Tracker

from pytest_sandbox import SnippetExecutor


@pytest.fixture
def tracker() -> Tracker:
    return Tracker(
        Issue(1, "Crash when the file is empty", {"bug"}),
        Issue(2, "Dark mode", {"wish"}),
        Issue(3, "Crash after an hour", {"bug"}, status="doing"),
        Issue(4, "Typo in the manual", {"bug", "docs"}, status="closed"),
    )


@pytest.fixture
def agent(executor: SnippetExecutor, tracker: Tracker) -> Agent:
    return Agent(executor, tracker.tools())


def test_a_snippet_changes_what_the_tools_keep(agent: Agent, tracker: Tracker) -> None:
    result = agent.step("""
        const crashes = await codemode.search("crash");
        for (const number of crashes) {
          await codemode.comment(number, "Is this still so in 2.0?");
        }
        await codemode.move(1, "doing");
        return crashes;
    """)
    assert result.check().value == [1, 3]
    assert [len(issue.comments) for issue in tracker.issues.values()] == [1, 0, 1, 0]
    assert tracker.issues[1].status == "doing"


def test_an_issue_arrives_as_values_and_not_as_text(agent: Agent) -> None:
    result = agent.step("""
        const issue = await codemode.issue(4);
        return {
          isDate: issue.opened instanceof Date,
          isSet: issue.labels instanceof Set,
          due: new Date(issue.opened.getTime() + 14 * 24 * 60 * 60 * 1000),
          labels: issue.labels,
        };
    """)
    value = result.check().value
    assert value["isDate"]
    assert value["isSet"]
    assert value["due"].isoformat() == "2026-01-19T09:30:00+00:00"
    assert value["labels"] == {"bug", "docs"}


def test_calls_under_promise_all_run_side_by_side(executor: SnippetExecutor, tracker: Tracker) -> None:
    everybody = asyncio.Barrier(4)

    async def issue(number: int) -> dict[str, Any]:
        await everybody.wait()  # for ever, if one call had to end before the next one begins
        return await tracker.issue(number)

    agent = Agent(executor, {**tracker.tools(), "issue": issue})
    result = agent.step("""
        const numbers = await codemode.search();
        const issues = await Promise.all(numbers.map((number) => codemode.issue(number)));
        return issues.filter(({ status }) => status === "open").map(({ title }) => title);
    """)
    assert result.check().value == ["Crash when the file is empty", "Dark mode"]


def test_a_snippet_handles_the_errors_of_its_tools(agent: Agent, tracker: Tracker) -> None:
    result = agent.step("""
        const refused = [];
        for (const number of [2, 4, 99]) {
          try {
            await codemode.move(number, "doing");
          } catch (error) {
            if (!(error instanceof Error)) throw new TypeError("a tool must fail with an Error");
            refused.push(`${number}: ${error.name}`);
          }
        }
        return refused;
    """)
    assert result.check().value == ["4: MoveNotAllowed", "99: IssueNotFound"]
    assert tracker.issues[2].status == "doing"


def test_an_error_that_nobody_handles_is_told_to_the_model(agent: Agent) -> None:
    result = agent.step('console.log("closing 4"); await codemode.move(4, "doing");')
    assert not result.ok
    assert result.error is not None
    assert result.error.kind == "runtime"
    assert agent.observations == [
        "[log] closing 4\nfailed: MoveNotAllowed: issue 4 is closed and cannot become doing: it may become open"
    ]


def test_a_model_learns_from_the_error_which_tools_there_are(agent: Agent, tracker: Tracker) -> None:
    snippets = iter(["await codemode.close_issue(2);", 'await codemode.move(2, "closed");'])

    def model(observations: list[str]) -> str | None:
        if observations and "known tools are search, issue, comment, move" not in observations[0]:
            raise AssertionError(f"the model was not told the tools: {observations[0]}")
        return next(snippets, None)

    observations = agent.run(model)
    assert len(observations) == 2
    assert observations[1] == "done, nothing returned"
    assert tracker.issues[2].status == "closed"


def test_steps_share_the_tools_and_nothing_else(agent: Agent, tracker: Tracker) -> None:
    agent.step('await codemode.comment(2, "first step"); globalThis.remembered = "secret";')
    result = agent.step("return [typeof remembered, (await codemode.issue(2)).comments];")
    assert result.check().value == ["undefined", 1]


@pytest.mark.executor(tool_calls=5)
def test_a_runaway_snippet_uses_up_its_budget_of_calls(agent: Agent, tracker: Tracker) -> None:
    result = agent.step("""
        for (let n = 1; ; n++) {
          try { await codemode.comment(1, `thought ${n}`); } catch { /* and on it goes */ }
        }
    """)
    assert result.error is not None
    assert (result.error.kind, result.error.limit) == ("limit", "tool_calls")
    assert len(tracker.issues[1].comments) == 5
    assert agent.step("return 'the next step works'").value == "the next step works"


def test_a_tool_that_hangs_fails_alone(executor: SnippetExecutor, tracker: Tracker) -> None:
    async def weather() -> None:
        await asyncio.Event().wait()

    agent = Agent(executor, {**tracker.tools(), "weather": weather}, tool_timeout=0.2)
    result = agent.step("""
        const forecast = await codemode.weather().catch((error) => error.name);
        return [forecast, await codemode.search("dark")];
    """)
    assert result.check().value == ["ToolTimeout", [2]]


def test_several_agents_share_one_executor_on_one_event_loop(executor: SnippetExecutor, tracker: Tracker) -> None:
    def tools_of(agent: str) -> dict[str, Callable[..., Any]]:
        return {**tracker.tools(), "sign": lambda text: f"{text} ({agent})"}

    async def all_agents() -> list[Any]:
        snippet = """
            const text = await codemode.sign("seen");
            await codemode.comment(2, text);
            return text;
        """
        results = await asyncio.gather(*(executor.aexecute(snippet, tools_of(name)) for name in ("ann", "ben", "cleo")))
        return [result.check().value for result in results]

    assert asyncio.run(all_agents()) == ["seen (ann)", "seen (ben)", "seen (cleo)"]
    assert sorted(tracker.issues[2].comments) == ["seen (ann)", "seen (ben)", "seen (cleo)"]
