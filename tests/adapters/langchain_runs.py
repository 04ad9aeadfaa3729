"""A tracer for tests, as LangSmith's would be one."""

from langchain_core.tracers import BaseTracer


class Recorder(BaseTracer):
    """Keeps the root runs, each with its children."""

    def __init__(self):
        super().__init__()
        self.roots = []

    def _persist_run(self, run):
        self.roots.append(run)
