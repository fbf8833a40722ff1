"""Counts: what a cycle total, idle slots and utilisation are, and sums of counts."""

from accel.machines.counters import FETCHES, PHASES, Counters, times, total

ONE = Counters(*range(1, 14))


def test_cycles_are_the_phases_and_nothing_else():
    assert ONE.cycles == 1 + 2 + 3 + 4 + 5
    for name in Counters._fields:
        changed = ONE._replace(**{name: 1000 + getattr(ONE, name)})
        assert (changed.cycles - ONE.cycles == 1000) is (name in PHASES)
    named = {"macs", "slots", "tiles", *PHASES, *FETCHES}
    assert named == set(Counters._fields)


def test_idle_slots_and_utilization():
    counted = Counters(macs=30, slots=40)
    assert counted.idle == 10
    assert counted.utilization == 0.75


def test_counts_of_several_add_up_field_by_field():
    assert total([ONE, ONE, Counters(load=5)]) == times(ONE, 2)._replace(load=7)
    assert times(ONE, 3) == Counters(*(3 * value for value in ONE))
    assert total([ONE]) == times(ONE, 1) == ONE


def test_counts_beyond_32_bits_are_exact():
    assert times(Counters(stream=1 << 40), 1 << 40).cycles == 1 << 80
