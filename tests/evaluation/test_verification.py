"""Scores here are those of other libraries; where they are not, it is told."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fr_reranker_plugin import CrossEncoder, MissingDependencyError, ModelLoadError, ModelSettings, SettingsError
from fr_reranker_plugin.evaluation import other_loaders, verification
from fr_reranker_plugin.evaluation.fidelity_gates import GATES
from fr_reranker_plugin.evaluation.french_pairs import french_pairs, plain_pairs
from fr_reranker_plugin.evaluation.verification import LoaderResult, Verification, verify

pytestmark = [pytest.mark.usefixtures("no_model_left"), pytest.mark.timeout(300)]

SHIFT = 5e-4
"""Less than what loading a model lets through, more than what float32 may differ by."""


def in_float32(model: object) -> ModelSettings:
    return ModelSettings(model=str(model), device="cpu", dtype="float32", backend="torch")


def by_loader(found: Verification) -> dict[str, LoaderResult]:
    return {one.loader: one for one in found.loaders}


@pytest.fixture
def without_flag_embedding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the library that takes long to import, and warns."""
    monkeypatch.delitem(verification._OTHERS, "FlagEmbedding")


@pytest.fixture
def shifted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every logit of our torch engine a little too large."""
    launch = CrossEncoder.launch

    def too_much(self: CrossEncoder, batch):
        collect = launch(self, batch)
        return lambda: [logit + SHIFT for logit in collect()]

    monkeypatch.setattr(CrossEncoder, "launch", too_much)


@pytest.mark.usefixtures("without_flag_embedding")
@pytest.mark.parametrize("family", ["xlm-roberta", "camembert", "bert"])
def test_a_model_has_the_same_scores_in_float32_everywhere(family: str, checkpoint_of: Callable[[str], Path]) -> None:
    found = verify(in_float32(checkpoint_of(family)))
    assert found.passed
    assert found.equal_tokens == found.pairs == len(french_pairs())
    assert [(one.loader, one.dtype, one.passed) for one in found.loaders] == [
        ("ours, torch", "float32", True), ("sentence-transformers", "float32", True),
    ]  # fmt: skip
    for one in found.loaders:
        assert one.agreement is not None
        assert 0 < one.agreement.max <= 1e-4  # two programs: not a number is compared with itself
        assert one.agreement.inversions == 0
        assert one.lost_points == {"nDCG@10": 0.0, "RR@10": 0.0}


def test_logits_that_are_off_by_little_fail(shifted: None, tiny_model: str) -> None:
    found = verify(in_float32(tiny_model), others=False)
    (ours,) = found.loaders
    assert ours.agreement is not None
    assert ours.agreement.max == pytest.approx(SHIFT, rel=0.1)
    assert ours.agreement.inversions == 0
    assert (ours.passed, found.passed) == (False, False)


@pytest.mark.usefixtures("without_flag_embedding")
def test_each_engine_that_a_cpu_has_is_tried(tiny_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FR_RERANKER_CACHE", str(tmp_path))
    heard: list[str] = []
    found = verify(ModelSettings(model=tiny_model, device="cpu"), others=False, progress=heard.append)
    tried = [(one.loader, one.dtype) for one in found.loaders]
    torch_engines = [("ours, torch", dtype) for dtype in ("float32", "bfloat16", "int8")]
    assert tried == [*torch_engines, ("ours, onnx", "float32"), ("ours, onnx", "int8")]
    assert heard == ["transformers", *(f"{loader}, {dtype}" for loader, dtype in tried)]
    assert found.loaders[0].passed
    for one in found.loaders:
        assert (one.agreement is None) == (one.reason is not None) == (one.passed is None), one


def test_an_engine_that_is_named_but_not_here_is_refused(tiny_model: str) -> None:
    with pytest.raises(SettingsError, match="float16"):
        verify(ModelSettings(model=tiny_model, device="cpu", dtype="float16"))


def test_a_library_that_is_not_installed_is_told_and_fails_nothing(
    tiny_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(other_loaders, "find_spec", lambda _: None)
    found = verify(in_float32(tiny_model))
    assert {name: one.reason for name, one in by_loader(found).items()} == {
        "ours, torch": None,
        "sentence-transformers": "not installed: pip install 'fr-reranker-plugin[train]'",
        "FlagEmbedding": "not installed: pip install FlagEmbedding",
    }
    assert by_loader(found)["FlagEmbedding"].passed is None
    assert found.passed


def test_a_library_that_cannot_load_the_model_is_told_and_fails_nothing(
    tiny_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: Path, device: str, max_length: int) -> other_loaders.Score:
        raise RuntimeError("no such family\nand a long explanation")

    monkeypatch.setattr(verification, "_OTHERS", {"another library": refuse})
    found = verify(in_float32(tiny_model))
    assert by_loader(found)["another library"].reason == "RuntimeError: no such family"
    assert by_loader(found)["another library"].passed is None
    assert found.passed


def test_a_library_is_compared_on_the_pairs_that_it_reads_as_all_others(
    tiny_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def every_third(folder: Path, device: str, max_length: int) -> other_loaders.Score:
        score = other_loaders.plain_transformers(folder, device, max_length)
        return lambda pairs: [None if at % 3 else logit for at, logit in enumerate(score(pairs))]

    def none(folder: Path, device: str, max_length: int) -> other_loaders.Score:
        return lambda pairs: [None] * len(pairs)

    monkeypatch.setattr(verification, "_OTHERS", {"some": every_third, "none": none})
    found = by_loader(verify(in_float32(tiny_model)))
    assert found["some"].agreement is not None
    assert (found["some"].agreement.pairs, found["some"].agreement.max, found["some"].passed) == (29, 0.0, True)
    assert (found["none"].agreement, found["none"].passed) == (None, None)
    assert "another way" in (found["none"].reason or "")


def test_our_own_engine_must_load_a_supported_model(tiny_model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(settings: ModelSettings) -> CrossEncoder:
        raise ModelLoadError("its configuration must hold something we do not know")

    monkeypatch.setattr(CrossEncoder, "load", refuse)
    found = verify(in_float32(tiny_model), others=False)
    assert found.loaders[0].reason == "its configuration must hold something we do not know"
    assert (found.loaders[0].passed, found.passed) == (False, False)


def test_an_engine_that_is_named_must_score(tiny_model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    onnx = ModelSettings(model=tiny_model, device="cpu", dtype="float32", backend="onnx")

    def refuse(*_: object) -> None:
        raise RuntimeError("the graph does not load")

    monkeypatch.setattr("fr_reranker_plugin.scoring.shared.SharedScorer", refuse)
    found = verify(onnx, others=False)
    assert [(one.loader, one.passed) for one in found.loaders] == [("ours, onnx", False)]
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependencyError, match="onnxruntime"):
        verify(onnx, others=False)


def test_a_comparison_of_nothing_is_not_passed() -> None:
    gate = GATES["float32"]
    given = LoaderResult(loader="ours, torch", dtype="float32", gate=gate, passed=True)
    absent = LoaderResult(loader="another", dtype="float32", gate=gate, reason="not installed")
    for loaders, passed in ([given, absent], True), ([absent], False), ([], False):
        found = Verification(
            model="m", revision=None, device="cpu", max_length=512, pairs=1, equal_tokens=1, loaders=loaders
        )
        assert found.passed == passed


def test_other_tokens_fail_even_with_equal_scores(tiny_model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    read = other_loaders.transformers_tokens

    def one_off(*arguments):
        first, *rest = read(*arguments)
        return [(first[0][:-1], first[1]), *rest]

    monkeypatch.setattr(verification, "transformers_tokens", one_off)
    found = verify(in_float32(tiny_model), others=False)
    assert found.equal_tokens == found.pairs - 1
    assert found.loaders[0].passed
    assert not found.passed


def test_pairs_are_cut_where_the_user_says(tiny_model: str) -> None:
    short = ModelSettings(model=tiny_model, device="cpu", dtype="float32", backend="torch", max_length=40)
    found = verify(short, others=False)
    assert (found.max_length, found.passed) == (40, True)
    reference = other_loaders.plain_transformers(Path(tiny_model), "cpu", 40)(plain_pairs(french_pairs()))
    assert reference != other_loaders.plain_transformers(Path(tiny_model), "cpu", 512)(plain_pairs(french_pairs()))


@pytest.mark.slow
@pytest.mark.flagembedding
@pytest.mark.filterwarnings("ignore")  # FlagEmbedding's own
@pytest.mark.skipif(importlib.util.find_spec("FlagEmbedding") is None, reason="FlagEmbedding is not installed")
def test_flag_embedding_has_the_same_scores_where_it_reads_the_same(checkpoint_of: Callable[[str], Path]) -> None:
    flag = by_loader(verify(in_float32(checkpoint_of("bert"))))["FlagEmbedding"]
    assert flag.agreement is not None, flag.reason
    assert flag.agreement.pairs >= 60
    assert flag.passed
