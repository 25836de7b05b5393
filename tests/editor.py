"""An editor, as far as a language server sees one: JSON-RPC over its standard input and output."""

import itertools
import json
import subprocess
import threading
from pathlib import Path

SETTINGS = {"yaml": {"validate": True, "hover": True, "completion": True, "schemas": {},
                     "schemaStore": {"enable": False}}}  # fmt: skip
CAPABILITIES = {
    "workspace": {"configuration": True},
    "textDocument": {
        "completion": {"completionItem": {"snippetSupport": True}},
        "hover": {"contentFormat": ["markdown"]},
        "publishDiagnostics": {},
    },
}


class Editor:
    """Opens texts in a folder, and asks what a user would see.

    Args:
        command: what starts the server.
        folder: where the documents seem to lie.
    """

    def __init__(self, command: list[str], folder: Path) -> None:
        self.folder = folder
        self.server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.numbers = itertools.count(1)
        self.answers, self.published = {}, {}
        self.news = threading.Condition()
        threading.Thread(target=self._listen, daemon=True).start()
        self.ask("initialize", {"processId": None, "rootUri": folder.as_uri(), "capabilities": CAPABILITIES})  # fmt: skip
        self._send(method="initialized", params={})
        self._send(method="workspace/didChangeConfiguration", params={"settings": SETTINGS})

    def open(self, text: str) -> str:
        """Show a text as a new document."""
        uri = (self.folder / f"{next(self.numbers)}.yaml").as_uri()
        document = {"uri": uri, "languageId": "yaml", "version": 1, "text": text}
        self._send(method="textDocument/didOpen", params={"textDocument": document})
        return uri

    def complaints(self, text: str) -> list[tuple[str, str]]:
        """(the underlined text, the message) of each."""
        uri, lines = self.open(text), text.splitlines()
        found = self._wait(lambda: self.published.get(uri), "diagnostics")
        return [(_within(lines, each["range"]), each["message"]) for each in found[0]]

    def completions(self, text: str) -> dict[str, dict]:
        """What is offered at the `|`, by its label."""
        found = self._at(text, "completion")
        return {each["label"]: each for each in found["items"]}

    def hover(self, text: str) -> str:
        """What is shown where the mouse rests on the `|`."""
        return self._at(text, "hover")["contents"]["value"]

    def ask(self, method: str, params: dict):
        """The answer to a request."""
        number = next(self.numbers)
        self._send(id=number, method=method, params=params)
        return self._wait(lambda: self.answers.get(number), method)[0]

    def close(self) -> None:
        """End the server."""
        self.server.kill()
        self.server.communicate()

    def _at(self, text, what):
        before, _, after = text.partition("|")
        place = {"line": before.count("\n"), "character": len(before.rpartition("\n")[2])}
        document = {"uri": self.open(before + after)}
        return self.ask(f"textDocument/{what}", {"textDocument": document, "position": place})

    def _wait(self, found, what):
        with self.news:
            assert self.news.wait_for(found, timeout=60), f"the server says nothing: {what}"
            return found()

    def _send(self, **message):
        data = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self.server.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(data), data))
        self.server.stdin.flush()

    def _listen(self):
        while message := _received(self.server.stdout):
            with self.news:
                if message.get("method") == "workspace/configuration":
                    asked = message["params"]["items"]
                    settings = [SETTINGS.get(each.get("section"), {}) for each in asked]
                    self._send(id=message["id"], result=settings)
                elif message.get("method") == "textDocument/publishDiagnostics":
                    params = message["params"]
                    self.published[params["uri"]] = [params["diagnostics"]]
                elif "method" in message and "id" in message:
                    self._send(id=message["id"], result=None)
                elif "id" in message:
                    self.answers[message["id"]] = [message.get("result")]
                self.news.notify_all()


def _received(stream):
    length = 0
    while line := stream.readline().strip():
        if line.lower().startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    return json.loads(stream.read(length)) if length else None


def _within(lines, place):
    start, end = place["start"], place["end"]
    same = start["line"] == end["line"]
    return lines[start["line"]][start["character"] : end["character"] if same else None]
