"""Errors reach whoever asked, also in another process."""

import copy
import pickle

import pytest

from fr_reranker_plugin import errors

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type)]
WITH_VALUES = {
    errors.OverloadedError: {"waiting": 7, "retry_after": 2.5},
    errors.RemoteError: {"status": 503},
}


def through_a_pickle(error):
    return pickle.loads(pickle.dumps(error))  # noqa: S301 -- our own


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("duplicate", [through_a_pickle, copy.copy, copy.deepcopy])
def test_an_error_survives_a_copy_and_a_pickle_with_all_its_values(kind, duplicate):
    values = WITH_VALUES.get(kind, {})
    error = kind("ce qui est arrivé", **values)
    error.add_note("une note")
    again = duplicate(error)
    assert type(again) is kind
    assert str(again) == "ce qui est arrivé"
    assert vars(again) == vars(error)
    assert values.items() <= vars(again).items()
