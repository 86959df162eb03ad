"""What nvidia-smi says becomes numbers; what it does not say is left out."""

from cab.measure.telemetry import ASKED, device_state, read_state


def test_a_line_of_numbers_is_read_by_name():
    state = read_state("1980, 3201, 512.38, 61, 0x0000000000000004\n", "before")
    assert state == {
        "before_clock_mhz": 1980.0,
        "before_memory_clock_mhz": 3201.0,
        "before_power_watt": 512.38,
        "before_temperature_celsius": 61.0,
        "before_throttle_reasons": 4.0,
    }
    assert len(state) == len(ASKED)


def test_what_a_gpu_does_not_know_is_left_out():
    assert read_state("1410, [N/A], 98.1, 44, [Not Supported]", "after") == {
        "after_clock_mhz": 1410.0,
        "after_power_watt": 98.1,
        "after_temperature_celsius": 44.0,
    }
    assert read_state("", "after") == {}


def test_a_cpu_has_no_state_and_a_missing_tool_is_no_error(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert device_state("cpu", "before") == {}
    assert device_state("cuda:1", "before") == {}
