"""The sketch of durations: how it merges, forgets, and takes in a duration that is known only roughly."""

from math import isclose

from hypothesis import given
from hypothesis import strategies as st

from shared.domain.durations import BUCKETS, EDGES, UNIT, Durations, one_duration

sketches = st.lists(st.integers(0, 50_000), max_size=BUCKETS).map(
    lambda weights: Durations().merged(Durations(tuple(weights)))
)
times = st.floats(0, 100_000)


@given(sketches, sketches, sketches)
def test_sketches_merge_in_any_order(one: Durations, two: Durations, three: Durations) -> None:
    assert one.merged(two) == two.merged(one)
    assert one.merged(two).merged(three) == one.merged(two.merged(three))
    assert one.merged(Durations()) == one
    assert isclose(one.merged(two).jobs, one.jobs + two.jobs)


@given(sketches, st.integers(0, 300))
def test_a_faded_sketch_has_the_same_shape_and_at_most_so_many_jobs(sketch: Durations, jobs: int) -> None:
    faded = sketch.faded(jobs)
    assert faded.jobs <= max(jobs, 0) or faded == sketch
    if sketch.jobs <= jobs:
        assert faded == sketch
    for before, after in zip(sketch.weights, faded.weights, strict=False):
        assert abs(after - before * min(jobs / (sketch.jobs or 1), 1)) <= 1


@given(sketches, sketches)
def test_an_update_never_takes_more_than_the_most_and_keeps_what_is_new(old: Durations, new: Durations) -> None:
    updated = old.updated(new, most=200)
    assert updated.jobs <= 200
    if new.jobs <= 199:
        assert all(weight >= part for weight, part in zip(updated.weights, new.weights, strict=False))


def test_a_full_sketch_forgets_old_durations_exponentially() -> None:
    old, new = one_duration(99, 100, known=Durations()), one_duration(9, 10, known=Durations())
    sketch = Durations()
    for _ in range(200):
        sketch = sketch.updated(old, most=200)
    for _ in range(139):
        sketch = sketch.updated(new, most=200)
    share = sum(sketch.weights[45:]) / sum(sketch.weights)
    assert 0.42 < share < 0.52, "after as many new ones as 0.7 times its size, half of it is new"


@given(times, times, sketches)
def test_one_duration_is_one_job_within_its_interval(one: float, another: float, known: Durations) -> None:
    after, until = sorted((one, another))
    duration = one_duration(after, until, known=known)
    assert sum(duration.weights) == UNIT
    if after < until * 0.98 and until < EDGES[-1]:
        held = [number for number, weight in enumerate(duration.weights) if weight]
        assert EDGES[held[0] + 1] >= after and EDGES[held[-1]] <= max(until, EDGES[1])


def test_a_wide_interval_is_filled_by_what_is_known_and_a_part_of_it_evenly() -> None:
    known = Durations()
    for _ in range(50):
        known = known.merged(one_duration(49, 51, known=known))
    weights = one_duration(0, 100, known=known).weights
    near = sum(weight for weight, begin in zip(weights, EDGES, strict=False) if 38 < begin < 62)
    assert 0.75 * UNIT < near < 0.95 * UNIT


@given(sketches)
def test_a_sketch_is_stored_as_a_short_text(sketch: Durations) -> None:
    text = sketch.to_text()
    assert Durations.from_text(text) == sketch and len(text) <= 7 * BUCKETS


@given(st.text() | st.sampled_from(["1:", ":", "1:-2", "500:1", "0:1,x", "²:1", f"0:{'1,' * 500}"]))
def test_any_other_text_is_an_empty_sketch_or_a_sound_one(text: str) -> None:
    sketch = Durations.from_text(text)
    assert len(sketch.weights) <= BUCKETS and min(sketch.weights, default=0) >= 0


@given(sketches)
def test_shares_are_probabilities(sketch: Durations) -> None:
    shares = sketch.shares()
    assert len(shares) == BUCKETS and isclose(sum(shares), 1, rel_tol=1e-9) and min(shares) > 0
