"""Flow runs of killed processes, which Prefect would show as running for ever, become Crashed.

A killed process cannot say so itself. The next run finds its abandoned sign of life (flows/lifetimes.py), asks the
server for the flow run with that token as a tag, and sets the state.
"""

from pathlib import Path
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, FlowRunFilterTags
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.sorting import FlowRunSort, TaskRunSort
from prefect.states import Crashed

from flows.lifetimes import killed

FLOW = "virtual-controls"
PAGE = 200  # the server's own limit; a process has one flow run and six task runs
UNDER_WAY = (StateType.RUNNING, StateType.PENDING, StateType.CANCELLING, StateType.SCHEDULED)
MESSAGE = "The process was killed; the next run goes on from the last finished stage."


def add_tag(flow_run_id: str, tags: list[str], token: str) -> None:
    """Tag a flow run with its process's token."""
    with get_client(sync_client=True) as client:
        client.update_flow_run(UUID(flow_run_id), tags=[*tags, token])


def crash_killed_runs(signs: Path, server: str) -> int:
    """Mark the flow runs of killed processes as Crashed, with their task runs. Returns how many there were."""
    n_crashed = 0
    abandoned = killed(signs, server)
    if not abandoned:
        return 0
    with get_client(sync_client=True) as client:
        for sign in abandoned:
            n_crashed += _crash(client, sign.stem)
            sign.unlink(missing_ok=True)
    return n_crashed


def _crash(client: SyncPrefectClient, token: str) -> int:
    # The server refuses the client's own defaults for sort and limit.
    tagged = FlowRunFilter(tags=FlowRunFilterTags(all_=[token]))
    runs = client.read_flow_runs(flow_run_filter=tagged, sort=FlowRunSort.START_TIME_ASC, limit=PAGE)
    unfinished = [run for run in runs if run.state_type in UNDER_WAY]
    for run in unfinished:
        of_run = FlowRunFilter(id=FlowRunFilterId(any_=[run.id]))
        tasks = client.read_task_runs(flow_run_filter=of_run, sort=TaskRunSort.ID_DESC, limit=PAGE)
        for task_run in tasks:
            if task_run.state_type in UNDER_WAY:
                client.set_task_run_state(task_run.id, Crashed(message=MESSAGE), force=True)
        client.set_flow_run_state(run.id, Crashed(message=MESSAGE), force=True)
    return len(unfinished)
