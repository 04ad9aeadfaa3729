import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants

from fr_reranker_plugin import CrossEncoder, ModelLoadError, ModelSettings
from fr_reranker_plugin.scoring.checkpoint import embedded_checkpoint, find_checkpoint
from fr_reranker_plugin.scoring.settings import REFERENCE_MODEL

COMMIT = "2b77fea0123456789abcdef0123456789abcdef0"
MODEL = "equipe/reranker"


class SmallHub(ThreadingHTTPServer):
    """A Hugging Face Hub with one repository, on this machine; it keeps the paths that were asked for."""

    def __init__(self, files):
        super().__init__(("127.0.0.1", 0), _HubHandler)
        self.files = files
        self.requests = []
        self.refusal = None
        self.url = f"http://127.0.0.1:{self.server_port}"


class _HubHandler(BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.answer(with_body=False)

    def do_GET(self):
        self.answer(with_body=True)

    def answer(self, *, with_body):
        self.server.requests.append(self.path)
        if self.server.refusal:
            status, code = self.server.refusal
            return self.reply(status, {"X-Error-Code": code, "X-Error-Message": code}, b"{}", with_body)
        name = self.path.split("/")[-1]
        if "/tree/" in self.path:
            sizes = self.server.files.items()
            tree = [{"type": "file", "path": file, "size": len(body), "oid": file} for file, body in sizes]
            return self.reply(200, {"Content-Type": "application/json"}, json.dumps(tree).encode(), with_body)
        if self.path.startswith("/api/models/"):
            listing = {"id": MODEL, "sha": COMMIT, "siblings": [{"rfilename": file} for file in self.server.files]}
            return self.reply(200, {"Content-Type": "application/json"}, json.dumps(listing).encode(), with_body)
        if "/resolve/" in self.path and name in self.server.files:
            headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{name}"'}
            return self.reply(200, headers, self.server.files[name], with_body)
        return self.reply(404, {"X-Error-Code": "EntryNotFound"}, b"{}", with_body)

    def reply(self, status, headers, body, with_body):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def hub(tiny_model, monkeypatch):
    """A Hub that serves the tiny model under any revision."""
    server = SmallHub({path.name: path.read_bytes() for path in Path(tiny_model).iterdir()})
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def settings(tmp_path):
    """Make settings whose Hub cache is the test's own."""

    def make(**changes):
        return ModelSettings(**{"model": MODEL, "cache_folder": str(tmp_path / "cache"), "device": "cpu"} | changes)

    return make


def prime_cache(folder, tiny_model, *, model=MODEL, revision=None):
    """Lay a snapshot into a Hub cache, as an earlier download would have left it."""
    repository = Path(folder) / f"models--{model.replace('/', '--')}"
    shutil.copytree(tiny_model, repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / (revision or "main")).write_text(COMMIT)
    return repository / "snapshots" / COMMIT


def test_a_local_folder_is_taken_as_it_is(tiny_model):
    assert find_checkpoint(ModelSettings(model=tiny_model)) == Path(tiny_model)


@pytest.mark.parametrize("name", ["cross_encoder", "bi_encoder"])
def test_the_embedded_models_are_inside_the_package(name):
    folder = embedded_checkpoint(name)
    assert find_checkpoint(ModelSettings(model="embedded"), embedded=name) == folder
    assert (folder / "model.safetensors").is_file()


@pytest.mark.parametrize("model", ["./modele", "/nulle/part", "~/modele", "a/b/c"])
def test_a_folder_that_is_not_there_is_not_looked_for_on_the_hub(hub, settings, model):
    with pytest.raises(ModelLoadError, match="there is no folder"):
        find_checkpoint(settings(model=model))
    assert hub.requests == []


@pytest.mark.parametrize(
    "model", ["mon modele", "modèle", "a..b", r"C:\models\x", "~nobody-of-this-name/x", "m" * 300, "a\0b", "a--b"]
)
def test_a_name_that_no_folder_and_no_model_of_the_hub_has_is_refused_with_the_name(hub, settings, model):
    with pytest.raises(ModelLoadError) as caught:
        find_checkpoint(settings(model=model))
    assert repr(model) in str(caught.value)
    assert "the name of a model on the Hub" in str(caught.value)
    assert hub.requests == []


@pytest.mark.parametrize(("kept", "expected"), [("model.safetensors", "no config.json"), ("config.json", "no weights")])
def test_a_folder_without_configuration_or_weights_says_what_it_lacks(tiny_model, tmp_path, kept, expected):
    shutil.copy(Path(tiny_model) / kept, tmp_path)
    with pytest.raises(ModelLoadError, match=expected):
        find_checkpoint(ModelSettings(model=str(tmp_path)))


def test_a_model_of_the_hub_is_downloaded_once_and_then_needs_no_request(hub, settings):
    engine = CrossEncoder.load(settings())
    assert len(engine.launch(engine.encode([("Où voter ?", "À la mairie.")]))()) == 1
    assert any("model.safetensors" in path for path in hub.requests)
    hub.requests.clear()
    CrossEncoder.load(settings())
    CrossEncoder.load(settings(local_files_only=True))
    assert hub.requests == []


def test_the_revision_that_was_asked_for_is_fetched(hub, settings):
    find_checkpoint(settings(revision="v2"))
    assert any("/revision/v2" in path for path in hub.requests)
    hub.requests.clear()
    find_checkpoint(settings(model=REFERENCE_MODEL))
    assert any("/revision/2b77fea" in path for path in hub.requests)


def test_pickled_weights_are_fetched_only_where_there_are_no_safetensors(hub, settings):
    hub.files["pytorch_model.bin"] = b"pickled"
    find_checkpoint(settings())
    assert not any("pytorch_model.bin" in path for path in hub.requests)
    del hub.files["model.safetensors"]
    folder = find_checkpoint(settings(revision="old", cache_folder=settings().cache_folder + "2"))
    assert (folder / "pytorch_model.bin").read_bytes() == b"pickled"


@pytest.mark.parametrize(("revision", "asked"), [("main", None), ("main", COMMIT), ("main", COMMIT[:7]), ("v1", "v1")])
def test_a_cached_revision_is_found_by_name_commit_or_short_commit_without_a_request(
    hub, settings, tiny_model, revision, asked
):
    snapshot = prime_cache(settings().cache_folder, tiny_model, revision=revision)
    assert find_checkpoint(settings(revision=asked)) == snapshot
    assert hub.requests == []


def test_a_cached_copy_without_its_tokenizer_is_completed(hub, settings, tiny_model):
    snapshot = prime_cache(settings().cache_folder, tiny_model)
    for path in snapshot.glob("token*"):
        path.unlink()
    with pytest.raises(ModelLoadError, match="is not in the local cache"):
        find_checkpoint(settings(local_files_only=True))
    assert (find_checkpoint(settings()) / "tokenizer.json").is_file()


def test_a_cached_copy_of_the_reference_model_serves_its_pinned_commit(hub, settings, tiny_model):
    snapshot = prime_cache(settings().cache_folder, tiny_model, model=REFERENCE_MODEL)
    assert find_checkpoint(settings(model=REFERENCE_MODEL, local_files_only=True)) == snapshot
    assert hub.requests == []


def test_local_files_only_without_a_copy_says_the_two_ways_out(hub, settings):
    with pytest.raises(ModelLoadError, match="local_files_only=True.*model='embedded'"):
        find_checkpoint(settings(local_files_only=True))
    assert hub.requests == []


def test_an_unreachable_hub_says_the_two_ways_out(hub, settings, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ModelLoadError, match="could not be reached.*local_files_only=True.*model='embedded'"):
        find_checkpoint(settings())


@pytest.mark.parametrize(
    ("refusal", "expected"),
    [
        ((401, "RepoNotFound"), "has no model.*private.*token"),
        ((404, "RepoNotFound"), "has no model.*private.*token"),
        ((404, "RevisionNotFound"), "no revision 'v9'"),
        ((403, "GatedRepo"), "agreement"),
    ],
)
def test_what_the_hub_refuses_is_explained_and_the_token_is_not_shown(hub, settings, refusal, expected):
    hub.refusal = refusal
    with pytest.raises(ModelLoadError, match=expected) as caught:
        find_checkpoint(settings(revision="v9", token="hf_secret"))
    assert "hf_secret" not in str(caught.value)


def test_a_repository_without_torch_weights_is_refused(hub, settings):
    del hub.files["model.safetensors"]
    with pytest.raises(ModelLoadError, match="no weights for torch"):
        find_checkpoint(settings())
