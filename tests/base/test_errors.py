import pickle

import usfmae.base.errors as errors
from usfmae.base.errors import LeakError, UsfmaeError


def test_an_error_crosses_a_process_pool_with_its_kind_and_hint():
    back = pickle.loads(pickle.dumps(LeakError("two sides", hint="group them")))
    assert (type(back), back.message, back.hint, str(back)) == (
        LeakError,
        "two sides",
        "group them",
        "two sides",
    )


def test_the_drawn_tree_names_every_error():
    kinds = [k for k in vars(errors).values() if isinstance(k, type) and issubclass(k, UsfmaeError)]
    assert len(kinds) == 12
    for kind in kinds:
        assert kind.__name__ in errors.__doc__
        assert kind.exit_status == 2
