"""A local stand-in for W&B's service. It answers only the requests that the tests make."""

import base64
import contextlib
import gzip
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = "a" * 40


class Service(ThreadingHTTPServer):
    """Accept one API key, and keep the rows of each run by its id. With `refusal`, accept no run."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.rows: dict[str, list[dict]] = {}
        self.exit_codes: list[int] = []
        self.refusal = ""
        self.artifacts: list[dict] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def go_away(self) -> None:
        """Stop the service."""
        self.shutdown()
        self.server_close()

    def answer(self, query: str, variables: dict) -> dict:
        """Return the data that answers one of the library's queries."""
        run_id, project = variables.get("name"), {"id": "p", "name": variables.get("project")}
        project["entity"] = {"id": "e", "name": "me"}
        if query.startswith("query Viewer"):
            viewer = {"id": "u", "entity": "me", "username": "me", "flags": "{}"}
            return {"viewer": {**viewer, "teams": {"edges": []}}}
        if query.startswith("query RunResumeStatus"):
            return {"model": {**project, "bucket": self._state(run_id)}}
        if query.startswith("mutation UpsertBucket"):
            new = run_id not in self.rows
            self.rows.setdefault(run_id, [])
            bucket = {"id": "b", "name": run_id, "displayName": "", "description": "", "config": "{}",
                      "sweepName": None, "project": project, "historyLineCount": 0}  # fmt: skip
            return {"upsertBucket": {"bucket": bucket, "inserted": new}}
        if query.startswith("query ArtifactType"):
            return {"project": None}
        if query.startswith("mutation CreateArtifact "):
            self.artifacts.append(variables["input"])
            sequence = {"id": "s", "latestArtifact": {"id": "a", "versionIndex": 0}}
            artifact = {"id": "a", "state": "COMMITTED", "artifactSequence": sequence}
            return {"createArtifact": {"artifact": artifact}}
        if query.startswith("mutation CreateRunFiles"):
            files = [{"name": name, "uploadUrl": f"{self.url}/up/{name}"}
                     for name in variables["files"]]  # fmt: skip
            return {"createRunFiles": {"runID": "b", "uploadHeaders": [], "files": files}}
        return {}

    def stream(self, run_id: str, data: dict) -> None:
        """Store the data that the library streams for a run: rows from an offset on, and the exit code."""
        if part := data.get("files", {}).get("wandb-history.jsonl"):
            rows = [json.loads(line) for line in part["content"]]
            self.rows[run_id][part["offset"] :] = rows
        if data.get("complete"):
            self.exit_codes.append(data["exitcode"])

    def _state(self, run_id: str) -> dict | None:
        if run_id not in self.rows:
            return None
        rows = self.rows[run_id]
        return {"id": "b", "name": run_id, "displayName": "", "summaryMetrics": "{}", "config": "{}",
                "notes": "", "tags": [], "logLineCount": 0, "eventsLineCount": 0, "eventsTail": "[]",
                "historyLineCount": len(rows), "wandbConfig": '{"t": 1}',
                "historyTail": json.dumps([json.dumps(row) for row in rows[-1:]])}  # fmt: skip


class _Handler(BaseHTTPRequestHandler):
    server: Service

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        words = self.headers.get("Authorization", "").split()
        allowed = words and base64.b64decode(words[-1]).decode() == f"api:{KEY}"
        if self.path == "/graphql":
            data = json.loads(body)
            query = " ".join(data["query"].split())
            if self.server.refusal and query.startswith("mutation UpsertBucket"):
                self._reply(403, {"errors": [{"message": self.server.refusal}]})
            elif allowed:
                self._reply(200, {"data": self.server.answer(query, data.get("variables") or {})})
            else:
                self._reply(401, {"errors": [{"message": "user is not logged in"}]})
        elif self.path.endswith("/file_stream"):
            self.server.stream(self.path.split("/")[4], json.loads(body))
            self._reply(200, {})
        else:
            self._reply(404, {})

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._reply(200, {})

    def _reply(self, status: int, value: dict) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Print nothing."""


@contextlib.contextmanager
def running() -> Iterator[Service]:
    """Yield a service, and stop it when the block ends."""
    service = Service()
    try:
        yield service
    finally:
        service.go_away()
